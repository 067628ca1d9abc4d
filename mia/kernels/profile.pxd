cdef class Profile:
    cdef long long mask
    cdef long long span
    cdef long long one
    cdef double share
    cdef double[::1] x
    cdef double[::1] spare
    cdef double[::1] s
    cdef long long[::1] q
    cpdef long long clear(self)
    cpdef long long add(self, double low, double high, double mean, double lots)
    cdef long long _reach(self, long long a, long long z)
    cdef long long _merge(self)
    cdef long long _seek(self, long long first, long long last)
    cpdef long long settle(self)
    cpdef double lots(self)
    cpdef double control(self)
    cpdef double value_low(self)
    cpdef double value_high(self)
    cdef long long _bin(self, double price)
    cpdef double height(self, double price)
    cpdef double above(self, double price)
