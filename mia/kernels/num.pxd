# The compiled form of num.py, which holds the words: same formulas, same order, so the same bits. Bodies stand here so that
# the C compiler sees them in every kernel: a call into another module costs more than what these functions do.
cimport cython
from libc.math cimport exp, log, sqrt


@cython.cdivision(True)
cdef inline double div(double a, double b) noexcept:
    if b <= 0.0:
        return 0.0
    return a / b


cdef inline double clip(double x, double low, double high) noexcept:
    if x < low:
        return low
    if x > high:
        return high
    return x


cdef inline double ratio(double a, double b, double bound) noexcept:
    return clip(div(a, b), -bound, bound)


@cython.cdivision(True)
cdef inline double ln_ratio(double a, double b) noexcept:
    cdef double d, q, w
    if a <= 0.0 or b <= 0.0:
        return 0.0
    d = a - b
    if -0.05 * b < d < 0.05 * b:
        q = d / (a + b)
        w = q * q
        return 2.0 * q + 2.0 * q * w * (((1.0 / 3.0) + w * (1.0 / 5.0)) + w * w * ((1.0 / 7.0) + w * ((1.0 / 9.0) + w * (1.0 / 11.0))))
    q = a / b
    if q <= 0.0:  # underflow
        return 0.0
    return log(q)


cdef inline double ln1p_pos(double x) noexcept:
    if x <= 0.0:
        return 0.0
    return log(1.0 + x)


cdef inline double root(double x) noexcept:
    if x <= 0.0:
        return 0.0
    return sqrt(x)


@cython.cdivision(True)
cdef inline double decay(long long dt_ns, double tau_s) noexcept:
    cdef double x
    if dt_ns <= 0:
        return 1.0
    x = dt_ns * 1e-9 / tau_s
    if x > 700.0:
        return 0.0
    return exp(-x)
