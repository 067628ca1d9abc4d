"""The environment: exact money, no look-ahead, the account before the decision."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.events import OrderFilled
from mia.domain.sizing import Terms
from mia.execution.portfolio import Portfolio
from mia.train.account import SUPPORTED, PlanAccount
from mia.train.env import EnvSettings, Tape, TradingEnv, cap_lots, wanted_change
from mia.train.ledger import Ledger
from mia.train.settings import perpetual

BRIEF = ("position", "position_age", "last_action")
SETTINGS = EnvSettings(cap_quote=60_000.0, dead_band=0.1, turnover_penalty_bps=0.0, reward_scale=1.0, episode_rows=8)


def tape(rows: int = 40, seed: int = 3) -> Tape:
    rng = np.random.default_rng(seed)
    bid = 600_000 + np.cumsum(rng.integers(-30, 31, rows))
    return Tape(
        name="t",
        instrument=perpetual(),
        columns=("a", "b"),
        features=rng.normal(size=(rows, 2)).astype(np.float32),
        bid_ticks=bid,
        ask_ticks=bid + rng.integers(1, 5, rows),
        ts_ns=1_700_000_000_000_000_000 + np.arange(rows) * 1_000_000_000,
        probs=np.full((rows, 3), 1 / 3, np.float32),
        masks=np.ones((rows, 0), np.float32),
        labels=(np.arange(rows) % 3).astype(np.int8),
        low_ticks=bid - rng.integers(0, 40, rows) * 0.5,
        high_ticks=bid + 5 + rng.integers(0, 40, rows) * 0.5,
        atr_ticks=rng.uniform(5.0, 15.0, rows),
        bars=20 + np.arange(rows),
    )


def play(
    t: Tape, actions: Sequence[float], settings: EnvSettings = SETTINGS, columns: Sequence[str] = SUPPORTED
) -> tuple[TradingEnv, list[np.ndarray], list[float]]:
    env = TradingEnv([t], PlanAccount(columns), settings)
    observations, rewards = [env.reset(options={"tape": 0})[0]], []
    for action in actions:
        obs, reward, _, _, _ = env.step(np.array([action], np.float32))
        observations.append(obs)
        rewards.append(reward)
    return env, observations, rewards


def decimal_equity(t: Tape, fills: list[tuple[int, int, int]], row: int) -> Decimal:
    """Equity after these fills (row, lots, price) valued at the row's mid, by hand in Decimal."""
    i = t.instrument
    unit = i.tick_size * i.lot_size
    cash, position = Decimal(0), 0
    for _, lots, price in fills:
        notional = lots * price * unit
        fee = (abs(notional) * i.taker_fee * 10**8).to_integral_value(ROUND_CEILING) / 10**8
        cash -= notional + fee
        position += lots
    mid = Decimal(int(t.bid_ticks[row] + t.ask_ticks[row])) / 2
    return cash + position * mid * unit


def test_rewards_add_up_to_the_exact_profit_of_the_portfolio() -> None:
    t = tape()
    actions = [0.5, 0.5, -1.0, -1.0, 0.0, 0.3, 1.0, -0.2]

    env, _, rewards = play(t, actions)

    fills, position, cap = [], 0, cap_lots(t, 0, SETTINGS.cap_quote)
    for k, action in enumerate(np.array(actions, np.float32)):
        change = int(float(action) * cap) - position
        if abs(change) >= SETTINGS.dead_band * cap:
            fills.append((k + 1, change, int(t.ask_ticks[k + 1] if change > 0 else t.bid_ticks[k + 1])))
            position += change
    expected = decimal_equity(t, fills, len(actions))
    assert len(fills) >= 5
    assert Decimal(env.ledger.equity_x2_e8(int(t.bid_ticks[8]), int(t.ask_ticks[8]))) / 2 / 10**8 == expected
    assert sum(rewards) == pytest.approx(float(expected) / SETTINGS.cap_quote * 1e4, rel=1e-9)


def test_a_position_that_is_never_changed_pays_no_cost() -> None:
    t = tape()

    env, _, rewards = play(t, [0.0] * 6)

    assert rewards == [0.0] * 6
    assert env.ledger.fees_e8 == 0


def test_a_fill_happens_at_the_next_rows_touch_not_at_this_ones() -> None:
    t = tape()

    env, _, _ = play(t, [1.0])

    assert env.ledger.entry_ticks == int(t.ask_ticks[1])


def test_an_observation_does_not_change_when_the_future_does() -> None:
    whole, other = tape(), tape(seed=9)
    cut = 10

    def spliced(name: str) -> np.ndarray:
        return np.concatenate([getattr(whole, name)[: cut + 1], getattr(other, name)[cut + 1 :]])

    names = ("features", "bid_ticks", "ask_ticks", "probs", "low_ticks", "high_ticks", "atr_ticks")
    altered = msgspec.structs.replace(whole, **{name: spliced(name) for name in names})
    actions = [0.9, -0.4, 0.1, 0.8, -0.9, 0.2, 0.4, -0.7, 0.6, 0.0]

    _, seen, rewards = play(whole, actions)
    _, seen_altered, rewards_altered = play(altered, actions)

    for a, b in zip(seen, seen_altered, strict=True):
        assert np.array_equal(a, b)
    assert rewards == rewards_altered


def test_the_account_is_that_before_the_decision() -> None:
    t = tape()

    _, seen, _ = play(t, [0.5, 0.5, -1.0], columns=BRIEF)

    cap = cap_lots(t, 0, SETTINGS.cap_quote)
    assert [o[-1] for o in seen] == [0.0, 0.5, 0.5, -1.0]  # last_action
    assert seen[0][-3] == seen[0][-2] == 0.0
    assert seen[1][-3] == np.float32(int(0.5 * cap) / cap)  # position
    assert 0.0 == seen[1][-2] < seen[2][-2] < 1.0  # its age


def test_episodes_start_in_the_phase_that_was_asked_for() -> None:
    t = tape(rows=200)
    env = TradingEnv([t], PlanAccount(), SETTINGS, regime=2)

    for seed in range(30):
        env.reset(seed=seed)
        assert t.labels[env.row] == 2


def test_the_same_seed_gives_the_same_episode() -> None:
    t = tape(rows=200)
    first, second = (TradingEnv([t], PlanAccount(), SETTINGS) for _ in range(2))

    assert np.array_equal(first.reset(seed=4)[0], second.reset(seed=4)[0])
    assert first.row == second.row


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(590_000, 610_000)), min_size=1, max_size=30))
def test_the_ledger_keeps_the_average_entry_of_what_is_open(fills: list[tuple[int, int]]) -> None:
    ledger = Ledger(perpetual())
    lots: list[int] = []  # one price per open lot

    for qty, price in fills:
        before = ledger.position_lots
        ledger.fill(qty, price)
        if before * qty < 0 and abs(qty) < abs(before):
            average = sum(lots) / len(lots)
            lots = [average] * (abs(before) - abs(qty))  # type: ignore[list-item]
        elif before * qty < 0:
            lots = [price] * (abs(qty) - abs(before))
        else:
            lots += [price] * abs(qty)
        if lots:
            assert ledger.entry_ticks == pytest.approx(sum(lots) / len(lots), rel=1e-9)
        else:
            assert ledger.entry_ticks == 0.0
    assert ledger.position_lots == sum(q for q, _ in fills)


@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(590_000, 610_000)), min_size=1, max_size=30))
def test_the_ledger_closes_the_round_trips_of_the_portfolio_with_the_same_profit(fills: list[tuple[int, int]]) -> None:
    ledger, terms = Ledger(perpetual()), Terms.of(0, perpetual())
    account = Portfolio("t", "USDT", 0)
    closed, theirs, mine = 0, [], []

    for k, (qty, price) in enumerate(fills):
        fees = ledger.fees_e8
        ledger.fill(qty, price)
        if ledger.closed > closed:
            closed = ledger.closed
            mine.append(ledger.profit_e8)
        side = 1 if qty > 0 else -1
        fill = OrderFilled(k, 0, k, "o", str(k), 0, side, price, abs(qty), ledger.fees_e8 - fees, False)
        theirs += [r.profit_e8 for r in account.apply_fill(terms, fill, k) if r.is_closed]

    assert len(mine) == len(theirs)
    # What a reduction leaves of the entry is rounded in both, each time by less than one lot's 1e-8.
    assert all(abs(a - b) <= 1 + 50 for a, b in zip(mine, theirs, strict=True))


def test_what_is_known_of_closed_trades_is_of_before_the_decision() -> None:
    t = tape()
    account = PlanAccount(("position", "since_last_trade", "last_3_trades_success_rate"))
    env = TradingEnv([t], account, SETTINGS)

    rows = [env.reset(options={"tape": 0})[0]]
    for action in (0.8, 0.0, 0.0, 0.0):
        rows.append(env.step(np.array([action], np.float32))[0])

    assert [row[3] for row in rows[:2]] == [1.0, 1.0]
    assert [row[4] for row in rows[:2]] == [0.5, 0.5]
    assert rows[2][2] == 0.0  # row 2: the exit was filled there
    assert rows[2][3] == 0.0
    assert rows[2][4] == pytest.approx(1 / 3)  # one loss, by the fees at least; two that are not there
    assert rows[4][3] == pytest.approx(np.log(3) / np.log(86_401), rel=1e-5)


@pytest.mark.parametrize(
    ("action", "position", "change"),
    [
        (1.0, 0, 100),
        (0.999, 0, 99),
        (-0.999, 0, -99),
        (0.05, 0, 0),
        (0.0, 5, -5),
        (0.009, -5, 5),
        (0.01, 5, 0),
        (0.0, 0, 0),
        (-1.0, 100, -200),
        (0.35, 30, 0),
    ],
)
def test_targets_become_lots_without_more_risk_than_asked_for(action: float, position: int, change: int) -> None:
    assert wanted_change(action, position, 100, 0.1) == change
