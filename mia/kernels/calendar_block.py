"""Clock features from integer arithmetic on UTC nanoseconds."""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.math import cos, sin
    from cython.cimports.mia.kernels.block import Block
else:
    from math import cos, sin

    from mia.kernels.block import Block

SLOTS = (
    "tod_sin", "tod_cos", "dow_sin", "dow_cos", "hour_sin", "hour_cos", "funding_progress", "is_weekend", "us_session",
    "eu_session",
)  # fmt: skip


@cython.cclass
class CalendarBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml."""

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        # The numbers of ns in a day, a minute, an hour and 8 hours are written out: literals divide faster.
        p = self.pool
        b: cython.Py_ssize_t = self.base
        day_ns: cython.longlong = t_ns % 86_400_000_000_000
        weekday: cython.longlong = (t_ns // 86_400_000_000_000 + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        minute: cython.longlong = day_ns // 60_000_000_000
        x: cython.double = day_ns * (6.283185307179586 / 86_400e9)
        p[b] = sin(x)
        p[b + 1] = cos(x)
        x = weekday * (6.283185307179586 / 7.0)
        p[b + 2] = sin(x)
        p[b + 3] = cos(x)
        x = (day_ns % 3_600_000_000_000) * (6.283185307179586 / 3_600e9)
        p[b + 4] = sin(x)
        p[b + 5] = cos(x)
        p[b + 6] = (day_ns % 28_800_000_000_000) / 28_800e9
        p[b + 7] = 1.0 if weekday >= 5 else 0.0
        p[b + 8] = 1.0 if weekday < 5 and minute >= 810 and minute < 1200 else 0.0
        p[b + 9] = 1.0 if weekday < 5 and minute >= 420 and minute < 930 else 0.0
        return 0
