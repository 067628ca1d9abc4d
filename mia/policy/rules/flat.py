"""Hold nothing: what every other strategy has to beat first."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_constant import Constant
from mia.policy.rules.base import RuleSpec

SPEC: Final = RuleSpec(
    name="flat",
    summary="Never holds anything.",
    formula="0",
    source="the zero line",
    params=(),
    columns=lambda p: (),
    kernel=lambda p: Constant(0.0),
)
