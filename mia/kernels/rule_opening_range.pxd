cdef double opening_range_step(double close, double high, double low, double age_s, double left_s, double last, double long_size, double short_size, double range_s, double exit_s) noexcept
