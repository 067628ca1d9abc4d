"""An ensemble as a lane of the engine: one member alone is that member, and a restart forgets nothing that a member said."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.assemble import load_strategy
from mia.domain.effects import RecordDecision
from mia.engine.settings import LaneSettings
from mia.features.catalogue import shipped_catalogue
from mia.train.bundle_writer import write_bundle
from tests.unit.engine.test_determinism import MemoryJournal, begin, digest, feed
from tests.unit.engine.test_rules import FRAMES, ROOT, frames
from tests.unit.policy.conftest import manifest_of, random_inputs, random_weights

HYSTERESIS = ("rule:donchian", {"entry_period": 6, "exit_period": 3, "size": 0.6})  # reads what it said last
TREND = ("rule:ema_cross", {"fast_period": 2, "slow_period": 5, "size": 0.5})


def ensemble(folder: Path, members: Sequence[tuple[str, dict[str, Any]]], weights: Sequence[float], trigger: str = "bar") -> str:
    entries = []
    for (strategy, params), weight in zip(members, weights, strict=True):
        lane = LaneSettings(instrument="sim:SIMUSD", strategy=strategy)
        if lane.rule:
            lane = msgspec.structs.replace(lane, params=params, bars="time:1s", trigger=trigger, min_interval_ms=100)
        entries.append({"strategy": strategy, "params": params, "weight": weight, "sha256": load_strategy(lane, "crypto").sha256})
    path = folder / f"{hashlib.sha256(msgspec.json.encode(entries)).hexdigest()[:8]}.json"
    whole = {"format": 1, "name": "e", "method": "equal", "bar": "time:1s", "trigger": trigger, "min_interval_ms": 100, "members": entries}
    path.write_bytes(msgspec.json.encode(whole))
    return f"ensemble:{path}"


def core_of(journal: MemoryJournal, strategy: str, params: dict[str, Any] | None = None) -> Any:
    from mia.assemble import build_engine
    from mia.settings import load_settings
    from mia.sim.venue import SimVenue
    from miad.core import Core

    shipped = load_settings(ROOT / "config" / "miad.toml", environ={"HOME": "/nonexistent"}).settings
    lane = LaneSettings(instrument="sim:SIMUSD", strategy=strategy, params=params or {})
    wanted = msgspec.structs.replace(shipped, lanes=(lane,))
    engine = build_engine(wanted, "sim")
    venue = SimVenue(dict(enumerate(engine.config.instruments)), {m.index: m.book for m in engine.markets}, wanted.paper)
    return Core(engine, journal, venue, 0)  # type: ignore[arg-type]


def said(journal: MemoryJournal) -> list[RecordDecision]:
    found = [effect for packed in journal.effects.values() for effect in msgspec.msgpack.decode(packed) if effect[0] == "decision"]
    return [msgspec.convert(effect, RecordDecision) for effect in found]


def traded(strategy: str, params: dict[str, Any] | None = None, count: int = FRAMES) -> tuple[Any, list[RecordDecision]]:
    journal = MemoryJournal()
    core = core_of(journal, strategy, params)
    begin(core)
    feed(core, frames()[:count])
    return core, said(journal)


def small_model(folder: Path) -> tuple[str, dict[str, Any]]:
    """A bundle of random weights that reads the account, what it said last, and depth with its mask."""
    columns = ["ret_10", "queue_imb_1", "position", "last_action", "last_alpha", "policy_dispersion"]
    manifest = msgspec.structs.replace(
        manifest_of(), catalogue_sha256=shipped_catalogue().hash, features=columns, masks=["has(depth)"], alpha_min=0.0
    )  # fmt: skip
    write_bundle(folder / "model", manifest, random_weights(), b"{}", *random_inputs(64))
    return str(folder / "model"), {}


@pytest.mark.parametrize("kind", ["rule", "model"])
def test_an_ensemble_of_one_member_is_that_member(kind: str, tmp_path: Path) -> None:
    member, trigger, count = (HYSTERESIS, "bar", FRAMES) if kind == "rule" else (small_model(tmp_path), "quote", FRAMES // 3)
    alone, expected = traded(*member, count=count)
    one, decisions = traded(ensemble(tmp_path, [member], [1.0], trigger), count=count)

    assert len({d.signal for d in expected if d.signal == d.signal}) > 2
    assert any(d.order_ids for d in expected)
    assert repr(decisions) == repr(expected)  # every field, inputs too; NaN equals itself in words
    assert one.engine.state.portfolio == alone.engine.state.portfolio


def test_two_members_want_what_each_alone_wants_by_its_weight(tmp_path: Path) -> None:
    _, first = traded(*HYSTERESIS)
    _, second = traded(*TREND)
    _, both = traded(ensemble(tmp_path, [HYSTERESIS, TREND], [0.75, 0.25]))

    a, b = ({d.ts_ns: d.signal for d in each if d.signal == d.signal} for each in (first, second))
    expected = {ts: 0.75 * a[ts] + 0.25 * b[ts] for ts in a.keys() & b.keys()}
    blend = {d.ts_ns: d.signal for d in both if d.signal == d.signal}

    assert len(set(blend.values())) > 3
    assert blend == pytest.approx(expected)


def test_a_restart_in_the_middle_changes_no_byte(tmp_path: Path) -> None:
    strategy = ensemble(tmp_path, [HYSTERESIS, TREND], [0.6, 0.4])
    whole, first, second = MemoryJournal(), MemoryJournal(), MemoryJournal()
    uncut, before, cut = core_of(whole, strategy), core_of(first, strategy), FRAMES * 2 // 3 + 7
    for core in (uncut, before):
        begin(core)
    feed(uncut, frames())
    feed(before, frames()[:cut])
    arrays, state = before.engine.snapshot()
    after = core_of(second, strategy)
    after.engine.restore(arrays, state)
    after.venue.restore(before.venue.snapshot())
    after.seq = before.seq
    remembered = after.engine.lanes[0].state.said

    feed(after, frames()[cut:])

    first.events += second.events
    first.effects |= second.effects
    assert remembered[0].action != 0.0
    assert digest(first) == digest(whole)
