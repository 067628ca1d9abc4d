"""The account's columns: what the environment shows a policy is what the live engine shows it over the same market."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from decimal import ROUND_CEILING
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from mia.domain import events as ev
from mia.domain.effects import SubmitOrder
from mia.domain.errors import DataError
from mia.execution.settings import ExecutionSettings
from mia.features.bars import BarSpec
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import QUOTE, TIMER, TRADE, EventColumns
from mia.policy.strategy import Target
from mia.risk.limits import RiskSettings
from mia.risk.state import DAY_NS, HOUR_NS, RiskState
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings
from mia.train.account import INV_STD, LEFT_OUT, SUPPORTED, PlanAccount
from mia.train.env import AccountState, EnvSettings, Tape, TradingEnv, cap_lots
from mia.train.observation import Normaliser, Observation
from mia.train.settings import perpetual
from mia.train.tapes import Course, chosen, from_bar_file, from_events, make_tape
from tests.unit.engine.conftest import LIMITS, MS, Rig, Says, instrument
from tests.unit.train.test_env import tape

F32 = npt.NDArray[np.float32]
CASH = 10_000
RISK = RiskSettings(**{**LIMITS, "drawdown_max": 0.4, "daily_loss_max": 0.4, "overtrade_trades_per_hour": 300})
SETTINGS = EnvSettings(cap_quote=5_000.0, dead_band=0.25, episode_rows=20, equity_quote=CASH, risk=RISK)
MIDNIGHT_NS = 19_676 * DAY_NS
LATENCY_NS = 20 * MS


class Plays(Says):
    """Says one target after the other, and remembers what it saw before each."""

    def __init__(self, targets: Iterator[float]) -> None:
        super().__init__(SUPPORTED, min_interval_ms=100)
        self.targets, self.seen = targets, list[list[float]]()

    def evaluate(self, obs: memoryview, regime_probs: Any) -> Target:
        self.seen.append(list(obs))
        signal = next(self.targets)
        return Target(signal, 1.0, (signal,) * 3)


def market(*, timers: bool) -> tuple[EventColumns, Tape]:
    """Quotes and trades of a simulated market over a UTC midnight, and the tape of its decisions."""
    sim = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=5), instrument("perpetual"))
    sim.start(MIDNIGHT_NS - 120 * 10**9)
    events = sim.generate(duration_s=240.0, timers=timers).events
    heard = np.isin(events.kind, [QUOTE, TRADE, TIMER])
    events = EventColumns._make([*(column[heard] for column in events[:-1]), events.levels])
    columns = ("spread_ticks",)
    stretch = from_events("sim", events, instrument("perpetual"), columns, (), BarSpec.parse("time:1s"), 100)
    return events, make_tape(chosen(stretch, columns), Observation.raw(columns), None)


def targets(rows: int) -> list[float]:
    """Mostly what was wanted before; changes of all kinds, some of them too small to be traded."""
    rng = np.random.default_rng(2)
    out = [0.0]
    while len(out) < rows:
        out.append(out[-1] if rng.random() < 0.9 else float(rng.choice([-1.0, -0.5, 0.0, 0.0, 0.1875, 0.5, 0.625, 1.0])))
    return out


def environment(t: Tape, wanted: list[float]) -> F32:
    """What the environment shows before each decision, [rows, columns]."""
    env = TradingEnv([t], PlanAccount(), SETTINGS)
    rows = [env.reset(options={"tape": 0})[0]]
    for target in wanted[: len(t.ts_ns) - 1]:
        rows.append(env.step(np.array([target], np.float32))[0])
    return np.stack(rows)[:, len(t.columns) :][:, : len(SUPPORTED)]


class Venue:
    """Steps the engine through the market and fills its orders, with the fee that the environment takes."""

    def __init__(self, t: Tape, wanted: list[float]) -> None:
        self.plays = Plays(iter(wanted))
        lots = cap_lots(t, 0, SETTINGS.cap_quote)
        limits = {name: getattr(RISK, name) for name in ("drawdown_max", "daily_loss_max", "overtrade_trades_per_hour")}
        execution = ExecutionSettings(dead_band_share=SETTINGS.dead_band, stop_share=0.9, take_share=0.9)
        self.rig = Rig(self.plays, answers=False, holds_stops=False, execution=execution, position_lots_max=lots, **limits)
        self.orders: list[tuple[int, SubmitOrder]] = []

    def give(self, ts_ns: int, kind: Any, *fields: Any) -> None:
        self.rig.now = ts_ns
        self.orders += [(ts_ns, e) for e in self.rig.give(kind, *fields) if isinstance(e, SubmitOrder)]

    def fill(self, ts_ns: int, bid: int, ask: int) -> None:
        """Whatever is open, at this touch."""
        for _, order in self.orders:
            price = ask if order.side > 0 else bid
            definition = instrument("perpetual")
            fee = int((abs(definition.notional_e8(price, order.qty_lots)) * definition.taker_fee).to_integral_value(ROUND_CEILING))
            self.give(ts_ns, ev.OrderAccepted, order.client_order_id, "V")
            fields = (order.client_order_id, f"F{ts_ns}", 0, order.side, price, order.qty_lots, fee, False)
            self.give(ts_ns, ev.OrderFilled, *fields)
        self.orders.clear()


def test_every_column_is_that_of_the_live_engine_when_fills_are_those_of_the_next_row() -> None:
    events, t = market(timers=False)
    wanted = targets(len(t.ts_ns))
    venue, rows, last = Venue(t, wanted), set(t.ts_ns.tolist()), 0

    for kind, ts, a, b, c, d in zip(*(column.tolist() for column in (events.kind, events.ts_recv_ns, *events[3:7])), strict=True):
        if kind == TRADE:
            venue.give(ts, ev.Trade, 0, a, b, c, ts)
            continue
        if ts in rows and last:
            # A quote dated so early that nobody decides on it marks the account at the price of the fill; a timer counts trades.
            venue.give(last + 1, ev.Quote, 0, a, b, c, d)
            venue.fill(ts, a, b)
            venue.give(ts, ev.Timer)
        venue.give(ts, ev.Quote, 0, a, b, c, d)
        last = ts if ts in rows else last

    live, ours = np.array(venue.plays.seen, np.float32), environment(t, wanted)
    assert live.shape == ours.shape
    assert len(live) > 1_500
    for k, name in enumerate(SUPPORTED):
        assert len(np.unique(live[:, k])) > 3, f"{name} says nothing here"
        assert np.array_equal(live[:, k], ours[:, k]), f"{name}: {np.flatnonzero(live[:, k] != ours[:, k])[:5]}"
    held = live[:, SUPPORTED.index("position")] != 0.0
    assert live[held, SUPPORTED.index("mae_r")].min() < -1.0
    assert live[:, SUPPORTED.index("trades_60m_ratio")].max() > 0.1


def test_with_a_venue_that_takes_its_time_only_what_the_fill_decides_differs() -> None:
    """Fills 20 ms after the decision at the touch of then, and timers that mark the account between rows, as a real venue has it."""
    events, t = market(timers=True)
    wanted = targets(len(t.ts_ns))
    venue, touch = Venue(t, wanted), (0, 0)

    for kind, ts, a, b, c, d in zip(*(column.tolist() for column in (events.kind, events.ts_recv_ns, *events[3:7])), strict=True):
        if venue.orders and ts - venue.orders[0][0] >= LATENCY_NS:
            venue.fill(ts, *touch)
        if kind == TRADE:
            venue.give(ts, ev.Trade, 0, a, b, c, ts)
        elif kind == TIMER:
            venue.give(ts, ev.Timer)
        else:
            touch = (a, b)
            venue.give(ts, ev.Quote, 0, a, b, c, d)

    live, ours = np.array(venue.plays.seen, np.float64), environment(t, wanted).astype(np.float64)
    off = dict(zip(SUPPORTED, np.abs(live - ours).T, strict=True))
    moved = float((t.high_ticks - t.low_ticks + t.ask_ticks - t.bid_ticks).max())  # the most that a touch does between two rows
    wait_s = float(np.diff(t.ts_ns).max()) * 1e-9
    for name in ("position", "bars_in_position", "last_action", "last_3_trades_success_rate"):
        assert off[name].max() == 0.0, name
    for name in ("position_age", "since_last_trade"):  # the fill came earlier, by less than the time between two rows
        assert 0.0 < off[name].max() <= math.log1p(wait_s) / math.log1p(86_400) + 1e-6, name
    for name in ("unrealised_r", "mae_r", "mfe_r"):  # at another price
        assert 0.0 < (off[name] * t.atr_ticks[: len(live)]).max() <= moved + 1e-3, name
    for name in ("drawdown_ratio", "day_pnl_ratio"):  # the same, and peaks between rows; a hundredth of what they range over
        assert 0.0 < off[name].max() < 0.01 * np.ptp(live[:, SUPPORTED.index(name)]), name
    assert off["trades_60m_ratio"].max() == pytest.approx(1.0 / RISK.overtrade_trades_per_hour, rel=1e-3)  # no timer since the trade


def test_what_cannot_be_known_while_one_policy_is_trained_is_left_out() -> None:
    own = shipped_catalogue().category("account_self")

    assert set(own) - set(SUPPORTED) == set(LEFT_OUT)
    assert set(SUPPORTED) - set(own) == {"last_3_trades_success_rate"}
    for name in LEFT_OUT:
        with pytest.raises(ValueError, match=f"{name}.*cannot be stepped"):
            PlanAccount((name,))
    with pytest.raises(ValueError, match=r"'ret_1' cannot be stepped in training: use position"):
        PlanAccount(("ret_1",))


def test_environments_that_share_columns_keep_accounts_of_their_own() -> None:
    t, account = tape(), PlanAccount(("mae_r", "bars_in_position"))
    alone, beside = TradingEnv([t], account, SETTINGS), TradingEnv([t], account, SETTINGS)
    other = TradingEnv([t], pickle.loads(pickle.dumps(account)), SETTINGS)
    for env in (alone, beside, other):
        env.reset(options={"tape": 0})

    seen = []
    for k in range(12):
        seen.append([env.step(np.array([sign], np.float32))[0][2:4].tolist() for env, sign in ((alone, 1.0), (other, 1.0))])
        beside.step(np.array([-1.0 if k % 2 else 1.0], np.float32))

    assert all(a == b for a, b in seen)
    assert seen[-1][0][0] < 0.0
    assert seen[-1][0][1] == pytest.approx(11 / 240)


def test_a_step_over_several_rows_sees_every_row_between() -> None:
    t = tape()
    at = 7  # far below everything else, inside of a step of three rows
    low = t.low_ticks.copy()
    low[at] -= 500.0
    t = msgspec.structs.replace(t, low_ticks=low, atr_ticks=np.full(len(low), 20.0))
    wide, narrow = (TradingEnv([t], PlanAccount(), msgspec.structs.replace(SETTINGS, hold_rows=n)) for n in (3, 1))
    for env in (wide, narrow):
        env.reset(options={"tape": 0})

    for _ in range(3):
        jump = wide.step(np.array([1.0], np.float32))[0]
    for _ in range(9):
        walk = narrow.step(np.array([1.0], np.float32))[0]

    assert jump[2 + SUPPORTED.index("mae_r")] <= -25.0
    assert jump.tolist() == walk.tolist()


def test_an_episode_can_begin_after_a_past_that_it_does_not_pay_for() -> None:
    t = tape(rows=200)
    env = TradingEnv([t], PlanAccount(), SETTINGS)

    seen = [env.reset(seed=seed)[0][2:] for seed in range(300)]

    low, high = np.min(seen, axis=0), np.max(seen, axis=0)
    for k, name in enumerate(SUPPORTED):
        bounds = shipped_catalogue().get(name).range
        assert bounds[0] <= low[k] < high[k] <= bounds[1], name
    assert (low[SUPPORTED.index("day_pnl_ratio")], high[SUPPORTED.index("day_pnl_ratio")]) == pytest.approx((-1.0, 1.0), abs=0.1)
    assert high[SUPPORTED.index("drawdown_ratio")] == pytest.approx(1.0, abs=0.1)


def test_the_past_of_a_position_changes_neither_equity_nor_fees() -> None:
    t = tape(rows=200)
    env = TradingEnv([t], PlanAccount(), SETTINGS)
    opened = 0

    for seed in range(60):
        env.reset(seed=seed)
        opened += env.ledger.position_lots != 0
        assert abs(env.ledger.equity_x2_e8(int(t.bid_ticks[env.row]), int(t.ask_ticks[env.row]))) <= 1
        assert env.ledger.fees_e8 == 0
    assert 10 < opened < 50


def test_the_score_of_trades_is_that_of_the_risk_state_at_any_time() -> None:
    rng = np.random.default_rng(3)
    state, plain, ts = AccountState(1, 0, RiskState.of(RISK)), RiskState.of(RISK), 10 * HOUR_NS

    for _ in range(600):
        ts += int(rng.integers(1, HOUR_NS // 20))
        if rng.random() < 0.4:
            state.close(ts, True)
            plain.note_trade(ts)
        assert state.overtrade_score(ts) == plain.overtrade_risk_score(ts)


def test_what_a_gate_refused_is_still_what_the_policy_said() -> None:
    t = tape()
    env = TradingEnv([t], PlanAccount(("position", "last_action")), SETTINGS)
    env.reset(options={"tape": 0})

    seen = env.act(0.0, 0.75)[0]

    assert seen[2:4].tolist() == [0.0, 0.75]


def test_policies_read_excursions_as_the_graph_of_their_bundle_will() -> None:
    stretch_columns = ("spread_ticks",)
    events, plain = market(timers=True)
    stretch = from_events("sim", events, instrument("perpetual"), stretch_columns, (), BarSpec.parse("time:1s"), 100)
    columns = (*stretch_columns, *SUPPORTED, "has(depth)")
    inv_std = np.array([1.0, *(INV_STD.get(c, 1.0) for c in SUPPORTED), 1.0], np.float32)
    normaliser = Normaliser(np.zeros(len(columns), np.float32), inv_std, 0.3)
    weights = np.random.default_rng(1).uniform(0.5, 1.5, (3, len(columns))).astype(np.float32)
    observation = Observation(columns=columns, own=len(columns) - 1, normaliser=normaliser, weights=weights, masks=1)
    scaled = make_tape(chosen(stretch, stretch_columns), observation, None)
    raw, read = (TradingEnv([x], PlanAccount(), SETTINGS) for x in (plain, scaled))
    for env in (raw, read):
        env.reset(options={"tape": 0})

    for target in targets(300):
        a, b = (env.step(np.array([target], np.float32))[0] for env in (raw, read))
        whole = np.concatenate([a, np.ones(len(columns) - len(a), np.float32)])
        expected = observation.apply(whole[None], np.full((1, 3), 1 / 3, np.float32))[0]
        assert b[1:-1] == pytest.approx(expected[1:-1], rel=1e-6, abs=1e-7)


def test_extremes_hold_every_mid_since_the_row_before_also_of_rows_that_were_dropped() -> None:
    rng = np.random.default_rng(4)
    mid_ns = np.cumsum(rng.integers(1, 50, 400)) * MS
    course = Course(mid_ns, 2 * 10_000 + rng.integers(-99, 100, 400), np.zeros(0, np.int64), np.zeros(0))
    rows = mid_ns[np.sort(rng.choice(400, 60, replace=False))]

    low, high = course.extremes(rows)

    before = rows[0] - 1
    for k, ts in enumerate(rows.tolist()):
        mids = [mid / 2 for at, mid in zip(mid_ns.tolist(), course.mid_x2.tolist(), strict=True) if before < at <= ts]
        assert (low[k], high[k]) == ((min(mids), max(mids)) if k else (mids[0], mids[0]))
        before = ts


def test_a_row_before_the_first_true_range_is_neither_chosen_nor_played() -> None:
    events, _ = market(timers=True)
    columns = ("spread_ticks",)
    stretch = from_events("sim", events, instrument("perpetual"), columns, (), BarSpec.parse("time:1s"), 100)

    first = chosen(stretch, columns).ts_ns[0]

    known = stretch.course.bars(stretch.ts_ns)
    assert first == stretch.ts_ns[known >= 15][0] > stretch.ts_ns[0]
    with pytest.raises(DataError, match="sim: rows before 15 bars have closed"):
        make_tape(stretch, Observation.raw(columns), None)


def test_a_candle_shows_a_position_its_low_and_its_high(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    n, tick = 90, 0.1
    close = 60_000.0 + np.rint(np.cumsum(rng.normal(scale=300.0, size=n))) * tick
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = (np.maximum(opens, close) + 50 * tick, np.minimum(opens, close) - 70 * tick)
    pl.DataFrame({"ts_ms": np.arange(n) * 60_000, "open": opens, "high": high, "low": low, "close": close, "volume": np.ones(n)}).write_csv(
        tmp_path / "b.csv"
    )

    stretch = chosen(from_bar_file(tmp_path / "b.csv", perpetual(), ("ret_1",), ("ret_5",)), ("ret_1",))
    t = make_tape(stretch, Observation.raw(("ret_1",)), None)

    ranges = [max(high[k], close[k - 1]) - min(low[k], close[k - 1]) for k in range(1, n)]
    atr = float(np.mean(ranges[:14]))
    wilder = [atr, *((atr := atr + (x - atr) / 14) for x in ranges[14:])]
    assert t.atr_ticks == pytest.approx(np.array(wilder) / tick, rel=1e-9)
    assert t.bars.tolist() == list(range(15, n + 1))
    assert t.low_ticks[1:] == pytest.approx(low[15:] / tick)
    assert t.high_ticks[1:] == pytest.approx(high[15:] / tick)
