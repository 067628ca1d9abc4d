from mia.kernels.block cimport Block

cdef class AccountBlock(Block):
    cdef double[::1] s
    cdef long long[::1] q
    cpdef long long set(self, double position, double entry_ticks, long long opened_ns, double drawdown_ratio, double day_pnl_ratio, double trades_60m_ratio, double last_action, double policy_dispersion, double last_alpha) except? -1
    cpdef long long set_record(self, long long closed_ns, long long closed, long long won, double drift) except? -1
    cpdef long long passed(self, double low, double high, long long bars) except? -1
    cdef double _gain(self, double mid) except? -1
    cdef long long _excursion(self, double mid) except? -1
