cdef double rsi_reversion_step(double rsi, double last, double long_size, double short_size, double oversold, double middle, double overbought) noexcept
