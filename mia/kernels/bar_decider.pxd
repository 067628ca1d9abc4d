cimport cython
from mia.kernels.bar_market cimport BarMarket


cdef class BarDecider(BarMarket):
    cdef long long share_lots
    @cython.final
    cdef long long _refusal(self, long long ts, long long target, bint enabled, bint cold, long long window) except? -1
    @cython.final
    cdef long long _review(self, long long ts, long long target, bint enabled, bint cold, long long window) except? -1
    @cython.final
    cdef bint _is_small(self, long long change, long long cap) except? -1
    @cython.final
    cdef long long _order(self, Py_ssize_t bar, long long ts, long long target, long long code, long long cap) except? -1
    @cython.final
    cdef long long _share_lots(self) noexcept
    @cython.final
    cdef long long _decide(self, Py_ssize_t bar, long long ts, double signal, bint enabled, long long window) except? -1
