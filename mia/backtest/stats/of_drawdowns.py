"""Statistics of what was lost from a peak, and for how long."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from mia.backtest.stats.inputs import F64
from mia.backtest.stats.of_returns import growth
from mia.backtest.stats.registry import Statistic
from mia.backtest.stats.sheet import Sheet
from mia.kernels import bootstrap as kernel

_GROUP: Final = "drawdown"
NONE: Final = "no drawdown"


def _time(s: Sheet, which: int) -> float | str:
    return int(s.track.ts_ns[s.longest_fall()[which]]) if s.drawdown.max() > 0.0 else NONE


def _length(s: Sheet) -> float | str:
    if not s.drawdown.max() > 0.0:
        return NONE
    peak, _, end = s.longest_fall()
    return int(s.track.ts_ns[end] - s.track.ts_ns[peak])


def _wait(s: Sheet) -> float | str:
    return s.longest_wait() if s.drawdown.max() > 0.0 else NONE


def _recovered(s: Sheet) -> float | str:
    if not s.drawdown.max() > 0.0:
        return NONE
    peak, _, end = s.longest_fall()
    return int(s.track.ts_ns[end]) if s.equity[end] >= s.equity[peak] else "not yet recovered"


def _calmar(s: Sheet) -> float | str:
    deepest = float(s.drawdown_close.max())
    if deepest <= 0.0:
        return NONE
    yearly = growth(float(s.equity[0]), float(s.equity[-1]), s.years)
    return yearly if isinstance(yearly, str) else yearly / deepest


def _calmar_draws(s: Sheet) -> F64:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.expm1(s.draws[:, kernel.GROWTH] / s.years) / s.draws[:, kernel.DRAWDOWN]


STATISTICS: Final[tuple[Statistic, ...]] = (
    Statistic(
        name="max_drawdown", title="Max drawdown", group=_GROUP, unit="share",
        formula="max over marks of 1 - E / max(E so far); above 1 when money is owed",
        source="definition, at every mark", counts="mark", minimum=2, compute=lambda s: float(s.drawdown.max()), solvent=False,
        is_headline=True,
    ),
    Statistic(
        name="max_drawdown_close", title="Max drawdown at closes", group=_GROUP, unit="share", formula="the same over the ends of periods",
        source="definition", counts="period", minimum=20, compute=lambda s: float(s.drawdown_close.max()),
        draws=lambda s: s.draws[:, kernel.DRAWDOWN],
        is_headline=True,
    ),
    Statistic(
        name="drawdown_peak", title="Max drawdown: from", group=_GROUP, unit="time", formula="time of the last mark at the peak before it",
        source="definition",
        counts="mark", minimum=2, compute=lambda s: _time(s, 0), solvent=False,
    ),
    Statistic(
        name="drawdown_trough", title="Max drawdown: lowest", group=_GROUP, unit="time", formula="time of its lowest mark",
        source="definition",
        counts="mark", minimum=2, compute=lambda s: _time(s, 1), solvent=False,
    ),
    Statistic(
        name="drawdown_end", title="Max drawdown: recovered", group=_GROUP, unit="time", formula="first mark after it at or above the peak",
        source="definition", counts="mark", minimum=2, compute=_recovered, solvent=False,
    ),
    Statistic(
        name="drawdown_length", title="Max drawdown: length", group=_GROUP, unit="duration",
        formula="from the last mark at its peak to its recovery, or to the last mark",
        source="definition", counts="mark", minimum=2, compute=_length, solvent=False, is_headline=True,
    ),
    Statistic(
        name="longest_drawdown", title="Longest time below a peak", group=_GROUP, unit="duration",
        formula="max time from a peak to the next mark at or above it, or to the last mark", source="definition", counts="mark", minimum=2,
        compute=_wait, solvent=False, is_headline=True,
    ),
    Statistic(
        name="ulcer", title="Ulcer index", group=_GROUP, unit="share", formula="sqrt(mean(d^2)), d: drawdown at the end of each period",
        source="Martin and McCann (1989), The investor's guide to Fidelity funds", counts="period", minimum=20,
        compute=lambda s: math.sqrt(float((s.drawdown_close[1:] ** 2).mean())), draws=lambda s: s.draws[:, kernel.ULCER], is_headline=True,
    ),
    Statistic(
        name="calmar", title="Calmar", group=_GROUP, unit="a year", formula="cagr / max_drawdown_close",
        source="Young (1991), Calmar ratio",
        counts="period", minimum=30, compute=_calmar, draws=_calmar_draws, is_headline=True,
    ),
)  # fmt: skip
