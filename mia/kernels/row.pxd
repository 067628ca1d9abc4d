from mia.kernels.readiness cimport Readiness

cdef class Row:
    cdef Readiness ready
    cdef double[::1] pool
    cdef double[:, ::1] values
    cdef const double[::1] neutral
    cdef long long[::1] start
    cdef long long[::1] first
    cdef Py_ssize_t runs
    cdef Py_ssize_t width
    cdef Py_ssize_t masks
    cdef long long write(self, double[:, ::1] out, Py_ssize_t row) except? -1
    cdef long long write_own(self) except? -1
    cdef long long keep(self, double[:, ::1] out, Py_ssize_t at) except? -1
