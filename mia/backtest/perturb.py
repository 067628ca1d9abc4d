"""A run again on bars that might have been: prices with noise, or blocks of bars in random places; what it came to, and where the real
run lies among them. Nothing is chosen by them, so that only the run itself is a trial."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import numpy as np

from mia.backtest.grid.cells import Cells
from mia.backtest.run import fused
from mia.backtest.run.figures import track_of
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.sources import BarHistory
from mia.backtest.stats.inputs import F64, no_trips
from mia.backtest.stats.montecarlo import Bars, noisy_bars, resampled_bars
from mia.backtest.stats.periods import UTC_DAYS, YEAR_DAYS
from mia.backtest.stats.registry import Unit
from mia.backtest.stats.resample import block_of_returns
from mia.backtest.stats.sheet import Sheet
from mia.domain.errors import ConfigError
from mia.policy.rules.registry import rule_values

Method = Literal["noise", "blocks"]
_NOISE_MIN: Final = 0.01  # of the median range; with less a run on other prices is the run on these
DAYS_MIN: Final = 30  # of a Sharpe ratio
_KNOWN_MIN: Final = 0.9  # share of the draws that must have a figure
_SURE: Final = 0.05


class Figures(NamedTuple):
    """What one run came to; NaN: it has no such figure. sharpe: of UTC days, a year."""

    net_return: float
    sharpe: float
    max_drawdown: float
    trades: float
    fees: float


_SHOWN: Final[dict[str, tuple[str, Unit]]] = {
    "net_return": ("Return", "share"),
    "sharpe": ("Sharpe", "a year"),
    "max_drawdown": ("Max drawdown", "share"),
    "trades": ("Trades", "count"),
    "fees": ("Fees", "money"),
}


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure over the draws. real: of the run; low, median, high: 5, 50 and 95 %; at_least: share of draws at or above the run's.

    None, with why: too few draws have it, or the run has not.
    """

    name: str
    title: str
    unit: Unit
    real: float | None
    low: float | None
    median: float | None
    high: float | None
    at_least: float | None
    why: str = ""


class Perturbed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of all draws. sizes: of each instrument, of noise the deviation of ln(price), of blocks their mean length in bars.

    of_range: the first one's noise as a share of its bars' median range, 0 where that is unknown.
    p_value: (1 + draws whose return is at least the run's) / (1 + draws).
    """

    method: Method
    sizes: list[float]
    draws: int
    seed: int
    figures: list[Spread]
    p_value: float
    of_range: float = 0.0

    @property
    def words(self) -> str:
        """What it means, in a sentence."""
        share = f"{1.0 - (self.figures[0].at_least or 0.0):.1%} of the draws made less than the run"
        if self.method == "noise":
            if 0.0 < self.of_range < _NOISE_MIN:
                return f"nothing: the noise is {self.of_range:.2g} of the bars' median range, too little to change anything ({share})"
            is_lucky = self.p_value <= _SURE
            told = "the run LIVES OFF EXACT PRICES: noise takes what it made" if is_lucky else "the run does not hang on exact prices"
            return f"{told} ({share})"
        told = "it found an order in time that blocks do not have" if self.p_value <= _SURE else "markets without it do about as well"
        return f"{told}: p = {self.p_value:.4f} ({share})"


def perturb(
    prepared: Prepared,
    *,
    method: Method,
    draws: int,
    share: float = 0.1,
    ticks: float | None = None,
    block: float | None = None,
    seed: int = 0,
    tick: Callable[[int], None] = lambda _: None,
) -> Perturbed:
    """The run on `draws` sets of perturbed bars. share: of the median range, as noise; ticks: the noise's deviation in ticks instead.

    block: mean length of blocks in bars, by default that of the closes' returns. tick: called after each draw.

    ConfigError for a run that is not of bars, and for blocks of several instruments that have other bars.
    """
    if prepared.events is not None or not prepared.bars:
        raise ConfigError("perturb: needs bars: name candles with --data FILE")
    sizes = _sizes(prepared.bars, method, share, ticks, block)
    real = figures_of(prepared)
    found = np.zeros((draws, len(Figures._fields)))
    for k in range(draws):
        found[k] = figures_of(perturbed(prepared, method, sizes, seed, k))
        tick(k + 1)
    at_least = int(np.count_nonzero(found[:, 0] >= real.net_return))
    return Perturbed(
        method=method, sizes=sizes, draws=draws, seed=seed, p_value=(1 + at_least) / (1 + draws),
        of_range=_of_range(prepared.bars[0].rows, sizes[0]) if method == "noise" else 0.0,
        figures=[_spread(name, value, found[:, k]) for k, (name, value) in enumerate(real._asdict().items())],
    )  # fmt: skip


def _sizes(histories: Sequence[BarHistory], method: Method, share: float, ticks: float | None, block: float | None) -> list[float]:
    """Of each instrument; blocks are the same for all."""
    if method == "noise":
        if not 0.0 < share <= 2.0:
            raise ConfigError(f"--noise {share:g}: give a share of the bars' range above 0 and at most 2")
        if ticks is not None and not ticks > 0.0:
            raise ConfigError(f"--noise-ticks {ticks:g}: give a number above 0")
        return [_deviation(history.rows, share, ticks) for history in histories]
    rows = histories[0].rows
    if any(not np.array_equal(h.close_ns, histories[0].close_ns) for h in histories):
        raise ConfigError("--by blocks: the instruments have bars at other times: no block of one goes with a block of the other")
    if block is not None and not 1.0 <= block <= len(rows):
        raise ConfigError(f"--block {block:g}: give 1 to {len(rows)} bars")
    return [block if block is not None else block_of_returns(np.diff(np.log(rows[:, 3])))] * len(histories)


def _range(rows: F64) -> float:
    """The median one, in ln(price)."""
    return float(np.median(np.log(rows[:, 1] / rows[:, 2])))


def _of_range(rows: F64, deviation: float) -> float:
    middle = _range(rows)
    return deviation / middle if middle > 0.0 else 0.0


def _deviation(rows: F64, share: float, ticks: float | None) -> float:
    """Of the noise in ln(price)."""
    found = share * _range(rows) if ticks is None else ticks / float(np.median(rows[:, 3]))
    if not found > 0.0:
        raise ConfigError("--noise: half of the bars have no range: give --noise-ticks N")
    return found


def perturbed(prepared: Prepared, method: Method, sizes: Sequence[float], seed: int, number: int) -> Prepared:
    """The run on other bars, each instrument's by its size; blocks of several instruments are drawn together."""
    bars = []
    for i, history in enumerate(prepared.bars):
        opened, high, low, closed, volume = history.rows[:, :5].T
        real = Bars(history.close_ns, opened, high, low, closed, volume, np.arange(len(history.rows)))
        if method == "noise":
            made = noisy_bars(real, deviation=sizes[i], seed=seed, number=number * len(prepared.bars) + i)
        else:
            made = resampled_bars(real, block=sizes[i], seed=seed, number=number)
        bars.append(history._replace(rows=_rows(made, history.rows)))
    return msgspec.structs.replace(prepared, bars=tuple(bars))


def _rows(made: Bars, real: F64) -> F64:
    """In whole ticks, with the volumes and counts of the bars that each is made of, at its own prices."""
    rows = real[made.source]
    before = rows[:, :4].mean(axis=1)
    rows[:, :4] = np.maximum(np.rint(np.stack([made.open, made.high, made.low, made.close], axis=1)), 1.0)
    notional = rows[:, 7] * (rows[:, :4].mean(axis=1) / before)
    rows[:, 7] = np.clip(notional, rows[:, 2] * rows[:, 4], rows[:, 1] * rows[:, 4])
    return rows


def figures_of(prepared: Prepared) -> Figures:
    """Of one run: a rule on one instrument as a grid evaluates it, all else by the engine; the figures are the same."""
    lane = prepared.spec.lanes[0]
    if len(prepared.bars) == 1 and lane.rule and lane.rule != fused.SIGNALS and not fused.why_not(prepared.spec):
        (row,) = Cells(prepared).evaluate([rule_values(lane.rule, lane.params)])
        ratio = row.sharpe * math.sqrt(YEAR_DAYS) if row.periods >= DAYS_MIN else math.nan
        return Figures(float(row.net_return), ratio, row.max_drawdown, row.trades, row.fees)
    result = execute(prepared)
    equity = result.gathered.marks.equity_e8.astype(np.float64)
    sheet = Sheet(track_of(result.gathered.marks, prepared.spec.from_ns), no_trips(), UTC_DAYS)
    has_ratio = sheet.ruined_ns is None and sheet.n >= DAYS_MIN and sheet.moments[1] > 0.0
    return Figures(
        float(equity[-1] / equity[0]) - 1.0, sheet.sharpe * math.sqrt(YEAR_DAYS) if has_ratio else math.nan,
        float((1.0 - equity / np.maximum.accumulate(equity)).max()), float(result.gathered.counters["trades"]), result.parts.fees_e8 / 1e8,
    )  # fmt: skip


def _spread(name: str, real: float, drawn: F64) -> Spread:
    title, unit = _SHOWN[name]
    known = np.sort(drawn[~np.isnan(drawn)])
    values: dict[str, Any] = {"real": None if math.isnan(real) else real, "low": None, "median": None, "high": None, "at_least": None}
    if len(known) < _KNOWN_MIN * len(drawn):
        return Spread(name=name, title=title, unit=unit, **values, why=f"{len(known)} of {len(drawn)} draws have it")
    low, median, high = (float(np.quantile(known, q, method="inverted_cdf")) for q in (0.05, 0.5, 0.95))
    values |= {"low": low, "median": median, "high": high}
    if values["real"] is None:
        return Spread(name=name, title=title, unit=unit, **values, why="the run has none")
    return Spread(name=name, title=title, unit=unit, **{**values, "at_least": float((known >= real).mean())})
