from mia.kernels.block cimport Block

cdef double z_of(double[::1] x, Py_ssize_t last, Py_ssize_t n) except? -1
cdef double correlation(double sxy, double sxx, double syy) except? -1

cdef class ReferenceBlock(Block):
    cdef Py_ssize_t columns
    cdef Py_ssize_t series
    cdef Py_ssize_t waiting_max
    cdef const double[::1] low
    cdef const double[::1] high
    cdef const long long[::1] first
    cdef const long long[::1] second
    cdef double[::1] value
    cdef long long[::1] known
    cdef long long[::1] until
    cdef long long[::1] count
    cdef long long[::1] fresh
    cdef long long[::1] ready
    cdef long long[::1] state
    cdef long long[::1] holds
    cdef double[::1] w_value
    cdef long long[::1] w_from
    cdef long long[::1] w_known
    cdef long long[::1] w_until
    cdef long long[::1] w_series
    cdef long long took(self, long long s) except? -1
    cdef long long _wait(self, long long from_ns, long long series, double value, long long known_ns, long long until_ns) except? -1
    cdef long long _move(self, Py_ssize_t i, Py_ssize_t j) except? -1
    cdef long long catch_up(self, long long t_ns) except? -1
    cdef long long _take(self, long long from_ns, long long s, double value, long long known_ns, long long until_ns) except? -1
    cdef bint is_fresh(self, long long s, long long t_ns) except? -1
