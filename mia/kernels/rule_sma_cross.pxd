cdef double sma_cross_step(double gap, double prior, double last, double long_size, double short_size) noexcept
