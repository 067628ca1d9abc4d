cdef class Book:
    cdef long long[::1] levels
    cdef long long[::1] state
    cdef Py_ssize_t cap

    cpdef object load(self, bytes bids, bytes asks)
    cpdef object apply(self, bytes bids, bytes asks)
    cpdef object invalidate(self)
    cpdef bint is_valid(self)
    cpdef bint is_crossed(self)
    cpdef long long best_bid_ticks(self)
    cpdef long long best_bid_lots(self)
    cpdef long long best_ask_ticks(self)
    cpdef long long best_ask_lots(self)
    cpdef Py_ssize_t n_bids(self)
    cpdef Py_ssize_t n_asks(self)
    cpdef long long bid_ticks_at(self, Py_ssize_t i)
    cpdef long long bid_lots_at(self, Py_ssize_t i)
    cpdef long long ask_ticks_at(self, Py_ssize_t i)
    cpdef long long ask_lots_at(self, Py_ssize_t i)
    cpdef long long lots_at(self, bint is_bid, long long price_ticks)
    cdef Py_ssize_t copy_best(self, bint is_bid, Py_ssize_t k, double[::1] out, Py_ssize_t at, Py_ssize_t beside)
    cpdef long long depth_lots(self, bint is_bid, Py_ssize_t k)
    cpdef long long walk(self, bint is_bid_side, long long qty_lots, long long limit_ticks)
    cpdef long long walk_cost(self)
    cpdef long long count(self, Py_ssize_t which)
    cdef Py_ssize_t _find(self, Py_ssize_t base, Py_ssize_t n, long long key)
    cdef Py_ssize_t _set(self, Py_ssize_t base, Py_ssize_t n, long long key, long long lots)
    cdef object _merge(self, bint is_bid, bytes raw, bint is_load)
