cdef double ts_momentum_step(double past_return, double volatility, double last, double size, long long is_long_only, double target, double band) noexcept
