"""Products of money and a fraction, whole and exact, where the product itself is too large for a word of 64 bits."""

from __future__ import annotations

import cython

TOO_MUCH = 1 << 62
_TOO_MUCH = cython.declare(cython.longlong, 1 << 62)
_HALF = cython.declare(cython.longlong, 1 << 31)
_BELOW = cython.declare(cython.double, 4.6e18)  # below 2^62, with room for the rounding of a product in floating point


@cython.ccall
@cython.exceptval(check=False)
def mul_div(a: cython.longlong, b: cython.longlong, c: cython.longlong, plus: cython.longlong) -> cython.longlong:
    """(a * b + plus) // c, exactly; TOO_MUCH (2^62) when it is about that or more.

    a, b: 0 .. 2^62; c: 1 .. 2^61; plus: 0 .. c - 1, of which c - 1 rounds up. With a = q c + r it is q b + (r b + plus) // c, and where
    r b is too large, too, b is taken digit by digit, as in a long division by hand.
    """
    q: cython.longlong = a // c
    r: cython.longlong = a - q * c
    if not (1.0 * q) * b < _BELOW:
        return _TOO_MUCH
    if r < _HALF and b < _HALF:
        return q * b + (r * b + plus) // c
    base: cython.longlong = 2
    while base < _HALF and base * c <= _HALF * _HALF // 2:
        base *= 2
    weight: cython.longlong = 1
    while b // weight >= base:
        weight *= base
    part: cython.longlong = 0
    left: cython.longlong = 0
    rest: cython.longlong = b
    digit: cython.longlong
    top: cython.longlong
    while weight > 0:
        digit = rest // weight
        rest -= digit * weight
        top = left * base + r * digit
        part = part * base + top // c
        left = top % c
        weight //= base
    if left + plus >= c:
        part += 1
    part += q * b
    return part if part < _TOO_MUCH else _TOO_MUCH
