cdef double macd_step(double histogram, double long_size, double short_size) noexcept
