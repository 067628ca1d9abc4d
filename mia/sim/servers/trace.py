"""What a latency benchmark needs of the exchange's side: when market frames left and when orders came, one line each.

`F <monotonic ns> <stream> <numbers>` just before the write of a frame (bookTicker: u b B a A; trade: t), `O <monotonic ns>
<client order id> <symbol>` when an order's bytes came.
"""

from __future__ import annotations

from pathlib import Path


class Trace:
    """Lines in memory, written out now and then and at the end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lines: list[str] = []
        self._frames: list[str] = []

    def frame(self, stream: str, numbers: str) -> None:
        """A frame that the next `sent` stamps."""
        self._frames.append(f"{stream} {numbers}\n")

    def sent(self, now_ns: int) -> None:
        """The frames since the last call are written now."""
        if self._frames:
            self._lines += [f"F {now_ns} {frame}" for frame in self._frames]
            self._frames = []

    def order(self, received_ns: int, client_order_id: str, symbol: str) -> None:
        """An order came."""
        self._lines.append(f"O {received_ns} {client_order_id} {symbol}\n")

    def flush(self) -> None:
        """Into the file."""
        self._file.write("".join(self._lines))
        self._file.flush()
        self._lines = []
