cdef double tick_sign(double price, double last, double sign) noexcept
