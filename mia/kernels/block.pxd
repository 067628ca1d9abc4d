from mia.kernels.history cimport BarHistory

cdef class Block:
    cdef double[::1] pool
    cdef Py_ssize_t base
    cdef long long[::1] absent
    cdef BarHistory hist
    cdef long long quote(self, long long t_ns, double bid, double ask, double bid_lots, double ask_lots)
    cdef long long trade(self, long long t_ns, double price, double qty, long long side)
    cdef long long book_changed(self, long long t_ns)
    cdef long long bar(self)
    cdef long long emit(self, long long t_ns, double mid)
    cdef long long reference(self, long long t_ns, long long series, double value, long long known_ns, long long until_ns)
    cdef long long news(self, long long t_ns, long long source, double score, double impact, long long known_ns)
    cdef long long predicted(self, long long t_ns, long long name, double value, double confidence, long long known_ns, long long until_ns)
    cdef long long cool(self)
