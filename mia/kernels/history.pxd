from mia.kernels.session cimport SessionClock

cdef class BarHistory:
    cdef SessionClock session
    cdef Py_ssize_t size
    cdef long long atr_length
    cdef double[::1] o
    cdef double[::1] h
    cdef double[::1] l
    cdef double[::1] c
    cdef double[::1] v
    cdef double[::1] sv
    cdef double[::1] notional
    cdef double[::1] n
    cdef double[::1] sn
    cdef double[::1] r
    cdef double[::1] tr
    cdef long long[::1] t
    cdef double[::1] scale
    cdef long long[::1] state
    cpdef long long push(self, double[::1] bar, long long close_ns) except? -1

# The compiled form of the functions in history.py: every block asks them at every bar, and a call into another module costs more
# than what they do.
cdef inline Py_ssize_t last_bar(BarHistory x) noexcept:
    return ((x.state[0] + x.size - 1) & (x.size - 1)) + x.size


cdef inline long long bars_pushed(BarHistory x) noexcept:
    return x.state[0]


cdef inline double atr_of(BarHistory x) noexcept:
    return x.scale[0]
