cdef class QuietRange:
    cdef readonly long long low
    cdef readonly long long high
    cdef bint find(self, long long base, long long lots, long long price_max, double size, bint is_refused, long long unit, long long share_num, long long share_den, long long position_max, long long band_num, long long band_den, long long order_max, long long notional_max, long long exposure_max) noexcept
    cdef long long too_dear(self, long long equity, double size, long long price_max, long long unit, long long share_num, long long share_den, long long position_max) noexcept
    cdef long long _beyond(self, long long equal, long long held, double size, double band, long long position_max) noexcept
    cdef bint _within_limits(self, long long base, long long lots, long long high, double size, long long unit, double share, long long order_max, long long notional_max, long long exposure_max) noexcept
    cdef bint _prices(self, long long base, long long lots, long long price_max, long long cap_low, long long cap_high, long long unit, long long share_num, long long share_den, long long position_max) noexcept

cdef long long cap_lots(long long equity, long long price, long long unit, long long share_num, long long share_den, long long position_max) noexcept
cdef long long whole(double x) noexcept
