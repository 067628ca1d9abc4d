cpdef long long mul_div(long long a, long long b, long long c, long long plus) noexcept
