"""Another future: everything that becomes known after a time is replaced by something else, the same for the same seed."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.assemble import calendar_files, calendars_of
from mia.backtest.run.prepare import Prepared
from mia.backtest.run.sources import BarHistory, EventHistory
from mia.domain.events import AnyEvent, Bar, BookDelta, BookSnapshot, NewsScored, Predicted, Quote, Reference, Trade
from mia.engine.engine import EngineConfig
from mia.features.batch import bars_from_ohlcv
from mia.risk.windows import load_windows, utc_ns

I64 = npt.NDArray[np.int64]
AHEAD_NS: Final = 31 * 86_400 * 10**9  # so long before an event its row in the calendar may be known
_SIGMA: Final = 0.01  # of the other bars' returns
_JUMP: Final = 1.3  # the other future begins so much higher
_MOVED_NS: Final = 3 * 3600 * 10**9


def poisoned(prepared: Prepared, cut_ns: int, seed: int) -> Prepared:
    """The run on a history that is the same up to cut_ns and another one after it; times stay."""
    rng = np.random.default_rng([seed, cut_ns & 0xFFFFFFFF, cut_ns >> 32])
    if prepared.events is not None:
        return msgspec.structs.replace(prepared, events=_events(prepared.events, cut_ns, int(rng.integers(1 << 31))))
    return msgspec.structs.replace(prepared, bars=tuple(_bars(history, cut_ns, rng) for history in prepared.bars))


def _bars(history: BarHistory, cut_ns: int, rng: np.random.Generator) -> BarHistory:
    """Bars that end after the cut: another walk, other volumes and counts."""
    first = int(np.searchsorted(history.close_ns, cut_ns, side="right"))
    n = len(history.close_ns) - first
    if not n:
        return history
    rows = history.rows.copy()
    start = rows[first - 1, 3] if first else rows[0, 0]
    close = start * _JUMP * np.exp(np.clip(np.cumsum(rng.normal(0.0, _SIGMA, n)), -2.0, 2.0))
    opens = np.concatenate([[start * _JUMP], close[:-1]])
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0.0, _SIGMA, n)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0.0, _SIGMA, n)))
    o, h, low_, c = (np.maximum(1.0, np.rint(x)) for x in (opens, high, low, close))
    volume = np.rint(rng.exponential(2.0 * float(rows[:, 4].mean()) + 1.0, n))
    other = bars_from_ohlcv(o, h, low_, c, volume)
    other[:, 8] = rng.integers(1, 1000, n) * (rows[first:, 8] > 0.0)
    rows[first:] = other
    return history._replace(rows=rows)


def _events(history: EventHistory, cut_ns: int, seed: int) -> EventHistory:
    def events() -> Iterator[AnyEvent]:
        rng = np.random.default_rng(seed)
        offset = 0
        for event in history.events():
            if event.ts_recv_ns <= cut_ns:
                yield event
                continue
            if not offset:
                offset = _offset(event)
            yield _event(event, offset, int(rng.integers(1, 1000)))

    return history._replace(events=events, columns=None)


def _offset(event: AnyEvent) -> int:
    """By how many ticks the other future lies higher, from its first price; 0 while none is known."""
    if isinstance(event, Quote):
        return int(event.bid_ticks * (_JUMP - 1.0)) + 1
    if isinstance(event, Trade):
        return int(event.price_ticks * (_JUMP - 1.0)) + 1
    if isinstance(event, BookSnapshot | BookDelta):
        levels = _levels(event.bids or event.asks)
        return int(levels[0, 0] * (_JUMP - 1.0)) + 1 if len(levels) else 0
    return 0


def _event(event: AnyEvent, offset: int, draw: int) -> AnyEvent:
    replace = msgspec.structs.replace
    if isinstance(event, Quote):
        wide = draw % 5
        return replace(
            event, bid_ticks=event.bid_ticks + offset, ask_ticks=event.ask_ticks + offset + wide, bid_lots=draw, ask_lots=draw // 2 + 1
        )
    if isinstance(event, Trade):
        return replace(event, price_ticks=event.price_ticks + offset + draw % 7, qty_lots=draw, aggressor=-event.aggressor or 1)
    if isinstance(event, Bar):
        moved = {name: getattr(event, name) + offset for name in ("open_ticks", "high_ticks", "low_ticks", "close_ticks")}
        return replace(event, volume_lots=draw, **moved)
    if isinstance(event, BookDelta | BookSnapshot):
        return replace(event, bids=_moved(event.bids, offset), asks=_moved(event.asks, offset + draw % 3))
    if isinstance(event, Reference):
        return replace(event, value=-1.7 * event.value + draw)
    if isinstance(event, NewsScored):
        return replace(event, score=-event.score or 0.5, impact=1.0 - event.impact)
    if isinstance(event, Predicted):
        return replace(event, value=-1.7 * event.value + draw, confidence=1.0 - event.confidence)
    return event


def _levels(packed: bytes) -> I64:
    return np.frombuffer(packed, dtype="<i8").reshape(-1, 2)


def _moved(packed: bytes, offset: int) -> bytes:
    levels = _levels(packed).copy()
    levels[:, 0] += offset
    levels[:, 1] *= 3  # a level that goes stays gone
    return levels.tobytes()


def poisoned_calendar(config: EngineConfig, cut_ns: int) -> EngineConfig:
    """The same engine with other calendar rows later than AHEAD_NS after the cut: nobody could know them."""
    windows_file, events_file = calendar_files()
    text = events_file.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / events_file.name
        other.write_text(other_rows(text, cut_ns + AHEAD_NS), encoding="utf-8")
        windows = load_windows(windows_file, other)
    families = {instrument.family for instrument in config.instruments}
    return msgspec.structs.replace(config, windows=windows, calendars=calendars_of(windows, families))


def other_rows(text: str, after_ns: int) -> str:
    """macro_events.csv with each row after after_ns three hours later and of the opposite impact."""
    rows = list(csv.DictReader(io.StringIO(text)))
    for row in rows:
        if utc_ns("start_time", row["start_time"]) > after_ns:
            row["impact"] = str(1.0 - float(row["impact"]))
            for name in ("start_time", "valid_until"):
                moment = datetime.fromisoformat(row[name]).astimezone(UTC) + timedelta(seconds=_MOVED_NS // 10**9)
                row[name] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=text.splitlines()[0].split(","), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
