"""What somebody outside says, traded under all our rules: signals of a file, or of a program of yours beside the daemon."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_signals import Signals
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import Param

SPEC: Final = RuleSpec(
    name="signals",
    summary="Wants what the last signal from outside says while it holds; then nothing, or what it wanted before.",
    formula="the signal",
    source="events `Predicted` of the name `signal`, known at a stated time, good until another",
    params=(Param("flat_when_stale", "bool", True, 0, 1, "", "flat while no signal holds; else nothing is decided, what is held stays"),),
    columns=lambda p: ("signal_else_flat" if p["flat_when_stale"] else "signal",),
    kernel=lambda p: Signals(),
)
