cdef double div(double a, double b) noexcept
cdef double clip(double x, double low, double high) noexcept
cdef double ratio(double a, double b, double bound) noexcept
cdef double ln_ratio(double a, double b) noexcept
cdef double ln1p_pos(double x) noexcept
cdef double root(double x) noexcept
cdef double decay(long long dt_ns, double tau_s) noexcept
