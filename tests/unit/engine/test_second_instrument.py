"""A second instrument of the venue as a reference of the first: what counts of it, when, and the same offline."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import numpy as np
import pytest

from mia.backtest.feature_merge import with_timers
from mia.backtest.feature_sources import with_heard
from mia.domain import events as ev
from mia.engine.engine import Engine
from mia.engine.lane import LaneSpec
from mia.features.bars import BarSpec
from mia.features.batch import compute
from mia.features.columns import from_events
from mia.features.heard import valid_ns
from mia.features.plan import build_plan
from mia.features.series import REFERENCE_NUMBER
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from tests.unit.engine.conftest import MS, Rig, Says

COLUMNS = ("ref_corr_60", "beta_ref_60", "ref_lead_1", "ref_lag_1", "ref_ret_z_60", "basis_bps")
SECOND = 1_000 * MS


def pair(says: Says, **references: int) -> Rig:
    """A rig of two instruments whose one lane trades the first; references: series -> index of the instrument."""
    r = Rig(says, started=False)
    first = r.engine.config.instruments[0]
    other = msgspec.structs.replace(first, symbol="Y", tick_size=Decimal("0.5"))
    spec = LaneSpec(instrument=0, strategy=says, references=tuple((REFERENCE_NUMBER[n], i) for n, i in references.items()))
    r.engine = Engine(msgspec.structs.replace(r.engine.config, instruments=(first, other), lanes=(spec,)))
    r.give(ev.RunStarted, 1, "test", "paper", {}, "{}", "hash")
    r.give(ev.TradingEnabled)
    return r


def market(seconds: int, seed: int = 5) -> list[tuple[int, int, int]]:
    """(ms, instrument, price in ticks) of trades; the first instrument follows the second a second later."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(-9, 10, seconds).tolist()
    found, own, other = [], 100_000, 4_000
    for k, step in enumerate(steps):
        other += step
        own += 25 * steps[k - 1] if k else 0
        found += [(1000 * k + 300, 1, other), (1000 * k + 600, 0, own)]
    return found


def trades(r: Rig, rows: list[tuple[int, int, int]]) -> None:
    begin = r.now
    for ms, instrument, ticks in rows:
        while r.now + 100 * MS <= begin + ms * MS:  # the shell's timers
            r.timer()
        r.give(ev.Trade, instrument, ticks, 5, 1, 0, dt_ms=(begin + ms * MS - r.now) // MS)


def observed(r: Rig) -> dict[str, float]:
    plan = r.engine.lanes[0].plan
    plan.observe(r.now)
    return {name: plan.values[j] for j, name in enumerate(plan.columns) if plan.is_there(j)}


def test_the_closes_of_the_second_instrument_are_compared_with_those_of_the_first() -> None:
    r = pair(Says(COLUMNS, trigger="bar"), ref=1)
    rows = market(70)

    trades(r, rows)
    r.timer(500)
    found = observed(r)

    close = {i: np.log([ticks * (0.5 if i else 0.01) for _, at, ticks in rows if at == i]) for i in (0, 1)}
    own, other = np.diff(close[0])[-60:], np.diff(close[1])[-60:]
    before = np.diff(close[1])[-61:-1]
    assert found["ref_corr_60"] == pytest.approx(np.corrcoef(own, other)[0, 1], abs=1e-9)
    assert found["beta_ref_60"] == pytest.approx(np.cov(own, other)[0, 1] / np.var(other, ddof=1), rel=1e-9)
    assert found["ref_lead_1"] == pytest.approx(np.corrcoef(own, before)[0, 1], abs=1e-9)
    assert found["ref_lead_1"] > 0.99  # that is how the market was made


def test_a_trade_behind_the_end_of_a_bar_is_not_in_it() -> None:
    """The trade that comes at the boundary closes the bar first, with what was known before."""
    r = pair(Says(COLUMNS, trigger="bar"), ref=1)
    rows = market(70)
    trades(r, rows)
    edge = -r.now % SECOND
    r.give(ev.Trade, 1, 9_999, 5, 1, 0, dt_ms=edge // MS)  # an absurd jump, exactly at the end of the bar

    late = observed(r)

    other = pair(Says(COLUMNS, trigger="bar"), ref=1)
    trades(other, rows)
    other.timer(edge // MS)
    assert late == observed(other)


def test_basis_is_that_of_the_last_trades_and_the_instrument_may_be_one_side_of_it() -> None:
    r = pair(Says(("basis_bps",)), spot=0, perp=1)

    r.give(ev.Trade, 0, 10_000, 5, 1, 0)  # 100.00
    r.give(ev.Trade, 1, 202, 5, 1, 0)  # 101.0
    found = observed(r)

    assert found == {"basis_bps": pytest.approx(100.0)}


def test_a_second_instrument_that_stopped_trading_has_no_value() -> None:
    r = pair(Says(("basis_bps",)), spot=0, perp=1)
    r.give(ev.Trade, 0, 10_000, 5, 1, 0)
    r.give(ev.Trade, 1, 202, 5, 1, 0)

    r.give(ev.Trade, 0, 10_000, 5, 1, 0, dt_ms=300_000)
    at_the_limit = observed(r)
    r.timer(1)
    r.engine.lanes[0].plan.observe(r.now + 1)

    assert list(at_the_limit) == ["basis_bps"]
    assert observed(r) == {}


def test_a_trade_without_price_or_size_says_nothing() -> None:
    r = pair(Says(("basis_bps",)), spot=0, perp=1)
    r.give(ev.Trade, 0, 10_000, 5, 1, 0)

    r.give(ev.Trade, 1, 0, 5, 1, 0)
    r.give(ev.Trade, 1, 202, 0, 1, 0)

    assert observed(r) == {}


def test_a_restored_engine_goes_on_with_the_same_values() -> None:
    one, other = (pair(Says(COLUMNS, trigger="bar"), ref=1) for _ in range(2))
    rows = market(80)
    half = len(rows) // 2
    begin = one.now
    trades(one, rows[:half])

    other.engine.restore(*one.engine.snapshot())
    other.now, other.seq = one.now, one.seq
    for r in (one, other):
        trades(r, [(ms - (r.now - begin) // MS, i, ticks) for ms, i, ticks in rows[half:]])

    assert observed(one) == observed(other) != {}


def test_another_reference_is_another_layout() -> None:
    """A snapshot whose windows hold the prices of one instrument must not go on with those of another."""
    alone, ref, ref2 = (pair(Says(COLUMNS), **wanted).engine.layout_hash for wanted in ({}, {"ref": 1}, {"ref2": 1}))

    assert len({alone, ref, ref2}) == 3


def test_history_computes_the_bits_that_live_does() -> None:
    """The same trades as columns, those of the second instrument as the reference values that they are."""
    r = pair(Says(COLUMNS, trigger="bar"), ref=1)
    begin, rows = r.now, market(70)
    trades(r, rows)
    events = [ev.Trade(k, 0, begin + ms * MS, i, ticks, 5, 1, 0) for k, (ms, i, ticks) in enumerate(rows)]
    first, second = r.engine.config.instruments
    arena = Arena(1 << 24)
    plan = build_plan(COLUMNS, first, BarSpec.parse("time:1s"), arena, Book(arena))

    heard = with_heard(events, {1: (["ref"], second)}, valid_ns(SECOND))
    compute(plan, with_timers(from_events(heard, 0)), 0, "bar", with_cold=True)
    plan.observe(r.now)

    live = r.engine.lanes[0].plan
    live.observe(r.now)
    assert [x.hex() for x in plan.values] == [x.hex() for x in live.values]
    assert plan.is_there(0)
