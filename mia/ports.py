"""What shells plug into the core. Synchronous on purpose: nothing on the hot path awaits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from mia.domain.effects import AnyEffect
from mia.domain.events import AnyEvent


class Clock(Protocol):
    """The only source of time in the process."""

    def now_ns(self) -> int:
        """Receive time: Unix ns at start plus monotonic time elapsed; never steps back."""
        ...


class Codec(Protocol):
    """Bytes of one venue -> domain events. A pure function of the frames it has seen."""

    def decode(self, payload: bytes, ts_recv_ns: int, seq: int) -> Sequence[AnyEvent]:
        """Events numbered seq, seq + 1, ...; empty when the frame carries nothing for us or was counted as bad."""
        ...

    def counters(self) -> dict[str, int]:
        """What was dropped and why, for status and summaries."""
        ...


class Feed(Protocol):
    """A pull feed: recordings and the simulated market. (Websocket feeds push into the core instead.)"""

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(ts_recv_ns, payload) in order of receive time."""
        ...

    def codec(self) -> Codec:
        """The codec of the payloads."""
        ...


class Broker(Protocol):
    """Order entry. `send` must not block; what the venue answers comes back as events."""

    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take the effects that address the venue, in order."""
        ...


class Alerts(Protocol):
    """Channels to a human."""

    def raise_alert(self, severity: str, code: str, text: str) -> None:
        """Queue one alert; never blocks."""
        ...
