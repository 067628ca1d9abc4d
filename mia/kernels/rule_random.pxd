cdef double random_step(double day, double second, double last, double long_size, double short_size, long long seed, double chance) noexcept
