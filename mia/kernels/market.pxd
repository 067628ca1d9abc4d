from mia.kernels.rng cimport Rng

cdef class MarketKernel:
    cdef Rng rng
    cdef double[::1] table
    cdef double[::1] x
    cdef long long[::1] k
    cdef long long[::1] keys
    cdef long long[::1] lots
    cdef double anchor_ticks
    cdef double order_units
    cdef double placement_bps
    cdef double gap_bps
    cdef double maker_lag_s
    cdef double vol_of_vol
    cdef double vol_tau_s
    cdef double jump_bps
    cdef double momentum
    cdef double persistence
    cdef Py_ssize_t width
    cdef long long[::1] o_kind
    cdef long long[::1] o_ts
    cdef long long[::1] o_a
    cdef long long[::1] o_b
    cdef long long[::1] o_c
    cdef long long[::1] o_d
    cdef long long[::1] o_phase
    cdef Py_ssize_t rows
    cpdef void bind(self, long long[::1] kind, long long[::1] ts, long long[::1] a, long long[::1] b, long long[::1] c, long long[::1] d, long long[::1] phase)
    cpdef Py_ssize_t run(self, Py_ssize_t rows_max, long long until_ns)
    cpdef void rebase(self, long long now_ns)
    cpdef Py_ssize_t level_count(self, bint is_ask)
    cpdef long long level_ticks(self, bint is_ask, Py_ssize_t i)
    cpdef long long level_lots(self, bint is_ask, Py_ssize_t i)
    cpdef long long now_ns(self)
    cpdef long long phase(self)
    cpdef double latent_ticks(self)
    cdef void _emit(self, long long kind, long long a, long long b, long long c, long long d)
    cdef void _emit_level(self, Py_ssize_t side, long long key, long long lots)
    cdef void _emit_quote(self)
    cdef void _add(self, Py_ssize_t side, long long key, long long lots)
    cdef void _remove(self, Py_ssize_t side, Py_ssize_t i)
    cdef void _step(self, double dt)
    cdef void _enter(self, Py_ssize_t phase)
    cdef void _next_phase(self)
    cdef void _advance_latent(self, double dt)
    cdef void _take(self, double gap)
    cdef void _sweep(self, Py_ssize_t side, long long limit_key, long long qty)
    cdef void _place(self, Py_ssize_t side, double favour)
    cdef void _cancel(self, double tilt)
    cdef long long _size(self, double scale)
