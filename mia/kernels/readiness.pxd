cdef class Readiness:
    cdef long long[::1] state
    cdef long long[::1] absent
    cdef long long[::1] cold
    cdef long long[::1] queue
    cdef long long[::1] needs
    cdef long long[::1] members
    cdef long long[::1] starts
    cdef long long[::1] class_of
    cdef const long long[::1] slots
    cdef const long long[::1] optional
    cdef const long long[::1] reads
    cdef Py_ssize_t width
    cdef Py_ssize_t classes
    cdef long long mark_stopped(self, long long t_ns) except? -1
    cdef long long look(self) except? -1
    cdef Py_ssize_t first_cold(self) except? -2
    cdef bint is_there(self, Py_ssize_t j) except? -1
    cdef bint is_warm(self, Py_ssize_t j) except? -1
    cdef bint _has_seen(self, Py_ssize_t c) except? -1
    cdef long long warm_up(self) except? -1
    cdef long long _chill(self) except? -1
    cdef long long cool(self) except? -1
