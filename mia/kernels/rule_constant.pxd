cdef double constant_step(double size) noexcept
