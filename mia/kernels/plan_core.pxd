from mia.kernels.account_block cimport AccountBlock
from mia.kernels.bars cimport BarBuilder
from mia.kernels.book cimport Book
from mia.kernels.history cimport BarHistory
from mia.kernels.listeners cimport Listeners
from mia.kernels.readiness cimport Readiness
from mia.kernels.row cimport Row

cdef class PlanCore:
    cdef BarBuilder bars
    cdef BarHistory hist
    cdef Book book
    cdef AccountBlock account
    cdef Listeners listeners
    cdef Readiness ready
    cdef Row row
    cdef double[::1] market
    cdef readonly double[::1] bar
    cdef double[::1] given
    cdef long long[::1] state
    cdef long long _bar_closed(self, long long close_ns) except? -1
    cdef long long _take_given(self, long long ts_close_ns)
    cdef long long _bar_given(self, long long close_ns) except? -1
    cdef long long _advance(self, long long t_ns) except? -1
    cdef long long _emit(self, long long ts_recv_ns) except? -1
    cpdef long long on_quote(self, long long ts_recv_ns, long long ts_event_ns, long long bid_ticks, long long ask_ticks, long long bid_lots, long long ask_lots)
    cpdef long long on_trade(self, long long ts_recv_ns, long long ts_event_ns, long long price_ticks, long long qty_lots, long long aggressor)
    cpdef long long on_book(self, long long ts_recv_ns)
    cpdef Py_ssize_t cool(self)
    cpdef long long on_time(self, long long ts_recv_ns)
    cpdef long long on_bar(self, long long ts_close_ns, double[::1] bar)
    cpdef long long on_reference(self, long long ts_recv_ns, long long series, double value, long long known_ns, long long until_ns)
    cpdef long long on_news(self, long long ts_recv_ns, long long source, double score, double impact, long long known_ns)
    cpdef long long on_predicted(self, long long ts_recv_ns, long long name, double value, double confidence, long long known_ns, long long until_ns)
    cpdef long long set_account(self, double position, double entry_ticks, long long opened_ns, double drawdown_ratio, double day_pnl_ratio, double trades_60m_ratio, double last_action, double policy_dispersion, double last_alpha)
    cpdef long long set_record(self, long long closed_ns, long long closed, long long won, double drift)
    cpdef long long take_market(self, long long ts_recv_ns, double low, double high, double mid, long long bars, double atr)
    cpdef long long observe(self, long long ts_recv_ns)
    cpdef Py_ssize_t first_cold(self) except? -2
    cpdef bint is_there(self, Py_ssize_t j)
    cpdef bint is_warm(self, Py_ssize_t j)
    cpdef long long bar_count(self)
