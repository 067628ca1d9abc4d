cimport cython

cdef double sum_of(double[::1] x, Py_ssize_t last, Py_ssize_t n)
cdef double mean_of(double[::1] x, Py_ssize_t last, Py_ssize_t n)
cdef double variance_of(double[::1] x, Py_ssize_t last, Py_ssize_t n)
cdef double highest_of(double[::1] x, Py_ssize_t last, Py_ssize_t n)
cdef double lowest_of(double[::1] x, Py_ssize_t last, Py_ssize_t n)

@cython.final
cdef class Ring:
    cdef public Py_ssize_t size
    cdef double[::1] x
    cdef long long[::1] state
    cpdef long long push(self, double value)
    cpdef long long count(self)
    cpdef Py_ssize_t last(self)
    cpdef double back(self, Py_ssize_t k)

@cython.final
cdef class Window:
    cdef public Py_ssize_t n
    cdef Ring ring
    cpdef long long push(self, double value)
    cpdef Py_ssize_t filled(self)
    cpdef double mean(self)
    cpdef double variance(self)
    cpdef double std(self)
    cpdef double highest(self)
    cpdef double lowest(self)

@cython.final
cdef class Extreme:
    cdef Py_ssize_t n
    cdef double sign
    cdef double[::1] value
    cdef long long[::1] index
    cdef long long[::1] state
    cpdef double push(self, double x)

@cython.final
cdef class Ema:
    cdef double alpha
    cdef double[::1] s
    cdef long long[::1] state
    cpdef double push(self, double x)
    cpdef double get(self)
    cpdef long long count(self)

@cython.final
cdef class Wilder:
    cdef Py_ssize_t n
    cdef double[::1] s
    cdef long long[::1] state
    cpdef double push(self, double x)
    cpdef double get(self)
    cpdef long long count(self)
