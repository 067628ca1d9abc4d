"""Who was the aggressor of a trade whose feed does not say: the tick test."""

from __future__ import annotations

import cython


@cython.cfunc
@cython.exceptval(check=False)  # -1.0 is an answer here, not the mark of an error
def tick_sign(price: cython.double, last: cython.double, sign: cython.double) -> cython.double:
    """1.0 above the last price, -1.0 below it; at it, or when there is none (last at or below 0), the sign of before.

    Source: Lee and Ready (1991), the tick test with zero ticks taken to the last change of price.
    """
    if last <= 0.0:
        return sign
    if price > last:
        return 1.0
    if price < last:
        return -1.0
    return sign
