"""The daemon's state: the gravest reason comes first, each change is said once, in words."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from mia.engine.engine import SAFE_MODE
from mia.ports import Link
from miad.links import Links
from miad.states import BROKER_LINK, DISK_FULL, Condition, Health, StateKeeper, judge
from tests.unit.daemon.test_core import started


def state(**changes: Any) -> Any:
    """The state of an engine that trades, with changes; names with a dot belong to the risk state."""
    found = started().engine.state
    for name, value in changes.items():
        setattr(found.risk if hasattr(found.risk, name) else found, name, value)
    return found


@pytest.mark.parametrize(
    ("changes", "word", "codes"),
    [
        ({}, "READY", ()),
        ({"is_recovering": True}, "STARTING", ()),
        ({"paused": "lunch"}, "NO_NEW", ("lunch",)),
        ({"blocks": [BROKER_LINK, DISK_FULL]}, "NO_NEW", (BROKER_LINK, DISK_FULL)),
        ({"is_drawdown_tripped": True}, "NO_NEW", ("drawdown_stop",)),
        ({"is_daily_loss_reached": True}, "NO_NEW", ("daily_loss",)),
        ({"blocks": [SAFE_MODE], "paused": "lunch"}, "SAFE", (SAFE_MODE,)),
        ({"halted": "odd fill", "blocks": [SAFE_MODE]}, "HALTED", ("odd fill",)),
        ({"is_killed": True, "halted": "odd fill"}, "KILLED", ("killed",)),
    ],
)
def test_the_gravest_comes_first(changes: dict[str, Any], word: str, codes: tuple[str, ...]) -> None:
    found = judge(state(**changes), "running", {})

    assert (found.word, found.codes) == (word, codes)
    assert len(found.reasons) == len(codes)


def test_a_part_with_less_degrades_only_what_would_be_ready() -> None:
    degraded = {"mqtt": "broker refused"}

    assert judge(state(), "running", degraded) == Condition("DEGRADED", ("mqtt",), ("mqtt: broker refused",))
    assert judge(state(paused="lunch"), "running", degraded).word == "NO_NEW"
    assert judge(state(), "stopping", degraded).word == "STOPPING"


def test_every_change_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[tuple[str, str]] = []
    now, health = state(), Health()
    keeper = StateKeeper(lambda: now, health, lambda condition, severity: told.append((condition.short, severity)))
    keeper.stage = "running"

    for _ in range(3):
        keeper.look()
    health.degrade("mqtt", "broker refused")
    keeper.look()
    health.degrade("mqtt", "wrong password")  # other words for the same
    assert "wrong password" in keeper.look().line
    health.degrade("mqtt", "")
    keeper.look()
    now.risk.is_killed = True
    keeper.look()

    assert told == [("READY", "info"), ("DEGRADED(mqtt)", "warning"), ("READY", "info"), ("KILLED(killed)", "urgent")]
    assert caplog.text.count("state DEGRADED") == 1


class Raised:
    """Alerts that are kept."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def raise_alert(self, severity: str, code: str, text: str, *, title: str = "", dedup_key: str = "") -> None:
        self.codes.append(code)


def test_a_link_in_trouble_degrades_once_and_its_return_clears_it() -> None:
    health, alerts = Health(), Raised()
    links = Links(health, alerts)

    links.set("broker", Link.CONNECTING)  # the first time is no trouble
    assert health.degraded == {}
    links.set("broker", Link.UP)
    links.set("broker", Link.CONNECTING, "reset by peer")
    assert health.degraded == {"broker": "reset by peer"}
    links.set("broker", Link.DEGRADED, "refused")
    links.set("broker", Link.DEGRADED, "refused again")
    links.set("broker", Link.UP)

    assert health.degraded == {}
    assert alerts.codes == ["link_degraded", "link_up"]
    (found,) = links.statuses()
    assert (found.name, found.state) == ("broker", "up")
