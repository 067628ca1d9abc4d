cdef class Profile:
    cdef long long mask
    cdef long long span
    cdef long long one
    cdef double share
    cdef double[::1] x
    cdef double[::1] spare
    cdef double[::1] s
    cdef long long[::1] q
    cpdef long long clear(self) except? -1
    cpdef long long add(self, double low, double high, double mean, double lots) except? -1
    cdef long long _reach(self, long long a, long long z) except? -1
    cdef long long _merge(self) except? -1
    cdef long long _seek(self, long long first, long long last) except? -1
    cpdef long long settle(self) except? -1
    cpdef double lots(self) except? -1
    cpdef double control(self) except? -1
    cpdef double value_low(self) except? -1
    cpdef double value_high(self) except? -1
    cdef long long _bin(self, double price) except? -1
    cpdef double height(self, double price) except? -1
    cpdef double above(self, double price) except? -1
