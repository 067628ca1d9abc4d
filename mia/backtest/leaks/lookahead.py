"""Would a run have decided the same, had the future been another? Everything after a time is poisoned; what came before must stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.leaks.poison import poisoned, poisoned_calendar
from mia.backtest.leaks.strategies import Asked, Noted, engine_with
from mia.backtest.run import fused
from mia.backtest.run.gathered import DecisionRow, Gathered
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.spec import RunSpec
from mia.domain.errors import DataError
from mia.policy.strategy import Strategy

_encode: Final = msgspec.msgpack.Encoder().encode  # NaN equals itself only as bytes
Plant = Callable[[Prepared, Strategy], Strategy]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the strategy whose value before the cut depends on what came after it."""

    lane: int
    column: str
    ts_ns: int
    whole: float
    poisoned: float


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing up to a cut that another future changes. kind: decision | order | fill | column."""

    cut_ns: int
    kind: str
    ts_ns: int
    whole: str
    poisoned: str
    columns: list[Column]


class Ahead(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, over all cuts, and the first difference of each cut that has one."""

    cuts_ns: list[int]
    decisions: int
    orders: int
    fills: int
    observations: int
    differences: list[Difference]


class _Run(NamedTuple):
    gathered: Gathered
    asked: list[list[Asked]]  # by lane; empty on the compiled path
    columns: list[tuple[str, ...]]


def lookahead(prepared: Prepared, points: int, seed: int, plant: Plant | None = None) -> Ahead:
    """Poison the future of `points` times, spread over the span, and compare decisions, orders, fills and observations up to each.

    Poisoned are prices, volumes and counts, books, references, news and predictions, and calendar rows of more than a month ahead.
    A run that the compiled path can do is compared on it at every cut, and on the event engine at one. plant: puts something around the
    strategies, given the history that they trade (for tests of this check). DataError for a history too short to be cut.
    """
    cuts = cuts_of(prepared, points)
    compiled = plant is None and bool(prepared.bars) and not fused.why_not(prepared.spec)
    fast = _Run(execute(prepared).gathered, [], []) if compiled else None
    slow = _noted(prepared, plant, None)
    counts = [0, 0, 0, 0]
    found: list[Difference] = []
    for k, cut in enumerate(cuts):
        other = poisoned(prepared, cut, seed)
        difference = None
        if fast is not None:
            difference = _compare(prepared.spec, fast, _Run(execute(other).gathered, [], []), cut, counts)
        if fast is None or difference is not None or k == len(cuts) // 2:
            event = _compare(prepared.spec, slow, _noted(other, plant, cut), cut, counts)
            difference = event if difference is None or (event is not None and event.columns) else difference
        if difference is not None:
            found.append(difference)
    return Ahead(
        cuts_ns=cuts, decisions=counts[0], orders=counts[1], fills=counts[2], observations=counts[3], differences=found
    )  # fmt: skip


def cuts_of(prepared: Prepared, points: int) -> list[int]:
    """Times inside the traded span, at closes of bars where there are bars."""
    if prepared.events is not None:
        facts = prepared.spec.data[0]
        first = max(prepared.spec.from_ns, facts.first_ns)
        last = prepared.spec.to_ns or max(d.last_ns for d in prepared.spec.data) or _last(prepared)
        return [first + (last - first) * (k + 1) // (points + 1) for k in range(points)]
    closes = np.unique(np.concatenate([h.close_ns for h in prepared.bars]))
    closes = closes[closes > prepared.spec.from_ns]
    if len(closes) < 2:
        raise DataError("the history is too short to be cut")
    return sorted({int(closes[min(len(closes) - 2, len(closes) * (k + 1) // (points + 1))]) for k in range(points)})


def _last(prepared: Prepared) -> int:
    assert prepared.events is not None
    last = 0
    for event in prepared.events.events():
        last = event.ts_recv_ns
    return last


def _noted(prepared: Prepared, plant: Plant | None, cut_ns: int | None) -> _Run:
    """The run on the event engine, every question noted; with a cut the calendar's future is another, too."""
    lanes: list[Noted] = []

    def wrap(_: int, strategy: Strategy) -> Strategy:
        noted: Any = Noted(strategy)
        lanes.append(noted)
        return plant(prepared, noted) if plant is not None else noted

    change = None if cut_ns is None else lambda config: poisoned_calendar(config, cut_ns)
    result = execute(prepared, compiled=False, make=lambda spec: engine_with(spec, wrap, change))
    return _Run(result.gathered, [lane.asked for lane in lanes], [tuple(lane.inner.columns) for lane in lanes])


def _compare(spec: RunSpec, whole: _Run, other: _Run, cut_ns: int, counts: list[int]) -> Difference | None:
    a, b = whole.gathered, other.gathered
    # With fills at the next open, which has the time of the close, what is sent and filled then belongs to the future.
    known_to = cut_ns if spec.fill_at == "close" or spec.data[0].kind != "bars" else cut_ns - 1
    columns = _columns(whole, other, cut_ns, counts)
    pairs = [
        ("decision", _decisions(a.decisions, cut_ns), _decisions(b.decisions, cut_ns)),
        ("order", _rows(a.orders, known_to, "ts_ns"), _rows(b.orders, known_to, "ts_ns")),
        ("fill", _rows(a.fills, known_to, "ts_recv_ns"), _rows(b.fills, known_to, "ts_recv_ns")),
    ]
    firsts = []
    for k, (kind, ours, theirs) in enumerate(pairs):
        counts[k] += len(ours)
        at = next((i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x.whole != y.whole), min(len(ours), len(theirs)))
        if at < max(len(ours), len(theirs)):
            x, y = (rows[at] if at < len(rows) else None for rows in (ours, theirs))
            firsts.append((_parted(x, y), k, kind, x.text if x else "nothing", y.text if y else "nothing"))
    if firsts:
        ts, _, kind, x_text, y_text = min(firsts)
        return Difference(cut_ns=cut_ns, kind=kind, ts_ns=ts, whole=x_text, poisoned=y_text, columns=columns)
    if columns:
        c = columns[0]
        text = f"{c.column} = {{}}"
        return Difference(
            cut_ns=cut_ns, kind="column", ts_ns=c.ts_ns, whole=text.format(c.whole), poisoned=text.format(c.poisoned), columns=columns
        )  # fmt: skip
    return None


def _columns(whole: _Run, other: _Run, cut_ns: int, counts: list[int]) -> list[Column]:
    """The columns that differ at the first observation that does, by lane."""
    out = []
    for lane, (ours, theirs, names) in enumerate(zip(whole.asked, other.asked, whole.columns, strict=False)):
        for x, y in zip(ours, theirs, strict=False):
            if x.ts_ns > cut_ns or y.ts_ns > cut_ns:
                break
            counts[3] += 1
            if x.ts_ns == y.ts_ns and x.obs != y.obs:
                before, after = (np.frombuffer(obs, np.float32) for obs in (x.obs, y.obs))
                for j in np.flatnonzero(before.view(np.int32) != after.view(np.int32)).tolist():
                    out.append(Column(lane=lane, column=names[j], ts_ns=x.ts_ns, whole=float(before[j]), poisoned=float(after[j])))
                break
    return out


class _Row(NamedTuple):
    """One row as bytes; head: without how long it went on."""

    ts_ns: int
    last_ns: int
    head: bytes
    whole: bytes
    text: str


def _parted(x: _Row | None, y: _Row | None) -> int:
    """From when on two rows differ: of runs that began alike, when the first of them ended."""
    if x is not None and y is not None:
        return min(x.last_ns, y.last_ns) if x.head == y.head else min(x.ts_ns, y.ts_ns)
    return x.ts_ns if x is not None else y.ts_ns if y is not None else 0


def _decisions(rows: Sequence[DecisionRow], cut_ns: int) -> list[_Row]:
    """Runs of equal decisions that began by the cut; how long the last of each lane went on belongs to the future."""
    known = [row for row in rows if row.first_ns <= cut_ns]
    last = {row.lane: i for i, row in enumerate(known)}
    out = []
    for i, row in enumerate(known):
        head = row._replace(last_ns=0, times=0)
        kept = head if last[row.lane] == i else row
        often = f", {kept.times} times" if kept.times > 1 else ""
        text = f"lane {row.lane} {row.decision} ({row.code}), signal {row.signal:+.6g}, target {row.target_lots} lots{often}"
        out.append(_Row(row.first_ns, min(row.last_ns, cut_ns), _encode(head), _encode(kept), text))
    return out


def _rows(rows: Sequence[Any], until_ns: int, time: str) -> list[_Row]:
    out = []
    for row in rows:
        ts = getattr(row, time)
        if ts <= until_ns:
            price = row.price_ticks or getattr(row, "stop_ticks", 0)
            text = f"{'buy' if row.side > 0 else 'sell'} {row.qty_lots} lots" + (f" at {price} ticks" if price else "")
            whole = _encode(msgspec.structs.replace(row, seq=0) if isinstance(row, msgspec.Struct) else row)
            out.append(_Row(ts, ts, whole, whole, text))
    return out
