"""Resampling in loops: the stationary bootstrap of returns, rows and trade orders. Offline work; the same bits interpreted and compiled.

Randomness comes in as words of 64 random bits, one for each row drawn, so that a loop over millions of them costs no generator of ours.
Source: Politis & Romano (1994), "The stationary bootstrap".
"""

from __future__ import annotations

from typing import Final

import cython

if cython.compiled:
    from cython.cimports.libc.math import log, sqrt
else:
    from math import log, sqrt

# Columns of `measure`, which writes them by number.
MEAN: Final = 0
DEVIATION: Final = 1  # divides by n - 1
SKEW: Final = 2
KURTOSIS: Final = 3  # 3 of a normal distribution
GROWTH: Final = 4  # sum of ln(1 + r)
DOWNSIDE: Final = 5  # root of the mean of min(r - target, 0)^2, over all n
GAINS: Final = 6  # sum of r - target where above 0
LOSSES: Final = 7  # sum of target - r where above 0
DRAWDOWN: Final = 8  # largest share lost from a peak
ULCER: Final = 9
VAR_95: Final = 10
CVAR_95: Final = 11
VAR_99: Final = 12
CVAR_99: Final = 13
HIGH_95: Final = 14  # the quantile at 95 %
HITS: Final = 15  # share of r above 0
COLUMNS: Final = 16


@cython.cfunc
def _below(word: cython.longlong, n: cython.longlong) -> cython.Py_ssize_t:
    """An integer in [0, n) from the upper 31 bits of a word; n below 2**31."""
    return cython.cast(cython.Py_ssize_t, (((word >> 32) & 0x7FFFFFFF) * n) >> 31)


@cython.ccall
def draw(words: cython.longlong[:, ::1], sample: cython.Py_ssize_t, restart: cython.longlong, index: cython.longlong[::1]) -> cython.void:
    """Fill index [n] with one resample of rows 0 .. n-1, from words[sample]: blocks that start anywhere and wrap around.

    restart: chance that the next row starts a block, in units of 2**-31, so that lengths are geometric of mean 2**31 / restart.
    """
    n: cython.Py_ssize_t = index.shape[0]
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t = 0
    word: cython.longlong
    for i in range(n):
        word = words[sample, i]
        if i == 0 or (word & 0x7FFFFFFF) < restart:
            k = _below(word, n)
        else:
            k += 1
            if k == n:
                k = 0
        index[i] = k


@cython.ccall
def measure(
    r: cython.double[::1],
    ordered: cython.double[::1],
    rank: cython.longlong[::1],
    index: cython.longlong[::1],
    centre: cython.double,
    target: cython.double,
    counts: cython.longlong[::1],
    out: cython.double[::1],
) -> cython.void:
    """Write the COLUMNS figures of the returns r[index] to out.

    r [n]: simple returns above -1; ordered [n]: r ascending, rank [n]: place of each r in it; index [n]: which row comes when;
    centre: near the mean of r, so that moments keep their digits; target: what downside, gains and losses are measured from;
    counts [n]: work space, zero before and after. A resample without spread has skew and kurtosis 0.
    """
    n: cython.Py_ssize_t = r.shape[0]
    i: cython.Py_ssize_t
    k: cython.Py_ssize_t
    x: cython.double
    square: cython.double
    total: cython.double = 0.0
    total2: cython.double = 0.0
    total3: cython.double = 0.0
    total4: cython.double = 0.0
    below: cython.double = 0.0
    gains: cython.double = 0.0
    losses: cython.double = 0.0
    wealth: cython.double = 1.0
    peak: cython.double = 1.0
    growth: cython.double = 0.0
    depth: cython.double
    depth_max: cython.double = 0.0
    depth2: cython.double = 0.0
    hits: cython.longlong = 0
    for i in range(n):
        k = cython.cast(cython.Py_ssize_t, index[i])
        counts[rank[k]] += 1
        x = r[k]
        wealth *= 1.0 + x
        if wealth > peak:
            peak = wealth
        if peak > 1e100 or wealth < 1e-100:  # a ratio is all that counts: rescale before it leaves the range of a double
            growth += log(wealth) if wealth > 0.0 else -700.0
            peak = peak / wealth if wealth > peak * 1e-100 else 1e100
            wealth = 1.0
        depth = 1.0 - wealth / peak
        if depth > depth_max:
            depth_max = depth
        depth2 += depth * depth
        if x > 0.0:
            hits += 1
        square = x - target
        if square < 0.0:
            losses -= square
            below += square * square
        else:
            gains += square
        x = x - centre
        square = x * x
        total += x
        total2 += square
        total3 += square * x
        total4 += square * square
    growth += log(wealth) if wealth > 0.0 else -700.0
    _moments(n, total, total2, total3, total4, centre, out)
    out[4] = growth
    out[5] = sqrt(below / n) if below > 0.0 else 0.0
    out[6] = gains
    out[7] = losses
    out[8] = depth_max
    out[9] = sqrt(depth2 / n) if depth2 > 0.0 else 0.0
    out[15] = hits / cython.cast(cython.double, n)
    _tails(ordered, counts, out)


@cython.cfunc
def _moments(
    n: cython.Py_ssize_t,
    total: cython.double,
    total2: cython.double,
    total3: cython.double,
    total4: cython.double,
    centre: cython.double,
    out: cython.double[::1],
) -> cython.void:
    """Mean, deviation, skew and kurtosis from sums of powers of r - centre."""
    m: cython.double = total / n
    m2: cython.double = total2 / n - m * m
    m3: cython.double = total3 / n - 3.0 * m * total2 / n + 2.0 * m * m * m
    m4: cython.double = total4 / n - 4.0 * m * total3 / n + 6.0 * m * m * total2 / n - 3.0 * m * m * m * m
    out[0] = centre + m
    out[1] = 0.0
    out[2] = 0.0
    out[3] = 0.0
    if m2 > 1e-24 * (centre * centre + m * m) and m2 * m2 > 0.0 and n > 1:
        out[1] = sqrt(m2 * (n / cython.cast(cython.double, n - 1)))
        out[2] = m3 / (m2 * sqrt(m2))
        out[3] = m4 / (m2 * m2)


@cython.cfunc
def _tails(ordered: cython.double[::1], counts: cython.longlong[::1], out: cython.double[::1]) -> cython.void:
    """Quantiles from how often each rank came up; leaves counts at zero."""
    n: cython.Py_ssize_t = ordered.shape[0]
    need_99: cython.longlong = (n + 99) // 100  # ceil(n / 100): the rows of the tail
    need_95: cython.longlong = (n + 19) // 20
    seen: cython.longlong = 0
    take: cython.longlong
    total: cython.double = 0.0
    i: cython.Py_ssize_t = 0
    while seen < need_95:
        take = counts[i]
        if take > 0:
            if seen < need_99 <= seen + take:
                out[12] = -ordered[i]
                out[13] = -(total + (need_99 - seen) * ordered[i]) / need_99
            if seen + take >= need_95:
                take = need_95 - seen
                out[10] = -ordered[i]
                out[11] = -(total + take * ordered[i]) / need_95
            total += take * ordered[i]
            seen += take
        i += 1
    need_95 = n - (95 * n + 99) // 100 + 1  # from above: the value at place ceil(0.95 n)
    seen = 0
    i = n
    while seen < need_95:
        i -= 1
        seen += counts[i]
    out[14] = ordered[i]
    for i in range(n):
        counts[i] = 0


@cython.ccall
def resample_returns(
    words: cython.longlong[:, ::1],
    restart: cython.longlong,
    r: cython.double[::1],
    ordered: cython.double[::1],
    rank: cython.longlong[::1],
    centre: cython.double,
    target: cython.double,
    index: cython.longlong[::1],
    counts: cython.longlong[::1],
    out: cython.double[:, ::1],
) -> cython.void:
    """out [samples, COLUMNS]: `measure` of each resample of r, by words [samples, n]; index, counts [n]: work space, counts zeroed."""
    i: cython.Py_ssize_t
    for i in range(out.shape[0]):
        draw(words, i, restart, index)
        measure(r, ordered, rank, index, centre, target, counts, out[i])


@cython.ccall
def resample_sums(
    words: cython.longlong[:, ::1],
    restart: cython.longlong,
    rows: cython.double[:, ::1],
    index: cython.longlong[::1],
    out: cython.double[:, ::1],
) -> cython.void:
    """out [samples, k]: column sums of each resample of rows [n, k], by words [samples, n]; index [n]: work space."""
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    c: cython.Py_ssize_t
    k: cython.Py_ssize_t
    width: cython.Py_ssize_t = rows.shape[1]
    for i in range(out.shape[0]):
        draw(words, i, restart, index)
        for c in range(width):
            out[i, c] = 0.0
        for j in range(rows.shape[0]):
            k = cython.cast(cython.Py_ssize_t, index[j])
            for c in range(width):
                out[i, c] += rows[k, c]


@cython.ccall
def shuffle_drawdowns(
    words: cython.longlong[:, ::1],
    profit: cython.double[::1],
    start: cython.double,
    fall: cython.double[::1],
    low: cython.double[::1],
    streak: cython.longlong[::1],
) -> cython.void:
    """Of start plus the profits in random orders: largest fall from a peak, lowest value, most losses in a row; each [samples].

    profit [m]: shuffled in place (Fisher-Yates), sample after sample, by words [samples, m].
    """
    i: cython.Py_ssize_t
    j: cython.Py_ssize_t
    k: cython.Py_ssize_t
    m: cython.Py_ssize_t = profit.shape[0]
    x: cython.double
    equity: cython.double
    peak: cython.double
    losses: cython.longlong
    for i in range(fall.shape[0]):
        equity = start
        peak = start
        losses = 0
        fall[i] = 0.0
        low[i] = start
        streak[i] = 0
        for j in range(m):
            k = j + _below(words[i, j], m - j)
            x = profit[k]
            profit[k] = profit[j]
            profit[j] = x
            equity += x
            if equity > peak:
                peak = equity
            if equity < low[i]:
                low[i] = equity
            if peak - equity > fall[i]:
                fall[i] = peak - equity
            losses = losses + 1 if x < 0.0 else 0
            if losses > streak[i]:
                streak[i] = losses
