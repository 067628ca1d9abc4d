from mia.kernels.session cimport SessionClock

cdef class SessionWatch:
    cdef long long[::1] state
    cpdef bint step(self, SessionClock clock) except? -1
    cpdef bint is_whole(self) except? -1
    cpdef bint was_whole(self) except? -1
