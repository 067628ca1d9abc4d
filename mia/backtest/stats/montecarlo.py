"""What chance alone would have done: the trades in another order, entries at random, and bars that might have been."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.stats.inputs import E8, F64, I8, I64, Trips, check_returns
from mia.backtest.stats.resample import SAMPLES, block_of_returns, restart, words
from mia.domain.errors import ConfigError, DataError
from mia.kernels import bootstrap as kernel

_ORDER_STREAM: Final = 2
_ENTRY_STREAM: Final = 4
_NOISE_STREAM: Final = 5
_BARS_STREAM: Final = 6
_SWAPS_MAX: Final = 20_000_000
_SAMPLES_MIN: Final = 200
_PLACED_MAX: Final = 2_000_000  # trades put at random, some 0.2 s
_TRADES_MAX: Final = 10_000


class TradeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The same trades in random orders, their profits added to the equity of the start. Falls from a peak in money.

    share_deeper: share of orders whose deepest fall is at least the one of the real order; share_ruined: of those that reach 0.
    """

    samples: int
    trades: int
    fall: float
    fall_median: float
    fall_95: float
    share_deeper: float
    share_ruined: float
    loss_streak_95: int


def trade_order(trips: Trips, equity: float, *, seed: int = 0, samples: int = SAMPLES) -> TradeOrder | str:
    """The Monte Carlo over trade order, or why there is none. More than 2,000 trades are shuffled less often, never below 200 times."""
    m = len(trips.profit_e8)
    if m < 10:
        return f"{m} trade{'s' if m != 1 else ''}"
    if samples == 0:
        return "no samples asked for"
    count = max(_SAMPLES_MIN, min(samples, _SWAPS_MAX // m))
    profit: F64 = trips.profit_e8 / E8
    curve = np.concatenate([[equity], equity + np.cumsum(profit)])
    fall = float((np.maximum.accumulate(curve) - curve).max())
    falls, lows, streaks = np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
    shuffled = profit.copy()
    for first, block in words(seed, _ORDER_STREAM, count, m):
        span = slice(first, first + len(block))
        kernel.shuffle_drawdowns(block, shuffled, equity, falls[span], lows[span], streaks[span])
    return TradeOrder(
        samples=count,
        trades=m,
        fall=fall,
        fall_median=float(np.quantile(falls, 0.5, method="inverted_cdf")),
        fall_95=float(np.quantile(falls, 0.95, method="inverted_cdf")),
        share_deeper=float((falls >= fall * (1.0 - 1e-12)).mean()),
        share_ruined=float((lows <= 0.0).mean()),
        loss_streak_95=int(np.quantile(streaks, 0.95, method="inverted_cdf")),
    )


class RandomEntries(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's mean log return a trade beside that of the same trades (side, holding time) opened at random.

    p_value: (1 + random results at least as good) / (1 + samples). trades: looked at, of `of_trades` evenly chosen ones. is_overlapping:
    trades overlap, so the random ones may, too.
    """

    observed: float
    mean: float
    deviation: float
    p_value: float
    trades: int
    of_trades: int
    samples: int
    is_overlapping: bool

    @property
    def words(self) -> str:
        """What it means, in a sentence."""
        word = "the entries were better than chance" if self.p_value <= 0.05 else "that the entries were better than chance is not shown"
        some = f"{self.trades:,}" if self.trades == self.of_trades else f"{self.trades:,} of {self.of_trades:,}"
        return (
            f"{word}: p = {self.p_value:.4f}; the same {some} sides and holding times opened at random, {self.samples:,} times, at ends of "
            f"bars before costs: mean log return a trade {self.observed:.4%} as traded, {self.mean:.4%} at random"
        )


def random_entries(price: F64, side: I8, opened: I64, closed: I64, *, seed: int = 0, samples: int = 1_000) -> RandomEntries | str:
    """Whether a rule's entries were better than chance, before costs, or why it cannot be told.

    price [n]: at which a trade at that bar happens (next opens, say), above 0; side [m]: 1 or -1; opened, closed [m]: bars.
    Trades that do not overlap are put in a random order with random pauses; else each is placed by itself. DataError names bad rows.
    More than 2,000 trades are placed less often, never below 200 times; of more than 10,000 so many are looked at, evenly chosen.
    """
    price = check_returns(price, "price")
    if price.min() <= 0.0:
        raise DataError(f"price: row {int(price.argmin())}: {price.min():g} is not above 0")
    bad = np.flatnonzero((opened < 0) | (closed < opened) | (closed >= len(price)) | ((side != 1) & (side != -1)))
    if len(bad):
        raise DataError(f"trades: row {bad[0]}: side {side[bad[0]]}, bars {opened[bad[0]]} to {closed[bad[0]]} of {len(price)}")
    of_trades = len(side)
    if of_trades < 10:
        return f"{of_trades} trade{'s' if of_trades != 1 else ''}"
    if of_trades > _TRADES_MAX:
        some = np.linspace(0, of_trades - 1, _TRADES_MAX).astype(np.int64)
        side, opened, closed = side[some], opened[some], closed[some]
    m = len(side)
    samples = max(min(samples, _SAMPLES_MIN), min(samples, _PLACED_MAX // m))
    held = closed - opened
    order = np.argsort(opened, kind="stable")
    is_overlapping = bool((opened[order][1:] < closed[order][:-1]).any())
    ln = np.log(price)
    observed = float((side * (ln[closed] - ln[opened])).mean())
    random = np.random.Generator(np.random.Philox(key=[seed, _ENTRY_STREAM]))
    found = np.empty(samples)
    free = len(price) - 1 - int(held.sum())
    for i in range(samples):
        if is_overlapping or free < 0:
            starts, lengths, sides = random.integers(0, len(price) - held), held, side
        else:
            shuffled = random.permutation(m)
            lengths, sides = held[shuffled], side[shuffled]
            starts = np.sort(random.integers(0, free + 1, m)) + np.cumsum(lengths) - lengths
        found[i] = (sides * (ln[starts + lengths] - ln[starts])).mean()
    return RandomEntries(
        observed=observed, mean=float(found.mean()), deviation=float(found.std(ddof=1)),
        p_value=(1 + int(np.count_nonzero(found >= observed))) / (1 + samples), trades=m, of_trades=of_trades, samples=samples,
        is_overlapping=is_overlapping,
    )  # fmt: skip


class Bars(NamedTuple):
    """Bars of one instrument as arrays [n]; low <= open, close <= high, prices above 0.

    source: row of the real bar that each is made of.
    """

    ts_ns: I64
    open: F64
    high: F64
    low: F64
    close: F64
    volume: F64
    source: I64


def check_bars(bars: Bars) -> Bars:
    """The bars themselves; DataError names the first row whose prices are not above 0 or do not fit each other."""
    low, high = np.minimum(bars.open, bars.close), np.maximum(bars.open, bars.close)
    bad = np.flatnonzero(~((bars.low > 0.0) & (bars.low <= low) & (high <= bars.high) & np.isfinite(bars.high) & (bars.volume >= 0.0)))
    if len(bad) or not len(bars.close):
        row = bad[0] if len(bad) else 0
        raise DataError(f"bars: row {row}: not low <= open, close <= high above 0" if len(bad) else "bars: no rows")
    return bars


def noisy_bars(bars: Bars, *, share: float = 0.1, deviation: float | None = None, seed: int = 0, number: int = 0) -> Bars:
    """The same bars with every price moved by exp(noise), noise normal with `share` of the median of ln(high / low) as deviation.

    deviation: of the noise itself, in place of a share. High and low are widened to hold open and close. number: which of the copies; a
    rule that lives off single prints dies of it.
    """
    if not 0.0 < share <= 2.0:
        raise ConfigError(f"share: {share} is not above 0 and at most 2")
    bars = check_bars(bars)
    random = np.random.Generator(np.random.Philox(key=[seed, _NOISE_STREAM], counter=[0, 0, 0, number]))
    if deviation is None:
        deviation = share * float(np.median(np.log(bars.high / bars.low)))
    prices = np.stack([bars.open, bars.high, bars.low, bars.close]) * np.exp(deviation * random.standard_normal((4, len(bars.close))))
    opened, _, _, closed = prices
    return bars._replace(open=opened, high=prices.max(axis=0), low=prices.min(axis=0), close=closed)


def resampled_bars(bars: Bars, *, block: float | None = None, seed: int = 0, number: int = 0) -> Bars:
    """A market that might have been: blocks of bars (gap from the last close, shape, volume) in random places, from the first open on.

    block: mean length in bars, by default that of block_of_returns of the closes. Times stay; what depends on the calendar is lost.
    """
    bars = check_bars(bars)
    n = len(bars.close)
    ln = np.log(np.stack([bars.open, bars.high, bars.low, bars.close]))
    gap = np.concatenate([[0.0], ln[0, 1:] - ln[3, :-1]])
    length = block if block is not None else block_of_returns(np.diff(ln[3], prepend=ln[0, 0]))
    index = np.zeros(n, np.int64)
    ((_, block_words),) = words(seed, _BARS_STREAM + number, 1, n)
    kernel.draw(block_words, 0, restart(length), index)
    body = ln[3, index] - ln[0, index]
    steps = gap[index]
    steps[0] = 0.0
    opened = ln[0, 0] + np.cumsum(steps) + np.concatenate([[0.0], np.cumsum(body)[:-1]])
    high, low, closed = (np.exp(opened + ln[k, index] - ln[0, index]) for k in (1, 2, 3))
    first = np.exp(opened)
    return Bars(
        bars.ts_ns,
        first,
        np.maximum(high, np.maximum(first, closed)),
        np.minimum(low, np.minimum(first, closed)),
        closed,
        bars.volume[index],
        index,
    )
