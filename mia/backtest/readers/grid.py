"""Bars in whole ticks and lots: the grid that a file's numbers lie on, and rows for the plans."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np

from mia.backtest.readers.candles import Candles
from mia.backtest.readers.frames import F64, PRICES
from mia.backtest.readers.times import utc
from mia.domain.errors import DataError
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.features.batch import bars_from_ohlcv

_DECIMALS_MAX: Final = 8
_BLOCK: Final = 1 << 13
_TOLD: Final = (0, 1, 2, 3, 4, 7, 8)  # prices, volume, notional and trades; of BAR_FIELDS
_OFF_GRID: Final = 1e-3  # of a tick: what float64 leaves of a decimal price is far below, a price between two ticks far above


def grid_of(candles: Candles, tick: Decimal | None = None, lot: Decimal | None = None) -> Instrument:
    """What the bars are of, with the given tick and lot, or the coarsest tick that all prices lie on and a lot that fits.

    The lot is the coarsest power of ten that all volumes are multiples of, or 1e-8. DataError when prices lie on no grid of 8 decimals.
    """
    if tick is None:
        tick = _grid(candles.ohlcv[:, :4])
        if tick is None:
            raise DataError(f"{candles.name}: prices lie on no grid of up to {_DECIMALS_MAX} decimals: name it with --tick")
    if lot is None:
        fits = next((k for k in range(_DECIMALS_MAX) if _is_whole(candles.ohlcv[:, 4] * 10.0**k)), _DECIMALS_MAX)
        lot = Decimal(1).scaleb(-fits)
    money = Decimal(1)  # no bar is worth money here; an instrument wants tick x lot x multiplier to be countable in 1e-8
    while tick > 0 and lot > 0 and (unit := tick * lot * money * MONEY_SCALE) != unit.to_integral_value():
        money *= 10
    return Instrument(
        venue="file", symbol=candles.paths[0].name, kind="spot", family="file", quote_currency="quote", tick_size=tick, lot_size=lot,
        maker_fee=Decimal(0), taker_fee=Decimal(0), multiplier=money,
    )  # fmt: skip


def _is_whole(values: F64) -> bool:
    return bool((np.abs(values - np.rint(values)) <= 1e-6 + 4e-16 * np.abs(values)).all())


def _grid(prices: F64) -> Decimal | None:
    """The coarsest step that all prices are multiples of."""
    for k in range(_DECIMALS_MAX + 1):
        scaled = prices * 10.0**k
        if float(scaled.max()) < 2.0**53 and _is_whole(scaled):
            return Decimal(int(np.gcd.reduce(np.rint(scaled).astype(np.int64), axis=None))).scaleb(-k)
    return None


def bar_rows(candles: Candles, instrument: Instrument, start: int, stop: int) -> F64:
    """Rows start .. stop - 1 as float64[m, 11] for compute_bars, in whole ticks and lots as live bars are.

    DataError for a price between two ticks. A volume above 0 is at least one lot. Column by column in memory.
    """
    rows = np.zeros((11, stop - start)).T  # what no candle tells, the flow of buyers and sellers, is never touched: it takes no memory
    for first in range(start, stop, _BLOCK):  # blocks that fit a core's cache: less memory, half the time
        last = min(first + _BLOCK, stop)
        block = _block(candles, instrument, first, last)
        for k in _TOLD:
            rows[first - start : last - start, k] = block[:, k]
    return rows


def _block(candles: Candles, instrument: Instrument, start: int, stop: int) -> F64:
    ohlcv = candles.ohlcv[start:stop]
    scaled = ohlcv[:, :4] / float(instrument.tick_size)
    ticks = np.rint(scaled)
    off = np.abs(scaled - ticks) > _OFF_GRID + 4e-16 * scaled
    if off.any():
        row, k = np.argwhere(off)[0]
        raise DataError(
            f"{candles.name}: row {candles.rows[start + row]} ({utc(candles.open_ns[start + row])}): {PRICES[k]} {ohlcv[row, k]:.10g} "
            f"is no multiple of the tick {instrument.tick_size}: give the right --tick"
        )
    lots = np.maximum(np.rint(ohlcv[:, 4] / float(instrument.lot_size)), ohlcv[:, 4] > 0.0)
    rows = bars_from_ohlcv(ticks[:, 0], ticks[:, 1], ticks[:, 2], ticks[:, 3], lots)
    if candles.trades is not None:
        rows[:, 8] = candles.trades[start:stop]
    if candles.notional is not None:
        # At the mean price that the file states, of the lots that it was rounded to; within the bar, as a mean is.
        volume = ohlcv[:, 4]
        mean = np.divide(candles.notional[start:stop], volume, out=np.zeros_like(volume), where=volume > 0.0)
        rows[:, 7] = lots * np.clip(mean / float(instrument.tick_size), ticks[:, 2], ticks[:, 1])
    return rows
