cdef double vwap_reversion_step(double z, double age_s, double last, double long_size, double short_size, double entry, double leave, double start_s) noexcept
