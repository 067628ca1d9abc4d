cdef double sma_cross_step(double fast, double slow, double prior_fast, double prior_slow, double last, double long_size, double short_size) noexcept
