"""Where nothing can happen: the prices at which an account that holds a position decides, bar after bar, to hold it.

mia.kernels.bar_account steps over such bars with a few comparisons. Limits found here may be too narrow, never too wide: they are
estimated in floating point, then proved at both ends in the integers of the decision itself, which is monotone in between.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.exact import mul_div
else:
    from mia.kernels.exact import mul_div

_CAP_MAX = cython.declare(cython.longlong, 1 << 40)
_HALF = cython.declare(cython.longlong, 1 << 31)
_TOO_MUCH = cython.declare(cython.longlong, 1 << 62)
_WORD = cython.declare(cython.double, 4.6e18)  # a product below it, in floating point, fits a word
_EDGE = cython.declare(cython.double, 1e-9)  # relative room for rounding; what it gives away is decided in full


@cython.cfunc
@cython.exceptval(check=False)
def cap_lots(
    equity: cython.longlong,
    price: cython.longlong,
    unit: cython.longlong,
    share_num: cython.longlong,
    share_den: cython.longlong,
    position_max: cython.longlong,
) -> cython.longlong:
    """Largest position of an account, in lots: its share of equity at this price, at most position_max; 0 without equity.

    -1 when a number would not fit a word.
    """
    if equity <= 0:
        return 0
    cap: cython.longlong
    if (1.0 * equity) * share_num < _WORD and (1.0 * price) * unit * share_den < _WORD:
        cap = equity * share_num // (price * unit * share_den)
    else:
        cap = mul_div(2 * equity, share_num, share_den, 0)
        if cap >= _TOO_MUCH:
            return -1
        cap = cap // (2 * price * unit)
    return cap if cap < position_max else position_max


@cython.cfunc
@cython.exceptval(check=False)
def whole(x: cython.double) -> cython.longlong:
    """x towards 0, as the decision rounds it."""
    return cython.cast(cython.longlong, x) if cython.compiled else int(x)


@cython.cfunc
@cython.exceptval(check=False)
def _stays(
    cap: cython.longlong, lots: cython.longlong, size: cython.double, band_num: cython.longlong, band_den: cython.longlong
) -> cython.bint:
    """Is the change from lots (above 0) to size x cap within the dead band, and the target not 0?"""
    target: cython.longlong = whole(size * cap)
    change: cython.longlong = target - lots if target > lots else lots - target
    if target <= 0 or change == 0:
        return target > 0
    if change < _HALF and cap < _HALF:
        return change * band_den < band_num * cap
    return change < mul_div(cap, band_num, band_den, band_den - 1)


@cython.final
@cython.cclass
class QuietRange:
    """low, high: prices in ticks, from low to high nothing happens; see `find`."""

    def __init__(self) -> None:
        self.low = 1
        self.high = 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def find(
        self,
        base: cython.longlong,
        lots: cython.longlong,
        price_max: cython.longlong,
        size: cython.double,
        is_refused: cython.bint,
        unit: cython.longlong,
        share_num: cython.longlong,
        share_den: cython.longlong,
        position_max: cython.longlong,
        band_num: cython.longlong,
        band_den: cython.longlong,
        order_max: cython.longlong,
        notional_max: cython.longlong,
        exposure_max: cython.longlong,
    ) -> cython.bint:
        """Prices up to price_max at which `lots` (signed, not 0) are held under a signal of their sign and of this size; were any found?

        base: equity at a price of 0, so that equity is base + price x lots x unit. is_refused: nothing may be opened, so that a larger
        target is refused, whatever its size. Without that a larger one must stay within the dead band and below every limit.
        """
        if not 1e-6 <= size <= 1.0:
            return False
        held: cython.longlong = lots if lots > 0 else -lots
        band: cython.double = 1.0 * band_num / band_den
        low: cython.longlong = whole(held / (size + band)) + 1
        if low >= _CAP_MAX or (held + 1) / size >= _CAP_MAX:
            return False
        if not _stays(low, held, size, band_num, band_den):
            low += 1
        if low < 1 or low > position_max or not (_stays(low, held, size, band_num, band_den) or whole(size * low) > held):
            return False
        if is_refused:
            return self._prices(base, lots, price_max, low, position_max, unit, share_num, share_den, position_max)
        equal: cython.longlong = whole((held + 1) / size)  # caps up to here ask for no more than what is held
        if whole(size * equal) > held:
            equal -= 1
        if whole(size * equal) > held or equal < low:
            return False
        high: cython.longlong = self._beyond(equal, held, size, band, position_max)
        share: cython.double = share_num / (1.0 * share_den)
        if (
            high > equal
            and _stays(high, held, size, band_num, band_den)
            and self._prices(base, lots, price_max, low, high, unit, share_num, share_den, position_max)
            and self._within_limits(base, lots, high, size, unit, share, order_max, notional_max, exposure_max)
        ):
            return True
        return self._prices(base, lots, price_max, low, equal, unit, share_num, share_den, position_max)

    @cython.cfunc
    @cython.exceptval(check=False)
    def too_dear(
        self,
        equity: cython.longlong,
        size: cython.double,
        price_max: cython.longlong,
        unit: cython.longlong,
        share_num: cython.longlong,
        share_den: cython.longlong,
        position_max: cython.longlong,
    ) -> cython.longlong:
        """A price from which on, up to price_max, a flat account cannot afford one lot at this size (above 0) of its cap; 0 if none."""
        if equity <= 0:
            return 1
        lots: cython.double = 1.0 / size if size > 1e-6 else 1e6  # no smaller cap gives a lot
        price: cython.double = equity / (lots * unit) * share_num / share_den * (1.0 + _EDGE) + 1.0
        if not price < price_max:
            return 0
        cap: cython.longlong = cap_lots(equity, whole(price), unit, share_num, share_den, position_max)
        if cap < 0 or whole(size * cap) != 0:
            return 0
        return whole(price)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _beyond(
        self, equal: cython.longlong, held: cython.longlong, size: cython.double, band: cython.double, position_max: cython.longlong
    ) -> cython.longlong:
        """The largest cap at which size x cap - held is safely below band x cap, and from `equal` up to which it is everywhere."""
        first: cython.double = equal + 1.0
        if not size * first - held < band * first - _EDGE * first - _EDGE:
            return equal
        slope: cython.double = size - band + _EDGE
        most: cython.longlong = position_max if position_max < _CAP_MAX else _CAP_MAX
        if slope <= 0.0 or (held - _EDGE) / slope > most:
            return most
        return whole((held - _EDGE) / slope)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _within_limits(
        self,
        base: cython.longlong,
        lots: cython.longlong,
        high: cython.longlong,
        size: cython.double,
        unit: cython.longlong,
        share: cython.double,
        order_max: cython.longlong,
        notional_max: cython.longlong,
        exposure_max: cython.longlong,
    ) -> cython.bint:
        """Does no target at any of these prices meet a limit of one order or of exposure?"""
        top: cython.double = (1.0 + _EDGE) * unit * self.high
        growth: cython.double = size * high - (lots if lots > 0 else -lots) + 1.0
        most: cython.double = base + 1.0 * lots * unit * self.low
        other: cython.double = base + 1.0 * lots * unit * self.high
        if other > most:
            most = other
        exposure: cython.double = most * share * size * (1.0 + _EDGE)
        return growth <= order_max and growth * top <= notional_max and exposure <= exposure_max * (1.0 - _EDGE)

    @cython.cfunc
    @cython.exceptval(check=False)
    def _prices(
        self,
        base: cython.longlong,
        lots: cython.longlong,
        price_max: cython.longlong,
        cap_low: cython.longlong,
        cap_high: cython.longlong,
        unit: cython.longlong,
        share_num: cython.longlong,
        share_den: cython.longlong,
        position_max: cython.longlong,
    ) -> cython.bint:
        """Prices at which the cap lies in cap_low .. cap_high: it falls with price where base is above 0, and rises below."""
        per: cython.double = (1.0 * share_den) / share_num
        a: cython.double = (cap_low * per - lots) * unit
        b: cython.double = ((cap_high + 1.0) * per - lots) * unit
        is_open: cython.bint = cap_high >= position_max  # no cap is above it
        low: cython.double = 1.0
        high: cython.double = price_max
        if base > 0:
            if a > 0.0 and base / a * (1.0 - _EDGE) < high:
                high = base / a * (1.0 - _EDGE)
            if not is_open:
                if not b > 0.0:
                    return False
                low = base / b * (1.0 + _EDGE) + 1.0
        elif base < 0:
            if not a < 0.0:
                return False
            low = base / a * (1.0 + _EDGE) + 1.0
            if not is_open and b < 0.0 and base / b * (1.0 - _EDGE) < high:
                high = base / b * (1.0 - _EDGE)
        if not low <= high:
            return False
        self.low = whole(low)
        self.high = whole(high)
        if self.low < 1:
            self.low = 1
        if self.low > self.high:
            return False
        end: cython.longlong = cap_lots(base + self.low * lots * unit, self.low, unit, share_num, share_den, position_max)
        if end < cap_low or end > cap_high:
            return False
        end = cap_lots(base + self.high * lots * unit, self.high, unit, share_num, share_den, position_max)
        return cap_low <= end <= cap_high
