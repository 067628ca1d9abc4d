from mia.kernels.history cimport BarHistory

cdef class Block:
    cdef double[::1] pool
    cdef Py_ssize_t base
    cdef BarHistory hist
    cdef long long quote(self, long long t_ns, double bid, double ask, double bid_lots, double ask_lots)
    cdef long long trade(self, long long t_ns, double price, double qty, long long side)
    cdef long long bar(self)
    cdef long long emit(self, long long t_ns, double mid)
