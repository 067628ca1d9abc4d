from mia.kernels.session cimport SessionClock

cdef class SessionWatch:
    cdef long long[::1] state
    cpdef bint step(self, SessionClock clock)
    cpdef bint is_whole(self)
    cpdef bint was_whole(self)
