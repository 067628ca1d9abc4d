cdef double uniform_of(long long seed, long long i, long long j) noexcept

cdef class Rng:
    cdef long long[::1] s
    cdef double[::1] cache
    cpdef void seed(self, long long value)
    cpdef double uniform(self)
    cpdef double exponential(self)
    cpdef double normal(self)
    cpdef long long below(self, long long n)
    cpdef long long poisson(self, double mean)
    cpdef long long geometric(self, double p)
