cimport cython
from mia.kernels.bar_books cimport BarBooks


cdef class BarMarket(BarBooks):
    @cython.final
    cdef long long _beyond(self, bint is_stop, long long price) except? -1
    @cython.final
    cdef long long _protected(self, Py_ssize_t bar, long long ts, bint is_stop, long long market) except? -1
    @cython.final
    cdef long long _open(self, Py_ssize_t bar, long long ts, long long price) except? -1
    @cython.final
    cdef long long _market(self, Py_ssize_t bar, long long ts, long long price) except? -1
    @cython.final
    cdef long long _stopped(self, Py_ssize_t bar, long long ts, long long high, long long low, long long close) except? -1
    cdef long long _within(self, Py_ssize_t bar, long long ts, long long high, long long low, long long close) except? -1
    @cython.final
    cdef long long _leave(self, Py_ssize_t bar, long long ts, long long open_ns, long long close_ns, long long opened, long long close) except? -1

cpdef long long line2(long long side, long long opened, long long close, long long passed_ns, long long span_ns) noexcept
