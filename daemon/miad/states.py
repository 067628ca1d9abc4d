"""The daemon's state in one word with its reasons: what it does, and what stands against more.

STARTING READY DEGRADED(trades with less) NO_NEW(exits only, clears by itself) SAFE(after three bad ends: exits only)
HALTED(no orders but protective ones; the operator clears it) KILLED(survives restarts) STOPPING.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from mia.engine.engine import SAFE_MODE
from mia.engine.state import EngineState

BROKER_LINK: Final = "broker_link"
DISK_FULL: Final = "disk_full"
SHUTDOWN: Final = "shutdown"
_WORDS: Final = {
    SAFE_MODE: "three bad ends within ten minutes: reconciles and manages exits only, until `mia resume --reset`",
    BROKER_LINK: "no connection to the venue's order entry: openings wait until it is back and reconciled",
    DISK_FULL: "no room for the journal: free disk space, openings go on by themselves",
    SHUTDOWN: "the daemon is ending",
}
_SEVERITY: Final = {
    "READY": "info", "STARTING": "info", "STOPPING": "info", "DEGRADED": "warning", "NO_NEW": "warning",
    "SAFE": "error", "HALTED": "urgent", "KILLED": "urgent",
}  # fmt: skip
_log = logging.getLogger("miad.state")


class Condition(NamedTuple):
    """A state and why: codes for machines, words for people; both empty when READY."""

    word: str
    codes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """`READY`, or `NO_NEW(disk_full)`."""
        return f"{self.word}({', '.join(self.codes)})" if self.codes else self.word

    @property
    def line(self) -> str:
        """`READY`, or `NO_NEW: no room for the journal: ...`."""
        return f"{self.word}: {'; '.join(self.reasons)}" if self.reasons else self.word


def judge(state: EngineState, stage: str, degraded: dict[str, str], why_killed: str = "") -> Condition:
    """What the engine, the stage of the process (starting | running | stopping) and its parts add up to; the gravest comes first."""
    risk = state.risk
    if stage == "stopping":
        return Condition("STOPPING")
    if risk.is_killed:
        return Condition(
            "KILLED", (why_killed or "killed",), (f"killed ({why_killed or 'by the operator'}): `mia resume --reset` clears it",)
        )
    if state.halted:
        return Condition("HALTED", (state.halted,), (f"{state.halted}: look into it, then `mia resume --reset`",))
    if SAFE_MODE in state.blocks:
        return Condition("SAFE", (SAFE_MODE,), (_WORDS[SAFE_MODE],))
    if stage == "starting" or state.is_recovering:
        return Condition("STARTING", *_pairs(degraded))
    against = _against(state)
    if against:
        return Condition("NO_NEW", tuple(against), tuple(against.values()))
    if degraded:
        return Condition("DEGRADED", *_pairs(degraded))
    return Condition("READY")


def _pairs(degraded: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(degraded), tuple(f"{part}: {text}" for part, text in degraded.items())


def _against(state: EngineState) -> dict[str, str]:
    """What keeps openings back, code -> words."""
    found = {reason: _WORDS.get(reason, reason) for reason in state.blocks}
    if state.paused:
        verb = "flattened" if state.is_flattening else "paused"
        found[state.paused] = f"{verb} ({state.paused}): `mia resume` goes on"
    if state.risk.is_drawdown_tripped:
        found["drawdown_stop"] = f"equity fell {state.risk.drawdown:.1%} from its peak: `mia resume --reset` goes on"
    if state.risk.is_daily_loss_reached:
        found["daily_loss"] = "the loss limit of the day is reached: openings go on after midnight UTC"
    return found


class Health:
    """Parts that run with less, in words: links, tasks, telemetry. Anybody may add; a change is seen by `version`."""

    def __init__(self) -> None:
        self.degraded: Final[dict[str, str]] = {}
        self.version = 0

    def degrade(self, part: str, text: str) -> None:
        """A part does not do all that it should; "" takes it back."""
        if text == self.degraded.get(part, ""):
            return
        self.version += 1
        if text:
            self.degraded[part] = text
        else:
            del self.degraded[part]


class StateKeeper:
    """Looks at what changed, and says each change of the daemon's state once: log, alert, listeners."""

    def __init__(self, state: Callable[[], EngineState], health: Health, tell: Callable[[Condition, str], None]) -> None:
        """tell(condition, severity): alert, MQTT, systemd; called after the log line."""
        self._state: Final = state
        self._health: Final = health
        self._tell: Final = tell
        self._seen: object = None
        self.stage = "starting"
        self.why_killed = ""
        self.now = Condition("STARTING")

    def look(self) -> Condition:
        """Cheap when nothing changed; called by the decision loop some 20 times a second."""
        s, risk = self._state(), self._state().risk
        key = (
            self.stage, self._health.version, s.is_recovering, s.paused, s.is_flattening, s.halted, risk.is_killed,
            risk.is_drawdown_tripped, risk.is_daily_loss_reached, *s.blocks,
        )  # fmt: skip
        if key != self._seen:
            self._seen = key
            found = judge(s, self.stage, self._health.degraded, self.why_killed)
            if (found.word, found.codes) != (self.now.word, self.now.codes):
                before, self.now = self.now.word, found
                severity = _SEVERITY[found.word]
                _log.log(logging.WARNING if severity != "info" else logging.INFO, "state %s (was %s)", found.line, before)
                self._tell(found, severity)
            self.now = found
        return self.now
