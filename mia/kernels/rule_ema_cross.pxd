cdef double ema_cross_step(double fast, double slow, double long_size, double short_size) noexcept
