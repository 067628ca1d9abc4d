from mia.kernels.block cimport Block
from mia.kernels.book cimport Book

cdef class DepthBlock(Block):
    cdef Book book
    cdef double budget
    cdef long long[::1] q
    cpdef long long touch(self)
    cdef double _slope(self, bint is_bid, Py_ssize_t n)
    cdef double _taken(self, bint is_bid)
