"""Every rule trades a short simulated market as a lane of one engine: cold it does nothing, and a restart changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import islice
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.domain.effects import RecordDecision
from mia.policy.rules import RULES
from tests.unit.engine.test_determinism import MemoryJournal, begin, digest, feed

ROOT = Path(__file__).resolve().parents[3]
FRAMES = 9_000
MIDNIGHT_NS = 20_255 * 86_400 * 10**9
START_NS = MIDNIGHT_NS - 15 * 10**9  # so that a session opens while it is watched
PARAMS: Mapping[str, dict[str, Any]] = {
    "flat": {},
    "buy_and_hold": {"size": 0.1},
    "random": {"turnover": 0.05, "size": 0.1},
    "ema_cross": {"fast_period": 2, "slow_period": 5, "size": 0.1},
    "sma_cross": {"fast_period": 2, "slow_period": 5, "size": 0.1},
    "macd": {"fast_period": 2, "slow_period": 5, "signal_period": 3, "size": 0.1},
    "donchian": {"entry_period": 6, "exit_period": 3, "size": 0.1},
    "ts_momentum": {"lookback": 5, "volatility_period": 5, "target_volatility": 0.02, "size": 0.1, "rebalance_band": 0.01},
    "vol_target": {"volatility_period": 5, "target_volatility": 0.02, "size": 0.1, "rebalance_band": 0.01},
    "opening_range": {"range_minutes": 1, "exit_minutes": 0, "size": 0.1},
    "bollinger_atr": {"period": 6, "band_stds": 1.0, "atr_period": 5, "size": 0.1},
    "rsi_reversion": {"period": 4, "size": 0.1},
    "vwap_reversion": {"entry_stds": 0.5, "start_minutes": 0, "size": 0.1},
}


def new_core(journal: MemoryJournal) -> Any:
    """One lane for each rule."""
    from mia.assemble import build_engine
    from mia.engine.settings import LaneSettings
    from mia.settings import load_settings
    from mia.sim.venue import SimVenue
    from miad.core import Core

    shipped = load_settings(ROOT / "config" / "miad.toml", environ={"HOME": "/nonexistent"}).settings
    lanes = tuple(LaneSettings(instrument="sim:SIMUSD", strategy=f"rule:{name}", params=PARAMS[name]) for name in RULES)
    wanted = msgspec.structs.replace(shipped, lanes=lanes)
    engine = build_engine(wanted, "sim")
    venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, wanted.paper)
    return Core(engine, journal, venue, 0)  # type: ignore[arg-type]


@cache
def frames() -> list[tuple[int, bytes]]:
    from mia.assemble import instruments_of
    from mia.settings import load_settings
    from mia.sim.market import SimFeed, SimMarket

    shipped = load_settings(ROOT / "config" / "miad.toml", environ={"HOME": "/nonexistent"}).settings
    return list(islice(SimFeed(SimMarket(shipped.sim, instruments_of(shipped, "sim")[0]), START_NS).frames(), FRAMES))


@cache
def session() -> tuple[Any, MemoryJournal, dict[str, list[RecordDecision]]]:
    """The whole session, with the decisions by rule."""
    journal = MemoryJournal()
    core = new_core(journal)
    begin(core)
    feed(core, frames())
    decisions: dict[str, list[RecordDecision]] = {name: [] for name in RULES}
    for packed in journal.effects.values():
        for effect in msgspec.msgpack.decode(packed):
            if effect[0] == "decision":
                decision = msgspec.convert(effect, RecordDecision)
                decisions[list(RULES)[decision.lane]].append(decision)
    return core, journal, decisions


def test_the_market_used_here_passes_a_midnight_and_the_minute_after_it() -> None:
    assert frames()[-1][0] > MIDNIGHT_NS + 70 * 10**9


@pytest.mark.parametrize("name", RULES)
def test_a_rule_decides_from_its_first_warm_bar_on(name: str) -> None:
    core, _, by_rule = session()
    decisions = by_rule[name]

    said = [d.signal for d in decisions if not isnan(d.signal)]
    cold = decisions[: len(decisions) - len(said)]
    assert len(said) > 20
    assert all(isnan(d.signal) and d.decision == "refused" and not d.order_ids for d in cold)  # first cold, then warm, never back
    assert {d.code for d in cold} <= {"warm_up", "feature_missing"}
    assert core.engine.lanes[list(RULES).index(name)].state.last_action == said[-1]
    assert len(set(said)) > 1 or name in ("flat", "buy_and_hold")


def test_what_the_rules_want_together_is_traded() -> None:
    core, _, decisions = session()

    assert core.engine.state.counters.fills > 20
    assert sum(any(d.order_ids for d in said) for said in decisions.values()) >= 5


def test_a_restart_in_the_middle_changes_no_byte() -> None:
    first, second = MemoryJournal(), MemoryJournal()
    before, cut = new_core(first), FRAMES * 2 // 3 + 7
    begin(before)
    feed(before, frames()[:cut])
    arrays, state = before.engine.snapshot()
    after = new_core(second)
    after.engine.restore(arrays, state)
    after.venue.restore(before.venue.snapshot())
    after.seq = before.seq

    feed(after, frames()[cut:])

    first.events += second.events
    first.effects |= second.effects
    assert digest(first) == digest(session()[1])


def test_the_longest_periods_fit_into_the_engine() -> None:
    from mia.assemble import build_engine
    from mia.engine.settings import LaneSettings
    from mia.settings import load_settings

    shipped = load_settings(ROOT / "config" / "miad.toml", environ={"HOME": "/nonexistent"}).settings
    lanes = tuple(
        LaneSettings(
            instrument="sim:SIMUSD",
            strategy=f"rule:{name}",
            params={p.name: p.hi for p in spec.params if p.unit == "bars" and p.name != "fast_period"},
        )
        for name, spec in RULES.items()
    )

    engine = build_engine(msgspec.structs.replace(shipped, lanes=lanes), "sim")

    assert engine.lanes[list(RULES).index("donchian")].strategy.columns[1] == "prior_highest(10000)"
