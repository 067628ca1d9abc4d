"""What statistics read: a track, cut at ruin, on the periods of the calendar, and its trades; resamples are made once, when asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from mia.backtest.stats import resample
from mia.backtest.stats.inputs import E8, F64, I64, Track, Trials, Trips, check_track, check_trips
from mia.backtest.stats.periods import UTC_DAYS, YEAR_NS, Periods, Returns, period_returns, returns_at
from mia.backtest.stats.resample import SAMPLES
from mia.backtest.stats.sharpe import moments
from mia.domain.errors import ConfigError

# Columns of trade_rows.
COUNT: Final = 0
WINS: Final = 1
WON: Final = 2
LOST: Final = 3
PROFIT: Final = 4
SQUARE: Final = 5
COST: Final = 6
LOSSES: Final = 7
HELD: Final = 8  # ns


class Sheet:
    """One track with its trades, and what all statistics share; money is in units of the account currency."""

    def __init__(
        self,
        track: Track,
        trips: Trips,
        periods: Periods = UTC_DAYS,
        *,
        benchmark: Track | None = None,
        trials: Trials | None = None,
        risk_free: float = 0.0,
        seed: int = 0,
        samples: int = SAMPLES,
    ) -> None:
        if samples != 0 and samples < 100:
            raise ConfigError(f"samples: {samples} is below 100, too few for an interval; 0 for none")
        if not -1.0 < risk_free < 1.0:
            raise ConfigError(f"risk_free: {risk_free} is not a share a year between -1 and 1")
        if trials is not None and not (trials.count >= 1 and (trials.variance is None or trials.variance >= 0.0)):
            raise ConfigError(f"trials: count {trials.count}, variance {trials.variance}: needs a count of 1 and a variance of 0 at least")
        self.track, self.trips, self.periods = check_track(track), check_trips(trips), periods
        self.benchmark = None if benchmark is None else check_track(benchmark)
        self.trials, self.seed, self.samples, self.risk_free = trials, seed, samples, risk_free
        self.equity: F64 = track.equity_e8 / E8
        self.profit: F64 = trips.profit_e8 / E8
        self.cost: F64 = trips.cost_e8 / E8
        self.target = risk_free / periods.per_year  # a period

    @cached_property
    def ruin_row(self) -> int | None:
        """First row without equity, or None."""
        rows = np.flatnonzero(self.track.equity_e8 <= 0)
        return int(rows[0]) if len(rows) else None

    @property
    def ruined_ns(self) -> int | None:
        """When the account had nothing left, or None."""
        return None if self.ruin_row is None else int(self.track.ts_ns[self.ruin_row])

    @cached_property
    def returns(self) -> Returns:
        """Of the periods up to ruin."""
        return period_returns(self.track, self.periods, self.ruin_row)

    @property
    def r(self) -> F64:
        """float64[n]: simple returns of the periods."""
        return self.returns.r

    @property
    def n(self) -> int:
        """Periods."""
        return len(self.returns.r)

    @cached_property
    def years(self) -> float:
        """From the first mark to the last."""
        return (int(self.track.ts_ns[-1]) - int(self.track.ts_ns[0])) / YEAR_NS

    @cached_property
    def moments(self) -> tuple[float, float, float, float]:
        """Mean, deviation, skew, kurtosis of r."""
        return moments(self.r)

    @property
    def sharpe(self) -> float:
        """Per period; the deviation must not be 0."""
        return (self.moments[0] - self.target) / self.moments[1]

    @cached_property
    def ordered(self) -> F64:
        """r ascending."""
        return np.sort(self.r)

    @cached_property
    def drawdown(self) -> F64:
        """float64[marks]: share lost from the highest equity so far, above 1 where money is owed."""
        peak = np.maximum.accumulate(self.equity)
        lost: F64 = 1.0 - self.equity / peak
        return lost

    @cached_property
    def drawdown_close(self) -> F64:
        """float64[n + 1]: the same at the ends of periods."""
        values = self.equity[self.returns.at]
        lost: F64 = 1.0 - values / np.maximum.accumulate(values)
        return lost

    @cached_property
    def weights(self) -> F64:
        """float64[marks - 1]: share of the time that each mark's exposure was held."""
        dt = np.diff(self.track.ts_ns).astype(np.float64)
        share: F64 = dt / dt.sum()
        return share

    @cached_property
    def block(self) -> float:
        """Mean length of the blocks that returns are resampled in, in periods."""
        return resample.block_of_returns(self.r)

    @cached_property
    def draws(self) -> F64:
        """[samples, kernel.COLUMNS] of resampled returns."""
        return resample.returns_draws(self.r, target=self.target, block=self.block, seed=self.seed, samples=self.samples)

    @property
    def held_ns(self) -> F64:
        """float64[m]: time that each trade was open."""
        held: F64 = (self.trips.closed_ns - self.trips.opened_ns).astype(np.float64)
        return held

    @cached_property
    def trade_rows(self) -> F64:
        """float64[m, 9]: 1, won, profit if won, loss if lost, profit, its square, cost, lost, ns held of each trade."""
        p = self.profit
        columns = [np.ones(len(p)), p > 0.0, np.maximum(p, 0.0), np.maximum(-p, 0.0), p, p * p, self.cost, p < 0.0, self.held_ns]
        return np.stack(columns, axis=1)

    @cached_property
    def trade_sums(self) -> F64:
        """float64[9]: sums of trade_rows."""
        sums: F64 = self.trade_rows.sum(axis=0)
        return sums

    @cached_property
    def trade_block(self) -> float:
        """Mean length of the blocks that trades are resampled in, in trades (of more than 4096, in groups of equal size)."""
        return resample.block_length(resample.grouped(self.trade_rows)[:, PROFIT])

    @cached_property
    def trade_draws(self) -> F64:
        """[samples, 9]: sums of trade_rows of resampled trades."""
        return resample.sums_draws(resample.grouped(self.trade_rows), block=self.trade_block, seed=self.seed, samples=self.samples)

    @cached_property
    def benchmark_r(self) -> F64 | None:
        """float64[n]: returns of the benchmark over the same periods; None without one."""
        return None if self.benchmark is None else returns_at(self.benchmark, self.track.ts_ns[self.returns.at])

    @cached_property
    def pair_draws(self) -> F64:
        """[samples, 6]: sums of y, x, yy, xx, xy, and (y - x)^2 of excess returns y and those of the benchmark x, resampled together."""
        return resample.sums_draws(self.pair_rows, block=self.block, seed=self.seed, samples=self.samples, stream=0)

    @cached_property
    def pair_rows(self) -> F64:
        """float64[n, 6]: what pair_draws sums."""
        assert self.benchmark_r is not None
        y, x = self.r - self.target, self.benchmark_r - self.target
        return np.stack([y, x, y * y, x * x, x * y, (y - x) ** 2], axis=1)

    def longest_fall(self) -> tuple[int, int, int]:
        """Rows of the last mark at its peak, of the trough, and of the recovery (the last mark without one) of the deepest drawdown."""
        trough = int(self.drawdown.argmax())
        before = self.equity[: trough + 1]
        peak = int(np.flatnonzero(before == before.max())[-1])
        after = np.flatnonzero(self.equity[trough:] >= self.equity[peak])
        return peak, trough, trough + int(after[0]) if len(after) else len(self.equity) - 1

    def longest_wait(self) -> int:
        """Longest time in ns from a peak to the next mark at or above it, or to the last mark."""
        ts_ns = self.track.ts_ns
        highs = np.flatnonzero(self.equity >= np.maximum.accumulate(self.equity))
        gaps: I64 = np.diff(np.append(ts_ns[highs], ts_ns[-1]))
        return int(gaps.max())
