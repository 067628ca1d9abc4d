from mia.kernels.bar_decider cimport BarDecider
from mia.kernels.quiet cimport QuietRange


cdef class BarAccount(BarDecider):
    cdef QuietRange range
    cdef long long price_low
    cdef long long price_high
    cdef long long until_ns
    cdef long long opening
    cdef long long lots_price_max
    cdef long long bar_low
    cdef long long bar_high
    cdef long long floor
    cdef long long roof
    cdef bint _find_quiet(self, long long ts, double signal, long long window) except? -1
    cdef long long _quiet_verdict(self, double signal, long long equity, long long price) except? -1
    cdef bint _is_on(self, long long ts, long long high, long long low, long long close) except? -1
    cdef long long _set_levels(self, long long peak) except? -1
    cdef long long _step(self, Py_ssize_t j, long long open_ns, long long close_ns, long long opened, long long high, long long low, long long close, double signal, long long window, long long leave_ns) except? -1
