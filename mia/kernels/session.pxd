cdef class SessionClock:
    cdef const long long[::1] opens
    cdef const long long[::1] closes
    cdef Py_ssize_t n
    cdef long long[::1] state
    cpdef bint advance(self, long long t_ns) except? -1
    cdef long long _begin(self, long long open_ns, long long close_ns) except? -1
    cpdef long long begun(self) except? -1
    cpdef bint is_new(self) except? -1
    cpdef long long open_ns(self) except? -1
    cpdef long long close_ns(self) except? -1
