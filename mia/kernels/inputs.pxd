cdef class Inputs:
    cdef long long[::1] index
    cdef double[::1] center
    cdef double[::1] inv_scale
    cdef double[::1] z
    cdef double clip
    cdef long long bars
    cdef Py_ssize_t d
    cdef bint read(self, double[::1] pool, long long[::1] absent, long long bars) except? -1
