"""What features may know of the calendar: sessions, scheduled events, expiries. Made by the shell from the calendar files."""

from __future__ import annotations

from array import array

import msgspec


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """Of one instrument family; Unix ns, each tuple rising.

    opens_ns, closes_ns: sessions, row for row; empty for a market of UTC days. event_ns, event_impact: scheduled events and
    their impact in [0, 1]. expiry_ns: ends of contracts (rolls are the shell's business). valid_until_ns: past it nothing
    here is known.
    """

    opens_ns: tuple[int, ...] = ()
    closes_ns: tuple[int, ...] = ()
    event_ns: tuple[int, ...] = ()
    event_impact: tuple[float, ...] = ()
    expiry_ns: tuple[int, ...] = ()
    valid_until_ns: int = 4_102_444_800_000_000_000  # 2100

    @property
    def opens(self) -> memoryview[int]:
        """opens_ns as a kernel takes it."""
        return memoryview(array("q", self.opens_ns))

    @property
    def closes(self) -> memoryview[int]:
        """closes_ns as a kernel takes it."""
        return memoryview(array("q", self.closes_ns))


UTC_DAYS = Calendar()
