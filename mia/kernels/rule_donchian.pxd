cdef double donchian_step(double close, double entry_high, double entry_low, double exit_high, double exit_low, double last, double long_size, double short_size) noexcept
