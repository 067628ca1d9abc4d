cimport cython
cdef class BarBooks:
    cdef long long unit
    cdef long long derivative
    cdef long long min_notional
    cdef long long position_max
    cdef long long order_max
    cdef long long notional_max
    cdef long long exposure_max
    cdef long long share_num
    cdef long long share_den
    cdef long long daily_num
    cdef long long daily_den
    cdef long long drawdown_num
    cdef long long drawdown_den
    cdef long long rate_max
    cdef long long cool_down
    cdef long long band_num
    cdef long long band_den
    cdef long long stop_long_num
    cdef long long stop_long_den
    cdef long long stop_short_num
    cdef long long stop_short_den
    cdef long long take_long_num
    cdef long long take_long_den
    cdef long long take_short_num
    cdef long long take_short_den
    cdef long long fee_num
    cdef long long fee_den
    cdef long long half_spread
    cdef long long at_close
    cdef long long money_max
    cdef long long from_ns
    cdef long long plain
    cdef long long value_max
    cdef readonly long long cash
    cdef readonly long long lots
    cdef readonly long long cost
    cdef readonly long long equity
    cdef readonly long long mark2
    cdef readonly long long is_started
    cdef readonly long long peak
    cdef long long level_peak
    cdef long long trip_level
    cdef readonly long long is_tripped
    cdef readonly long long day
    cdef readonly long long day_start
    cdef readonly long long is_daily_loss
    cdef readonly long long cool_until
    cdef readonly long long ring_next
    cdef readonly long long protected
    cdef readonly long long stop
    cdef readonly long long take
    cdef readonly long long stop_order
    cdef readonly long long pending
    cdef readonly long long pending_reduces
    cdef readonly long long pending_mark2
    cdef readonly long long pending_order
    cdef readonly long long last_fill
    cdef readonly long long trades
    cdef readonly long long fees
    cdef long long day_end
    cdef long long loss_level
    cdef readonly double turnover
    cdef long long[::1] ring
    cdef long long[:, ::1] log
    cdef long long[:, ::1] book
    cdef readonly Py_ssize_t fills
    cdef readonly Py_ssize_t orders
    cdef readonly Py_ssize_t bad
    @cython.final
    cdef long long _begin_day(self, long long ts, long long equity) except? -1
    @cython.final
    cdef long long _trip_level(self, long long peak) noexcept
    @cython.final
    cdef long long _update(self, long long ts) except? -1
    @cython.final
    cdef long long _note_order(self, Py_ssize_t bar, long long ts, long long lots, long long stop, long long reduces, long long kind) except? -1
    @cython.final
    cdef long long _level(self, long long num, long long den, bint up) except? -1
    @cython.final
    cdef long long _protect(self, Py_ssize_t bar, long long ts) except? -1
    @cython.final
    cdef long long _part(self, long long money, long long some, long long lots) noexcept
    @cython.final
    cdef long long _fee(self, long long value) noexcept
    @cython.final
    cdef long long _fill(self, Py_ssize_t bar, long long ts, long long side, long long lots, long long market2, long long kind) except? -1
