cdef class RuleKernel:
    cdef readonly Py_ssize_t width
    cdef readonly bint reads_last
    cdef float[::1] x
    cdef double signal(self, Py_ssize_t at, double last) noexcept
    cpdef double next_signal(self, float[::1] obs, double last) except? -2
    cdef double _fill(self, float[::1] x, Py_ssize_t n, Py_ssize_t width, double last, float[::1] narrow, double[::1] out) except? -2

cdef double held(double last, double long_size, double short_size) noexcept
cdef double scaled(double volatility, double target, double size) noexcept
cdef double rebalanced(double wanted, double last, double band) noexcept
