"""Where the marks of an axis stand: round values and round times, as the pages that are drawn here share them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime


def nice_step(x: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below x."""
    power = 10.0 ** math.floor(math.log10(x))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= x * (1 - 1e-9))


def round_times(first_ns: int, last_ns: int) -> Iterator[tuple[int, str]]:
    """Round times of the span with their texts: about ten, months when it is long."""
    span_s = (last_ns - first_ns) / 1e9
    if span_s > 90 * 86_400:
        months = int(span_s / (30.44 * 86_400) / 10) + 1
        step = next((k for k in (1, 2, 3, 6, 12) if k >= months), 12 * math.ceil(months / 12))
        first = datetime.fromtimestamp(first_ns / 1e9, UTC)
        number = (first.year * 12 + first.month - 1) // step * step + step
        while True:
            moment = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
            at_ns = int(moment.timestamp()) * 10**9
            if at_ns > last_ns:
                return
            yield at_ns, f"{moment:%Y-%m}"
            number += step
    steps = (1, 5, 15, 60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400)
    step_ns = next((s for s in steps if s * 10 >= span_s), steps[-1]) * 10**9
    form = "%m-%d" if step_ns >= 86_400 * 10**9 else "%m-%d %H:%M" if step_ns >= 60 * 10**9 else "%H:%M:%S"
    for at_ns in range((first_ns // step_ns + 1) * step_ns, last_ns + 1, step_ns):
        yield at_ns, datetime.fromtimestamp(at_ns / 1e9, UTC).strftime(form)
