"""Reference series that are other instruments which the same daemon hears: what of them counts, and for how long.

The value is the price of the last trade, known when we heard it: at the close of a bar it is the close of the other instrument's
bar of the same interval, as candle files have it.
"""

from __future__ import annotations

from typing import Final

PRICES: Final = ("ref", "ref2", "spot", "perp")  # the series that are prices of an instrument
_SILENT_NS_MAX: Final = 300_000_000_000  # as long as trades of the instrument itself may stop
_BARS: Final = 3


def valid_ns(interval_ns: int) -> int:
    """How long a trade counts: five minutes, or three bars when these are longer (0: bars without an interval)."""
    return max(_SILENT_NS_MAX, _BARS * interval_ns)
