cdef class Tape:
    cdef long long[::1] kind
    cdef long long[::1] recv
    cdef long long[::1] event
    cdef long long[::1] a
    cdef long long[::1] b
    cdef long long[::1] c
    cdef long long[::1] d
    cdef long long[::1] offset
    cdef bytes levels
    cdef readonly Py_ssize_t length
    cdef readonly long long quotes
    cdef readonly long long trades
    cdef readonly long long bid
    cdef readonly long long ask
    cdef readonly long long bid_lots
    cdef readonly long long ask_lots
    cdef readonly long long quote_ns
    cdef readonly long long price
    cdef readonly long long trade_ns
    cdef readonly long long mid2
    cdef readonly long long mark2
    cdef readonly long long now_ns
    cdef readonly long long closed
    cdef readonly bint decides
