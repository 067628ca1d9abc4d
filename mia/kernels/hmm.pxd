cdef class HmmFilter:
    cdef double[::1] _probs
    cdef long long[::1] _count
    cdef double[::1] _next
    cdef double[::1] _z
    cdef double[::1] _loglik
    cdef double[::1] _center
    cdef double[::1] _inv_scale
    cdef double[::1] _mean
    cdef double[::1] _inv_var
    cdef double[::1] _offset
    cdef double[::1] _transition
    cdef long long[::1] _index
    cdef double _clip
    cdef Py_ssize_t _k
    cdef Py_ssize_t _d
    cdef long long _warm
    cpdef long long reset(self) except? -1
    cpdef bint is_warm(self) except? -1
    cpdef long long steps(self) except? -1
    cpdef bint step(self, double[::1] values) except? -1
    cpdef double prob(self, Py_ssize_t k) except? -1
    cpdef double stay(self, Py_ssize_t k) except? -1
    cpdef double loglik(self) except? -1
    cpdef double surprise(self) except? -1
