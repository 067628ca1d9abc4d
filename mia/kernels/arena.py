"""One block of memory that holds the state of all kernels, so that a snapshot is one copy and forgets nothing.

Not compiled: it only hands out views at build time. A kernel asks for what it needs in its constructor and keeps
all of its changing state there; the same construction order gives the same layout, which `layout_hash` proves.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

_ALIGN: Final = 8


class Arena:
    """A growing-then-frozen allocator of float64 and int64 views over one buffer."""

    def __init__(self, capacity_bytes: int) -> None:
        """capacity_bytes: rounded up to 8; MemoryError when views ask for more."""
        self._bytes = np.zeros((capacity_bytes + 7) // _ALIGN * _ALIGN, dtype=np.uint8)
        self._used = 0
        self._layout: list[str] = []

    @property
    def used_bytes(self) -> int:
        """Bytes handed out so far."""
        return self._used

    @property
    def layout(self) -> str:
        """Types and lengths in order; equal layouts can exchange snapshots."""
        return ",".join(self._layout)

    def _take(self, n: int, code: str) -> memoryview[int]:
        size = max(n, 1) * _ALIGN
        if self._used + size > len(self._bytes):
            raise MemoryError(f"arena of {len(self._bytes)} bytes is full: {self._used} used, {size} more wanted")
        view = self._bytes.data[self._used : self._used + size].cast("B")
        self._used += size
        self._layout.append(f"{code}{n}")
        return view

    def doubles(self, n: int) -> memoryview[Any]:
        """n zeroed float64 (at least one), as a view that compiled and interpreted kernels index alike."""
        return self._take(n, "d").cast("d")

    def longs(self, n: int) -> memoryview[Any]:
        """n zeroed int64 (at least one)."""
        return self._take(n, "q").cast("q")

    def copy_into(self, out: memoryview) -> int:
        """Copy the used part into out (bytes, preallocated); returns its length."""
        out[: self._used] = self._bytes.data[: self._used]
        return self._used

    def snapshot(self) -> bytes:
        """The used part as bytes."""
        return self._bytes[: self._used].tobytes()

    def restore(self, data: bytes) -> None:
        """Overwrite the state; ValueError when the length is not ours (compare `layout` first)."""
        if len(data) != self._used:
            raise ValueError(f"arena snapshot has {len(data)} bytes, this layout needs {self._used}")
        self._bytes[: self._used] = np.frombuffer(data, dtype=np.uint8)
