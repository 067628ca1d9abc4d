"""Reversion to the session's volume-weighted average price."""

from __future__ import annotations

from typing import Final

from mia.kernels.rule_vwap_reversion import VwapReversion
from mia.policy.rules.base import RuleSpec
from mia.policy.rules.params import LONG_ONLY, Param, below, sides, size

SPEC: Final = RuleSpec(
    name="vwap_reversion",
    summary="Buys far below the session's VWAP and sells far above, until price is near again; flat in a session's first minutes.",
    formula="long from z < -entry_stds until z >= -exit_stds, short mirrored; z = (c - VWAP) / s, as the feature vwap_band_z",
    source="VWAP: Berkowitz, Logue, Noser (1988), J. Finance 43(1); bands of the volume-weighted standard deviation",
    params=(
        Param("entry_stds", "float", 2.0, 0.1, 9.9, "standard deviations", "farther away than this: trade"),
        Param("exit_stds", "float", 0.0, 0.0, 9.0, "standard deviations", "so near to the VWAP a position ends"),
        Param("start_minutes", "int", 30, 0, 1440, "minutes", "flat so long after the session's open"),
        size(),
        LONG_ONLY,
    ),
    columns=lambda p: ("vwap_band_z", "session_age"),
    kernel=lambda p: VwapReversion(*sides(p), p["entry_stds"], p["exit_stds"], 60.0 * p["start_minutes"]),
    check=lambda p: below(p, "exit_stds", "entry_stds"),
)
