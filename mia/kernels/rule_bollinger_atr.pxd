cdef double bollinger_atr_step(double close, double mean, double std, double atr, double last, double long_size, double short_size, double band_stds, double stop_atrs) noexcept
