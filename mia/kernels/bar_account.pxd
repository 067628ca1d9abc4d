from mia.kernels.quiet cimport QuietRange


cdef class BarAccount:
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
    cdef readonly long long cash
    cdef readonly long long lots
    cdef readonly long long cost
    cdef readonly long long equity
    cdef readonly long long peak
    cdef readonly long long day
    cdef readonly long long day_start
    cdef readonly long long is_daily_loss
    cdef readonly long long is_tripped
    cdef readonly long long cool_until
    cdef readonly long long protected
    cdef readonly long long stop
    cdef readonly long long take
    cdef readonly long long pending
    cdef readonly long long pending_reduces
    cdef readonly long long mark2
    cdef readonly long long is_started
    cdef readonly long long ring_next
    cdef readonly long long last_fill
    cdef readonly long long trades
    cdef readonly long long fees
    cdef readonly long long pending_mark
    cdef long long[::1] ring
    cdef readonly long long pending_order
    cdef readonly long long stop_order
    cdef long long[:, ::1] log
    cdef long long[:, ::1] book
    cdef readonly Py_ssize_t orders
    cdef readonly Py_ssize_t fills
    cdef readonly Py_ssize_t bad
    cdef readonly double turnover
    cdef QuietRange range
    cdef long long price_low
    cdef long long price_high
    cdef long long until_ns
    cdef long long opening
    cdef long long value_max
    cdef long long day_end
    cdef long long loss_level
    cdef long long lots_price_max
    cdef long long bar_low
    cdef long long bar_high
    cdef long long floor
    cdef long long roof
    cdef long long _abs(self, long long x) except? -1
    cdef long long _part(self, long long money, long long some, long long lots) except? -1
    cdef long long _update(self, long long ts) except? -1
    cdef long long _note_order(self, Py_ssize_t bar, long long ts, long long lots, long long stop, long long reduces, long long kind) except? -1
    cdef long long _level(self, long long num, long long den, bint up) except? -1
    cdef long long _protect(self, Py_ssize_t bar, long long ts) except? -1
    cdef long long _fill(self, Py_ssize_t bar, long long ts, long long side, long long lots, long long market, long long kind) except? -1
    cdef long long _beyond(self, bint is_stop, long long price) except? -1
    cdef long long _protected(self, Py_ssize_t bar, long long ts, bint is_stop, long long market) except? -1
    cdef long long _market(self, Py_ssize_t bar, long long ts, long long price) except? -1
    cdef long long _open(self, Py_ssize_t bar, long long ts, long long price) except? -1
    cdef long long _within(self, Py_ssize_t bar, long long ts, long long high, long long low, long long close) except? -1
    cdef long long _refusal(self, long long ts, long long target, bint enabled, bint cold, long long window) except? -1
    cdef long long _review(self, long long ts, long long target, bint enabled, bint cold, long long window) except? -1
    cdef long long _order(self, Py_ssize_t bar, long long ts, long long target, long long code, long long cap) except? -1
    cdef long long _decide(self, Py_ssize_t bar, long long ts, double signal, bint enabled, long long window) except? -1
    cdef bint _find_quiet(self, long long ts, double signal, long long window) except? -1
    cdef long long _quiet_verdict(self, double signal, long long equity, long long price) except? -1
    cdef long long _begin_day(self, long long ts, long long equity) except? -1
    cdef long long _step(self, Py_ssize_t j, long long open_ns, long long close_ns, long long opened, long long high, long long low, long long close, double signal, long long window) except? -1
    cdef bint _is_on(self, long long ts, long long high, long long low, long long close) except? -1
    cdef long long _set_levels(self, long long peak) except? -1
