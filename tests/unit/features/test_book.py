"""Book columns beside those of test_event_features: plain versions of the formulas, what waits and what is forgotten, wild input."""

from __future__ import annotations

import bisect
import math
import random
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.events import BookDelta, BookSnapshot, Event, Quote, Trade
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.book_flow_block import SLOTS as FLOW
from mia.kernels.depth_block import SLOTS as DEPTH
from mia.kernels.touch_block import SLOTS as TOUCH
from mia.kernels.touch_block import WAITING_MAX

SEC = 1_000_000_000
T0 = 1_700_000_000 * SEC
BOOK = shipped_catalogue().category("book")
NAN = float("nan")
Bench = Callable[..., Any]
Levels = list[tuple[int, int]]


def pack(levels: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(struct.pack("<qq", *level) for level in levels)


def ages(t: Sequence[int], at: int) -> np.ndarray:
    return (at - np.array(t, dtype=np.int64)) / 1e9


def share(a: float, b: float) -> float:
    return (a - b) / (a + b) if a + b else 0.0


def columns(b: Any, ts: int) -> dict[str, float]:
    return dict(zip(b.plan.columns, b.row(ts), strict=True))


# ---------------------------------------------------------------------------------------------- the touch and its trades


def rank_of(x: float, now: float) -> float:
    return 0.5 if abs(x / now - 1) < 1e-9 else float(x < now)


class Judged(NamedTuple):
    t: int
    price: int
    side: int
    lots: int
    bid: int
    ask: int

    @property
    def mid(self) -> float:
        return (self.bid + self.ask) / 2


def touch_oracle(events: Sequence[Event], now: int) -> dict[str, float]:
    """The formulas of touch_block, from lists; what cannot be stated is NaN."""
    quotes = [e for e in events if isinstance(e, Quote)]
    trades: list[Judged] = []
    last: Quote | None = None
    for e in events:
        if isinstance(e, Quote):
            last = e
        elif isinstance(e, Trade) and last is not None:
            trades.append(Judged(e.ts_recv_ns, e.price_ticks, e.aggressor, e.qty_lots, last.bid_ticks, last.ask_ticks))
    t = [q.ts_recv_ns for q in quotes]
    bid, ask, qb, qa = np.array([(q.bid_ticks, q.ask_ticks, q.bid_lots, q.ask_lots) for q in quotes], dtype=float).T

    def mean(x: Any, tau: float, upto: int = len(quotes)) -> float:
        w = np.exp(-ages(t[:upto], t[upto - 1]) / tau)
        return float((w * np.asarray(x)[:upto]).sum() / w.sum())

    def mid_before(ns: int) -> float:
        i = bisect.bisect_left(t, ns) - 1
        return float(bid[i] + ask[i]) / 2

    sided = [x for x in trades if x.side]
    known = [x for x in sided if x.t + 5 * SEC <= now]
    last_event = max(t[-1], trades[-1].t if trades else 0)
    settled = [x for x in sided if x.t + 5 * SEC <= last_event]

    def weighted(rows: list[Judged], top: Callable[[Judged], float], bottom: Callable[[Judged], float]) -> float:
        w = np.exp(-ages([x.t for x in rows], now) / 60)
        below = (w * [bottom(x) for x in rows]).sum()
        return float((w * [top(x) for x in rows]).sum() / below) if below else NAN

    flow = np.zeros(len(t))
    flow[1:] = (
        qb[1:] * (bid[1:] >= bid[:-1]) - qb[:-1] * (bid[1:] <= bid[:-1]) - qa[1:] * (ask[1:] <= ask[:-1]) + qa[:-1] * (ask[1:] >= ask[:-1])
    )
    micro = (bid * qa + ask * qb) / (qa + qb)
    smooth = [mean(ask - bid, 1, i + 1) for i in range(len(t))]
    closing = [smooth[i] for i in range(len(t) - 1) if t[i] // SEC < t[i + 1] // SEC][-60:]
    changes: list[tuple[int, bool]] = []
    changed = [t[0], t[0]]
    for side, x in enumerate((bid, ask)):
        before = 0.0
        for i in range(1, len(t)):
            if x[i] != x[i - 1]:
                changes.append((t[i], x[i] == before and t[i] - changed[side] <= SEC))
                before, changed[side] = x[i - 1], t[i]
    fade = np.exp(-ages([c[0] for c in changes], t[-1]) / 10)
    b_ms, a_ms = ((now - c) / 1e6 for c in changed)
    w60 = np.exp(-ages(t, t[-1]) / 60)
    return {
        "realized_spread_5s": 2 * known[-1].side * (known[-1].price - mid_before(known[-1].t + 5 * SEC)) / known[-1].mid if known else NAN,
        "price_impact_5s": weighted(
            settled, lambda x: 2e4 * x.lots * x.side * (mid_before(x.t + 5 * SEC) - x.mid) / x.mid, lambda x: x.lots
        ),
        "effective_ratio_1m": weighted(sided, lambda x: 2 * x.lots * x.side * (x.price - x.mid), lambda x: x.lots * (x.ask - x.bid)),
        "trade_through_share_1m": weighted(trades, lambda x: x.lots * (x.price > x.ask or x.price < x.bid), lambda x: x.lots),
        "microprice_move_1s": float(np.clip((micro[-1] - mean(micro, 1)) / mean(ask - bid, 10), -200, 200)),
        "spread_rank_60s": float(np.mean([rank_of(s, smooth[-1]) for s in closing])) if closing else NAN,
        "flicker_10s": float((fade * [c[1] for c in changes]).sum() / fade.sum()) if changes else 0.0,
        "touch_age_skew": math.log((1 + b_ms) / (1 + a_ms)),
        "ofi_60s": float(np.clip((w60 * flow).sum() / mean((qb + qa) / 2, 60), -200, 200)),
    }


@pytest.mark.parametrize("stop", [700, 1000, 1503, 2200, 2751])
@pytest.mark.parametrize("later", [1, 12_345_678, 7 * SEC])
def test_touch_columns_match_their_formulas(stop: int, later: int, market: list[Event], bench: Callable[..., Any]) -> None:
    b = bench(TOUCH)
    for e in market[:stop]:
        b.feed(e)
    now = market[stop - 1].ts_recv_ns + later

    row = {name: value if b.plan.is_there(k) else NAN for k, (name, value) in enumerate(columns(b, now).items())}

    expected = touch_oracle(market[:stop], now)
    assert set(row) == set(expected)
    for name in TOUCH:
        if shipped_catalogue().get(name).warm_up.seconds * SEC < now - market[0].ts_recv_ns - 5 * SEC:
            assert row[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-11, nan_ok=True), name


def test_a_realised_spread_appears_when_the_later_mid_is_known_and_not_before(bench: Callable[..., Any]) -> None:
    b = bench(["realized_spread_5s"])
    b.plan.on_quote(T0, 0, 999, 1001, 5, 5)
    b.plan.on_trade(T0 + SEC, 0, 1001, 3, 1)
    b.plan.on_quote(T0 + 2 * SEC, 0, 1003, 1005, 5, 5)
    b.plan.on_time(T0 + 6 * SEC - 1)
    early = b.row(T0 + 6 * SEC - 1), b.plan.is_there(0)

    b.plan.on_time(T0 + 6 * SEC)
    on_time = b.row(T0 + 6 * SEC), b.plan.first_cold()
    b.plan.on_quote(T0 + 6 * SEC, 0, 1103, 1105, 5, 5)  # at that very moment: too late to count
    after = b.row(T0 + 7 * SEC)

    assert early == ([0.0], False)
    assert on_time == ([pytest.approx(2 * (1001 - 1004) / 1000)], -1)
    assert after == on_time[0]


def test_observing_does_not_change_what_waits(bench: Callable[..., Any], market: list[Event]) -> None:
    b = bench([*TOUCH, *FLOW])
    for e in market[:900]:
        b.feed(e)
    b.row(market[899].ts_recv_ns)
    before = b.arena.snapshot()

    b.row(market[899].ts_recv_ns)

    assert b.arena.snapshot() == before


def test_trades_beyond_what_can_wait_are_left_out_and_the_first_ones_come_on_time(bench: Callable[..., Any]) -> None:
    b = bench(["realized_spread_5s"])
    b.plan.on_quote(T0, 0, 999_999, 1_000_001, 5, 5)
    for k in range(WAITING_MAX + 500):
        b.plan.on_trade(T0 + k, 0, 1_000_001 + k, 1, 1)

    values = []
    for wait in (0, WAITING_MAX - 1, WAITING_MAX + 499):
        b.plan.on_time(T0 + 5 * SEC + wait)
        values += b.row(T0 + 5 * SEC + wait)
    b.plan.on_trade(T0 + 10 * SEC, 0, 1_000_000, 1, -1)
    b.plan.on_time(T0 + 15 * SEC)
    values += b.row(T0 + 15 * SEC)

    assert values == pytest.approx([2e-6, 2e-6 * WAITING_MAX, 2e-6 * WAITING_MAX, 0.0])
    assert b.plan.is_there(0)


def test_the_spread_rank_forgets_what_is_older_than_sixty_seconds_with_quotes(bench: Callable[..., Any]) -> None:
    def rank(first_spread: int) -> float:
        b = bench(["spread_rank_60s"])
        rnd = random.Random(3)
        for second in range(100):
            for part in range(3):
                spread = rnd.randint(1, 9) if second >= 10 else first_spread
                b.plan.on_quote(T0 + second * SEC + part * 300_000_000, 0, 1000, 1000 + spread, 5, 5)
        assert b.plan.first_cold() == -1
        return float(b.row(T0 + 100 * SEC)[0])

    assert rank(2) == rank(500)
    assert 0.0 < rank(2) < 1.0


@pytest.mark.parametrize("spread", [1, 3, 7])
def test_a_spread_that_never_changes_has_the_middle_rank(spread: int, bench: Callable[..., Any]) -> None:
    b = bench(["spread_rank_60s"])
    for k in range(700):
        b.plan.on_quote(T0 + k * 123_456_789, 0, 1000, 1000 + spread, 5, 5)

    assert b.row(T0 + 700 * 123_456_789) == [0.5]


# ------------------------------------------------------------------------------------------------------- levels of the book


def levels_of(sides: Sequence[dict[int, int]]) -> tuple[Levels, Levels]:
    bids = sorted(((p, q) for p, q in sides[0].items() if q), reverse=True)
    return bids, sorted((p, q) for p, q in sides[1].items() if q)


def mean_volume(events: Sequence[Event]) -> float:
    """Mean lots of the last 20 closed bars of a second; a bar without trades has none."""
    end = events[-1].ts_recv_ns // SEC
    lots: Counter[int] = Counter()
    for e in events:
        if isinstance(e, Trade):
            lots[e.ts_recv_ns // SEC] += e.qty_lots
    return sum(lots[s] for s in range(end - 20, end)) / 20


def follow(sides: Sequence[dict[int, int]], e: Event) -> bool:
    """Apply a book event to two dicts; False for another event."""
    if not isinstance(e, BookSnapshot | BookDelta):
        return False
    for side, raw in zip(sides, (e.bids, e.asks), strict=True):
        if isinstance(e, BookSnapshot):
            side.clear()
        side.update((p, q) for p, q in np.frombuffer(raw, dtype="<i8").reshape(-1, 2).tolist())
    return True


@pytest.mark.parametrize("stop", [600, 900, 1100, 2000, 2700])
def test_depth_columns_match_their_formulas(
    stop: int, market: list[Event], bench: Callable[..., Any], depth_of: Callable[..., Any]
) -> None:
    b = bench(DEPTH)
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for e in market[:stop]:
        b.feed(e)
        follow(sides, e)

    row = columns(b, market[stop - 1].ts_recv_ns)

    expected = depth_of(*levels_of(sides), 1e11, mean_volume(market[:stop]))
    assert set(row) == set(expected) == set(DEPTH)
    assert row == {name: pytest.approx(value, rel=1e-7, abs=1e-9) for name, value in expected.items()}


@pytest.mark.parametrize("n_bids", [1, 2, 7, 12])
@pytest.mark.parametrize("n_asks", [1, 3, 25])
def test_depth_columns_hold_for_a_book_of_few_levels(
    n_bids: int, n_asks: int, bench: Callable[..., Any], depth_of: Callable[..., Any]
) -> None:
    bids = [(6_000_000 - 3 * k, 10 + (k * 7) % 5) for k in range(n_bids)]
    asks = [(6_000_002 + 2 * k, 9 + (k * 5) % 7) for k in range(n_asks)]
    b = bench(DEPTH)
    for k in range(21):
        b.plan.on_trade(T0 + k * SEC, 0, 6_000_000, 30, 1)
    b.book.load(pack(bids), pack(asks))
    b.plan.on_book(T0 + 21 * SEC)

    row = columns(b, T0 + 21 * SEC)

    assert row == {k: pytest.approx(v, rel=1e-7, abs=1e-9) for k, v in depth_of(bids, asks, 1e11, 30.0).items()}


@pytest.mark.parametrize(("bids", "asks"), [([], []), ([(100, 5)], []), ([], [(101, 5)])])
def test_columns_of_depth_are_absent_without_two_sides(bids: Levels, asks: Levels, bench: Callable[..., Any]) -> None:
    b = bench([*DEPTH, *FLOW], "tick:1")
    there: list[list[bool]] = []
    for _ in range(20):
        b.plan.on_trade(T0, 0, 100, 1, 1)
    for book in (([(100, 5), (99, 6)], [(102, 5)]), ([(100, 7), (99, 6)], [(102, 5)]), (bids, asks), None, ([(100, 5)], [(101, 5)])):
        if book is None:
            b.book.invalidate()
        else:
            b.book.load(pack(book[0]), pack(book[1]))
        b.plan.on_book(T0 + len(there) * 90 * SEC)
        b.plan.on_trade(T0 + len(there) * 90 * SEC, 0, 100, 1, 1)
        b.row(T0 + len(there) * 90 * SEC)
        there.append([b.plan.is_there(k) for k in range(len(DEPTH) + 1)])  # the last: ofi_l5

    assert there[1:] == [[True] * 18, [False] * 18, [False] * 18, [True] * 18]


# ---------------------------------------------------------------------------------------------------- changes of the book


def seen(old: Levels, new: Levels) -> tuple[Counter[int], int]:
    """(lots gained per price, better is larger) at the prices that both states show; keys below the second are unseen."""
    floor = max((side[9][0] if len(side) > 9 else -(1 << 62)) for side in (old, new))
    change: Counter[int] = Counter()
    for side, sign in ((old, -1), (new, 1)):
        for p, q in side[:10]:
            if p >= floor:
                change[p] += sign * q
    return change, floor


def keyed(levels: Levels, side: int) -> Levels:
    return [(p if side == 0 else -p, q) for p, q in levels]


def flow_oracle(events: Sequence[Event], now: int) -> dict[str, float]:
    """The formulas of book_flow_block, from dicts; the book is valid throughout."""
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    last: tuple[Levels, Levels] | None = None
    rows: dict[str, list[tuple[int, float]]] = defaultdict(list)
    closing: list[float] = []
    second = None
    for e in events:
        t = e.ts_recv_ns
        if isinstance(e, Trade) and last is not None:
            for side, part in ((0, {-1: 1.0, 0: 0.5, 1: 0.0}), (1, {1: 1.0, 0: 0.5, -1: 0.0})):
                ends = keyed(last[side], side)
                key = e.price_ticks if side == 0 else -e.price_ticks
                if len(ends) < 10 or key >= ends[9][0]:
                    rows[f"traded{side}"].append((t, part[e.aggressor] * e.qty_lots))
        if not follow(sides, e):
            continue
        levels = levels_of(sides)
        if last is not None:
            if second is not None and t // SEC > second:
                closing.append(sum(q for side in last for _, q in side[:10]))
            for side in (0, 1):
                for gained in seen(keyed(last[side], side), keyed(levels[side], side))[0].values():
                    rows[f"{'added' if gained > 0 else 'removed'}{side}"].append((t, abs(gained)))
                for m in range(5):
                    (p0, q0), (p1, q1) = ((keyed(x[side], side)[m] if m < len(x[side]) else (-(1 << 62), 0)) for x in (last, levels))
                    rows["ofi"].append((t, (1 - 2 * side) * (q1 * (p1 >= p0) - q0 * (p1 <= p0)) / 5))
        second = t // SEC
        rows["depth5"].append((t, sum(q for side in levels for _, q in side[:5]) / 10))
        rows["depth10"].append((t, sum(q for side in levels for _, q in side[:10])))
        last = levels

    def d(name: str, tau: float) -> float:
        t, x = zip(*rows[name], strict=True)
        return float((np.exp(-ages(t, now) / tau) * x).sum())

    def mean(name: str) -> float:
        t, x = zip(*rows[name], strict=True)
        w = np.exp(-ages(t, t[-1]) / 10)
        return float((w * x).sum() / w.sum())

    m, u = 0.0, []
    for k, x in enumerate(closing):
        m += (x - m) / min(k + 1, 60)
        u.append(x - m)
    w = (59 / 60) ** np.arange(len(u) - 2, -1, -1.0)
    du = np.diff(closing)
    cancels = [max(0.0, d(f"removed{k}", 10) - d(f"traded{k}", 10)) for k in (0, 1)]
    moved = sum(d(f"{what}{k}", 10) for what in ("added", "removed") for k in (0, 1))
    over_60 = {what: d(f"{what}0", 60) + d(f"{what}1", 60) for what in ("added", "removed", "traded")}
    return {
        "ofi_l5": float(np.clip(d("ofi", 1) / mean("depth5"), -50, 50)),
        "cancel_ratio_1m": float(np.clip((over_60["removed"] - over_60["traded"]) / over_60["added"], 0, 10)),
        "add_imb_10s": share(d("added0", 10), d("added1", 10)),
        "cancel_imb_10s": share(*cancels),
        "book_churn_10s": moved / 10 / mean("depth10"),
        "depth_resiliency_1m": float(np.clip(-(w * u[:-1] * du).sum() / (w * np.square(u[:-1])).sum(), -2, 2)),
    }


@pytest.mark.parametrize("stop", [1703, 1950, 2200, 2751])
def test_columns_of_changes_match_their_formulas(stop: int, market: list[Event], bench: Callable[..., Any]) -> None:
    b = bench(FLOW)
    for e in market[:stop]:
        b.feed(e)
    now = market[stop - 1].ts_recv_ns + 123_456_789

    row = columns(b, now)

    assert b.plan.first_cold() == -1
    assert row == {name: pytest.approx(value, rel=1e-7, abs=1e-9) for name, value in flow_oracle(market[:stop], now).items()}


def test_a_book_that_was_invalid_in_between_is_not_compared(bench: Callable[..., Any]) -> None:
    b = bench(FLOW)
    base = [(1000 - k, 50) for k in range(12)], [(1001 + k, 50) for k in range(12)]
    for k in range(70):
        b.book.load(pack([(1000, 50 + k % 3), *base[0][1:]]), pack(base[1]))
        b.plan.on_book(T0 + k * SEC)
        b.plan.on_trade(T0 + k * SEC, 0, 1000, 1, -1)
    before = columns(b, T0 + 70 * SEC)

    b.book.invalidate()
    b.plan.on_book(T0 + 69 * SEC + 1)
    b.book.load(pack([(900 - k, 9000) for k in range(12)]), pack([(901 + k, 9000) for k in range(12)]))
    b.plan.on_book(T0 + 69 * SEC + 2)
    after = columns(b, T0 + 70 * SEC)

    for name in ("cancel_ratio_1m", "add_imb_10s", "cancel_imb_10s", "depth_resiliency_1m"):
        assert after[name] == pytest.approx(before[name], rel=1e-8), name
    assert 0.0 < abs(after["ofi_l5"]) < abs(before["ofi_l5"]) / 10  # the same flow over a far larger mean depth


def test_levels_that_come_into_view_are_not_taken_for_new_ones(bench: Callable[..., Any]) -> None:
    b = bench(["add_imb_10s", "book_churn_10s"])
    bids = [(1000 - k, 50) for k in range(30)]
    b.book.load(pack(bids), pack([(1001 + k, 50) for k in range(30)]))
    b.plan.on_book(T0)
    b.book.apply(pack([(1000, 0)]), b"")  # the eleventh bid becomes the tenth
    b.plan.on_book(T0 + SEC)

    b.plan.on_time(T0 + 20 * SEC)
    row = columns(b, T0 + 20 * SEC)

    assert row["add_imb_10s"] == 0.0
    assert row["book_churn_10s"] == pytest.approx(50 * math.exp(-1.9) / 10 / 1000, rel=1e-9)


# -------------------------------------------------------------------------------------------------------------- wild input

WILD = Instrument(
    venue="sim", symbol="X", kind="spot", family="crypto", quote_currency="USD", tick_size=Decimal("0.01"), lot_size=Decimal("0.01"),
    maker_fee=Decimal(0), taker_fee=Decimal(0),
)  # fmt: skip
PRICE = st.one_of(st.integers(1, 40), st.integers(1, 1 << 62), st.just((1 << 63) - 1))
LOTS = st.one_of(st.integers(0, 5), st.integers(0, 1 << 62), st.just((1 << 63) - 1))
SIDE = st.lists(st.tuples(PRICE, LOTS), max_size=14)
STEP = st.integers(-3 * SEC, 20 * SEC)
ACTION = st.one_of(
    st.tuples(st.just("quote"), STEP, PRICE, PRICE, LOTS, LOTS),
    st.tuples(st.just("trade"), STEP, PRICE, LOTS, st.sampled_from((-1, 0, 1))),
    st.tuples(st.just("load"), STEP, SIDE, SIDE),
    st.tuples(st.just("apply"), STEP, SIDE, SIDE),
    st.tuples(st.just("invalidate"), STEP),
)


@settings(max_examples=150, deadline=None)
@given(actions=st.lists(ACTION, max_size=60), is_warm=st.booleans())
def test_wild_quotes_trades_and_books_stay_finite_and_inside_the_ranges(actions: list[Any], is_warm: bool) -> None:
    arena = Arena(2_000_000)
    book = Book(arena, 64)
    plan = build_plan(BOOK, WILD, BarSpec.parse("time:1s"), arena, book)
    ranges = [shipped_catalogue().get(name).range for name in BOOK]
    t = T0
    if is_warm:
        for k in range(70):
            t += SEC
            plan.on_quote(t, 0, 20 - k % 3, 21 + k % 2, 5, 6)
            plan.on_trade(t, 0, 20, 1, 1)
            book.load(pack([(20 - i, 3 + k % 4) for i in range(12)]), pack([(21 + i, 5) for i in range(12)]))
            plan.on_book(t)
        plan.observe(t)
        assert plan.first_cold() == -1
    for what, step, *rest in actions:
        t += step
        if what == "quote":
            plan.on_quote(t, 0, *rest)
        elif what == "trade":
            plan.on_trade(t, 0, *rest)
        elif what == "invalidate":
            book.invalidate()
            plan.on_book(t)
        else:
            (book.load if what == "load" else book.apply)(pack(rest[0]), pack(rest[1]))
            plan.on_book(t)
        plan.observe(t)

        assert all(low <= x <= high for x, (low, high) in zip(plan.values, ranges, strict=True)), dict(zip(BOOK, plan.values, strict=True))
