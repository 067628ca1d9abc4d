cdef double vol_target_step(double volatility, double last, double size, double target, double band) noexcept
