cdef class BarBuilder:
    cdef Py_ssize_t kind
    cdef double size
    cdef long long interval_ns
    cdef long long fill_max
    cdef bint fill
    cdef public double[::1] bar
    cdef public double[::1] closed
    cdef long long[::1] state
    cpdef long long due(self, long long ts_ns) except? -1
    cpdef long long close(self) except? -1
    cpdef long long settle(self, long long ts_ns) except? -1
    cpdef long long add(self, long long ts_ns, double price, double qty, long long side) except? -1
    cpdef long long end_ns(self) except? -1
    cpdef long long late_count(self) except? -1
    cpdef long long skipped_count(self) except? -1
    cpdef long long closed_count(self) except? -1
