cdef class Listeners:
    cdef list quotes
    cdef list trades
    cdef list books
    cdef list bars
    cdef list emits
    cdef list slow
    cdef long long quote(self, long long t_ns, double bid, double ask, double bid_lots, double ask_lots) except? -1
    cdef long long trade(self, long long t_ns, double price, double qty, long long side) except? -1
    cdef long long book_changed(self, long long t_ns) except? -1
    cdef long long bar(self) except? -1
    cdef long long emit(self, long long t_ns, double mid) except? -1
    cdef long long reference(self, long long t_ns, long long series, double value, long long known_ns, long long until_ns) except? -1
    cdef long long news(self, long long t_ns, long long source, double score, double impact, long long known_ns) except? -1
    cdef long long predicted(self, long long t_ns, long long name, double value, double confidence, long long known_ns, long long until_ns) except? -1
    cdef long long cool(self) except? -1
