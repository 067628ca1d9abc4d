"""Hold a constant share: the benchmark of everything that claims to time the market."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_constant import Constant
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import Param

SPEC: Final = RuleSpec(
    name="buy_and_hold",
    summary="Holds `size` of the lane's cap from the first decision on.",
    formula="size",
    source="the passive benchmark",
    params=(Param("size", "float", 1.0, -1.0, 1.0, "share of the cap", "the position; below 0 is short"),),
    columns=lambda p: (),
    kernel=lambda p: Constant(p["size"]),
)
