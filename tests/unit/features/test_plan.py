"""The plan: one code path for live and history, no look-ahead, honest warm-up, state that survives, clear errors."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.domain.errors import ConfigError
from mia.domain.events import Event, Quote
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.features.batch import compute
from mia.features.blocks import BLOCK_OF, BLOCKS
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import EventColumns, from_events
from mia.features.plan import build_plan, missing_columns
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from tests.unit.features.conftest import pack

ROOT = Path(__file__).resolve().parents[3]
ALL = (*shipped_catalogue().names, "ema(20)", "sma(50)", "std(20)", "rsi(14)", "atr(14)", "highest(20)", "lowest(20)", "close", "mid")
STEP_NS = 100_000_000
START_NS = 1_723_161_253_937_085_768


def one_by_one(b: Any, events: list[Event], min_interval_ns: int) -> tuple[list[int], list[list[float]]]:
    """What live does: feed, decide on quotes a minimum interval apart."""
    times, rows, last = [], [], 0
    for e in events:
        b.feed(e)
        is_usable = isinstance(e, Quote) and 0 < e.bid_ticks < e.ask_ticks and min(e.bid_lots, e.ask_lots) > 0
        if is_usable and (last == 0 or e.ts_recv_ns - last >= min_interval_ns):
            last = e.ts_recv_ns
            times.append(last)
            rows.append(b.row(last))
    return times, rows


def test_batch_and_streaming_give_the_same_bits(market: list[Event], bench: Callable[..., Any]) -> None:
    times, rows = one_by_one(bench(ALL), market, STEP_NS)

    ts, matrix = compute(bench(ALL).plan, from_events(market), STEP_NS, with_cold=True)

    assert len(rows) > 200
    assert ts.tolist() == times
    assert matrix.tobytes() == np.array(rows).tobytes()


@pytest.mark.parametrize("trigger", ["quote", "bar"])
def test_a_stretch_in_pieces_and_over_a_restore_gives_the_same_bits(trigger: Any, market: list[Event], bench: Callable[..., Any]) -> None:
    events = from_events(market)
    whole = compute(bench(ALL).plan, events, STEP_NS, trigger, with_cold=True)
    cuts = [0, 901, 902, 1800, events.events]

    parts = []
    b = bench(ALL)
    for start, stop in itertools.pairwise(cuts):
        parts.append(compute(b.plan, events.slice(start, stop), STEP_NS, trigger, with_cold=True))
        saved = b.arena.snapshot()
        b = bench(ALL)
        b.arena.restore(saved)

    assert np.concatenate([p[0] for p in parts]).tobytes() == whole[0].tobytes()
    assert np.concatenate([p[1] for p in parts]).tobytes() == whole[1].tobytes()
    assert len(whole[0]) > 50


def test_no_column_knows_the_future(market: list[Event], bench: Callable[..., Any]) -> None:
    events = from_events(market)
    ts, matrix = compute(bench(ALL).plan, events, STEP_NS, with_cold=True)

    for stop in (1700, 2111, 2500):
        part_ts, part = compute(bench(ALL).plan, events.slice(0, stop), STEP_NS, with_cold=True)
        assert part_ts.tobytes() == ts[: len(part_ts)].tobytes()
        assert part.tobytes() == matrix[: len(part)].tobytes()


def test_asking_for_few_columns_gives_the_same_bits_as_asking_for_all(market: list[Event], bench: Callable[..., Any]) -> None:
    events = from_events(market)
    few = ("ofi_score", "ema(20)", "rsi_14", "ret_1")

    ts, matrix = compute(bench(ALL).plan, events, STEP_NS, with_cold=True)
    few_ts, few_matrix = compute(bench(few).plan, events, STEP_NS, with_cold=True)

    assert few_ts.tobytes() == ts.tobytes()
    assert few_matrix.tobytes() == np.ascontiguousarray(matrix[:, [ALL.index(n) for n in few]]).tobytes()


def test_observing_more_often_changes_nothing(market: list[Event], bench: Callable[..., Any]) -> None:
    often, once = bench(ALL), bench(ALL)
    for e in market[:1500]:
        often.feed(e)
        often.row(e.ts_recv_ns)
        once.feed(e)

    assert often.row(market[1499].ts_recv_ns) == once.row(market[1499].ts_recv_ns)


_INTERPRETED = """
import pickle, sys
from decimal import Decimal
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import compute
from mia.features.columns import EventColumns
from mia.features.plan import build_plan, missing_columns
from mia.kernels import plan_core
from mia.kernels.arena import Arena
from mia.kernels.book import Book
assert plan_core.__file__.endswith(".py")
columns, instrument, bars, events = pickle.load(sys.stdin.buffer)
arena = Arena(32_000_000)
plan = build_plan(columns, instrument, BarSpec.parse(bars), arena, Book(arena))
ts, matrix = compute(plan, EventColumns._make(events), 100_000_000, with_cold=True)
pickle.dump((ts, matrix, arena.snapshot()), sys.stdout.buffer)
"""


@pytest.mark.parametrize("bars", ["time:1s", "tick:7", "volume:0.5", "dollar:20000"])
def test_interpreted_kernels_give_the_same_bits(bars: str, market: list[Event], bench: Callable[..., Any]) -> None:
    b = bench(ALL, bars)
    events = from_events(market[:1200])
    job = pickle.dumps((ALL, b.plan.instrument, bars, tuple(events)))
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", _INTERPRETED], input=job, capture_output=True, env=env, cwd=ROOT, check=True)

    ts, matrix = compute(b.plan, events, STEP_NS, with_cold=True)

    other_ts, other, other_state = pickle.loads(done.stdout)
    assert matrix.tobytes() == other.tobytes()
    assert ts.tobytes() == other_ts.tobytes()
    assert b.arena.snapshot() == other_state
    assert b.plan.bar_count() > 10


@pytest.mark.data
def test_recording_is_inside_the_ranges_with_no_constant_and_no_duplicate_column(recording: EventColumns, instrument: Instrument) -> None:
    catalogue = shipped_catalogue()
    slow = {"account", "reference", "funding", "news", "predicted", "model", "memory", "calendar", "clock"}
    names = [f.name for f in catalogue.features if not slow & set(f.inputs)]
    arena = Arena(16_000_000)
    plan = build_plan(names, instrument, BarSpec.parse("time:1s"), arena, Book(arena), neutral=float("nan"))

    _, matrix = compute(plan, recording, STEP_NS, with_cold=True)

    for name, values in zip(names, matrix.T, strict=True):
        known = values[np.isfinite(values)]
        low, high = catalogue.get(name).range
        warm = catalogue.get(name).warm_up
        if max(warm.bars, warm.seconds) < 120 and "absent until" not in catalogue.get(name).missing:
            assert len(known) > 500, name
        assert ((known >= low) & (known <= high)).all(), name
        assert len(known) < 500 or known.std() > 0.0, name
    common = matrix[:, np.isfinite(matrix).mean(axis=0) > 0.3]
    common = common[np.isfinite(common).all(axis=1)]
    left = [n for n, share in zip(names, np.isfinite(matrix).mean(axis=0), strict=True) if share > 0.3]
    correlation = np.corrcoef(common.T) - np.eye(len(left))
    assert len(common) > 500
    assert [(left[i], left[j]) for i, j in np.argwhere(np.abs(correlation) > 0.9999) if i < j] == []


def test_a_row_is_made_only_on_quotes_that_the_engine_would_decide_on(bench: Callable[..., Any]) -> None:
    sides = [(100, 101, 5, 5), (100, 100, 5, 5), (102, 101, 5, 5), (0, 101, 0, 5), (100, 101, 5, 0), (100, 102, 5, 5)]
    quotes = [Quote(k, START_NS + k * 10**9, START_NS + k * 10**9, InstrumentId(0), *side) for k, side in enumerate(sides)]

    ts, matrix = compute(bench(("spread_ticks",)).plan, from_events(quotes), 0, "quote", with_cold=True)

    assert ((ts - START_NS) // 10**9).tolist() == [0, 5]
    assert matrix[:, 0].tolist() == [1.0, 2.0]


def test_first_cold_names_the_first_column_that_waits(bench: Callable[..., Any]) -> None:
    b = bench(["tod_sin", "queue_imb_1", "ret_1", "flow_imb_1s", "depth_imb_5"])
    p = b.plan
    seen = [p.first_cold()]
    p.on_quote(1_000_000_000, 0, 99, 101, 5, 5)
    seen.append(p.first_cold())
    p.on_trade(1_100_000_000, 0, 100, 5, 1)
    p.on_time(2_000_000_000)
    seen.append(p.first_cold())
    p.on_time(3_000_000_000)
    seen.append(p.first_cold())
    b.book.load(b"", b"")
    p.on_book(3_000_000_001)
    seen.append(p.first_cold())

    assert seen == [1, 2, 2, 4, -1]


def test_enough_columns_for_the_demo_are_warm_within_a_minute() -> None:
    names = shipped_catalogue().warm_within(60, 1)

    assert len(names) >= 50
    assert "ret_z_50" in names
    assert "dist_high_60" not in names


def test_every_feature_of_the_catalogue_has_a_block_and_every_slot_a_line() -> None:
    catalogue = shipped_catalogue()

    assert set(catalogue.names) == set(BLOCK_OF)
    assert sum(len(spec.slots) for spec in BLOCKS.values()) == len(catalogue.names) >= 60


def test_only_the_blocks_that_are_asked_for_hold_state(bench: Callable[..., Any]) -> None:
    assert bench(["ema(20)"]).arena.layout != bench(["ema(20)", "ret_1"]).arena.layout
    assert bench(["ret_1"]).arena.used_bytes < bench(ALL).arena.used_bytes


@pytest.mark.parametrize(
    ("name", "hint"),
    [("ret_2", "ret_20"), ("ema(0)", "unknown feature"), ("ema(99999)", "unknown"), ("ofi_scor", "ofi_score"), ("sma()", "unknown")],
)
def test_unknown_column_is_one_clear_error(name: str, hint: str, bench: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=hint) as error:
        bench([name])

    assert name in str(error.value)


def test_parametric_columns_match_plain_formulas(market: list[Event], bench: Callable[..., Any], bars_of: Callable[..., Any]) -> None:
    b = bench(["ema(5)", "sma(7)", "std(7)", "highest(6)", "lowest(6)", "close", "rsi(5)", "mid"])
    for e in market:
        b.feed(e)

    row = b.row(market[-1].ts_recv_ns)

    bars, _ = bars_of(market, 1_000_000_000)
    c = bars[:, 3]
    ema = c[0]
    gain = loss = 0.0
    for i in range(1, len(c)):
        ema += (c[i] - ema) / 3
        gain += (max(c[i] - c[i - 1], 0) - gain) / min(i, 5)
        loss += (max(c[i - 1] - c[i], 0) - loss) / min(i, 5)
    last = [e for e in market if isinstance(e, Quote)][-1]
    expected = [ema, c[-7:].mean(), c[-7:].std(), bars[-6:, 1].max(), bars[-6:, 2].min(), c[-1], 100 * gain / (gain + loss)]
    assert row == pytest.approx([*expected, (last.bid_ticks + last.ask_ticks) / 2], rel=1e-9)


def test_arena_layout_is_the_same_for_the_same_columns(bench: Callable[..., Any]) -> None:
    assert bench(ALL).arena.layout == bench(ALL).arena.layout
    shuffled = bench(list(reversed(shipped_catalogue().names)))
    assert shuffled.arena.used_bytes == bench(shipped_catalogue().names).arena.used_bytes


def test_a_history_of_trades_fills_no_window_of_quotes(bench: Callable[..., Any]) -> None:
    b = bench(("ofi_10s",))
    start = 1_750_000_000_000_000_000
    for second in range(60):
        b.plan.on_trade(start + second * 1_000_000_000, 0, 1_000_000, 5, 1)
    live = start + 60_000_000_000

    b.plan.on_quote(live, 0, 1_000_000, 1_000_002, 5, 5)
    b.plan.on_quote(live + 1_000_000_000, 0, 1_000_000, 1_000_002, 6, 5)
    early = b.plan.first_cold()
    b.plan.on_time(live + 10_000_000_000)

    assert early == 0
    assert b.plan.first_cold() == -1


def test_after_a_pause_a_window_of_trades_fills_from_the_first_trade_after_it(bench: Callable[..., Any]) -> None:
    b = bench(("flow_imb_10s",))
    b.plan.on_trade(START_NS, 0, 1_000_000, 5, 1)
    b.plan.on_time(START_NS + 20 * 10**9)
    warm = b.plan.first_cold()
    b.plan.cool()
    back = START_NS + 600 * 10**9

    b.plan.on_time(back)
    b.plan.on_trade(back + 60 * 10**9, 0, 1_000_000, 5, 1)
    b.plan.on_time(back + 69 * 10**9)
    early = b.plan.first_cold()
    b.plan.on_time(back + 70 * 10**9)

    assert (warm, early, b.plan.first_cold()) == (-1, 0, -1)


def test_a_column_under_a_mask_is_not_waited_for_and_shows_its_neutral_value(bench: Callable[..., Any]) -> None:
    b = bench(["queue_imb_1", "depth_imb_5", "book_slope_bid", "has(depth)"])
    b.plan.on_quote(START_NS, 0, 99, 101, 6, 2)
    before = (b.row(START_NS), b.plan.first_cold(), missing_columns(b.plan))

    b.book.load(pack([(99, 30)]), pack([(101, 10)]))
    b.plan.on_book(START_NS + 1)
    with_book = b.row(START_NS + 1)
    b.book.invalidate()
    b.plan.on_book(START_NS + 2)
    lost = (b.row(START_NS + 2), missing_columns(b.plan))

    assert before[:2] == ([0.5, 0.0, 0.0, 0.0], -1)
    assert [(m.column, m.is_warming, m.is_waited_for) for m in before[2]] == [("depth_imb_5", True, False), ("book_slope_bid", True, False)]
    assert "0 of 1 books" in before[2][0].why
    assert with_book == [0.5, 0.5, 0.0, 1.0]
    assert lost[0] == [0.5, 0.0, 0.0, 0.0]
    assert [(m.column, m.is_warming) for m in lost[1]] == [("depth_imb_5", False), ("book_slope_bid", False)]


def test_a_mask_covers_a_column_by_any_of_its_inputs(bench: Callable[..., Any]) -> None:
    columns = ("mid_close_gap", "vwap_gap_10s", "cancel_ratio_1m")  # quotes, bars; trades, quotes, bars; depth, trades

    waited = {mask: [not bench((*columns, f"has({mask})")).plan.is_waited_for(j) for j in range(3)] for mask in ("bars", "trades", "depth")}

    assert waited == {"bars": [True, True, False], "trades": [False, True, True], "depth": [False, False, True]}


def test_a_mask_covers_only_the_columns_that_read_its_input(bench: Callable[..., Any]) -> None:
    b = bench(["queue_imb_1", "depth_imb_5", "ret_1", "has(depth)", "has(quotes)"])
    b.plan.on_time(START_NS)

    row = b.row(START_NS)

    assert row == [0.0, 0.0, 0.0, 0.0, 0.0]
    assert b.plan.first_cold() == 2  # ret_1 reads bars, and no mask speaks of bars
    b.plan.on_quote(START_NS, 0, 99, 101, 6, 2)
    assert b.row(START_NS)[3:] == [0.0, 1.0]


def test_an_analyst_sees_holes(instrument: Instrument) -> None:
    arena = Arena(8_000_000)
    plan = build_plan(["queue_imb_1", "ret_1"], instrument, BarSpec.parse("time:1s"), arena, Book(arena), neutral=float("nan"))
    plan.on_quote(START_NS, 0, 99, 101, 6, 2)

    plan.observe(START_NS)

    assert plan.values[0] == 0.5
    assert np.isnan(plan.values[1])


@pytest.mark.parametrize("columns", [["has(depth)", "ret_1"], ["ret_1", "has(depth)", "has(depth)"]])
def test_masks_are_distinct_and_come_last(columns: list[str], bench: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="masks are distinct and come after"):
        bench(columns)


def test_a_pause_cools_the_columns_down(bench: Callable[..., Any]) -> None:
    b = bench(["queue_imb_1"])
    b.plan.on_quote(START_NS, 0, 99, 101, 6, 2)
    b.row(START_NS)
    warm = b.plan.first_cold()

    b.plan.cool()

    assert (warm, b.plan.first_cold()) == (-1, 0)
    assert b.row(START_NS) == [0.0]


def test_a_stream_that_stops_takes_its_columns_along_and_gives_them_back(bench: Callable[..., Any]) -> None:
    b = bench(["queue_imb_1", "time_since_trade", "depth_imb_5", "tod_sin", "has(trades)", "has(depth)"])
    sec = 1_000_000_000

    def quote(at_s: float) -> int:
        t = START_NS + int(at_s * sec)
        b.plan.on_quote(t, 0, 99, 101, 6, 2)
        return t

    quote(0.0)
    b.plan.on_trade(START_NS, 0, 100, 5, 1)
    b.book.load(pack([(99, 30)]), pack([(101, 10)]))
    b.plan.on_book(START_NS)
    all_there = b.row(quote(9.0))[4:]
    book_late = (b.row(quote(11.0))[4:], [(m.column, m.why) for m in missing_columns(b.plan)])
    b.plan.on_book(START_NS + 12 * sec)
    book_again = b.row(quote(13.0))[4:]
    trades_stopped = [b.row(quote(299.0))[4], b.row(quote(301.0))[4]]
    quotes_stopped = [b.plan.first_cold()]
    b.plan.on_time(START_NS + 370 * sec)
    b.row(START_NS + 370 * sec)
    quotes_stopped.append(b.plan.first_cold())
    b.row(quote(371.0))

    assert all_there == [1.0, 1.0]
    assert book_late == ([1.0, 0.0], [("depth_imb_5", "depth stopped coming")])
    assert book_again == [1.0, 1.0]
    assert trades_stopped == [1.0, 0.0]
    assert quotes_stopped == [-1, 0]
    assert b.plan.first_cold() == -1
    assert b.plan.is_warm(0)
