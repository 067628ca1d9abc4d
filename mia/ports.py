"""What shells plug into the core. Synchronous on purpose: nothing on the hot path awaits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, Protocol

from mia.domain.effects import AnyEffect
from mia.domain.events import AnyEvent

NEVER_NS: Final = 1 << 62


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


class Venue(Protocol):
    """Order entry, as the core drives it. Nothing blocks; what the venue answers comes back as events.

    A simulated venue lives in engine time inside the process: its reports are pulled when they are due, and recovery rebuilds it
    from the journal. A real one pushes its reports through `Host.report`; recovery asks it, and never sends anything again.
    """

    is_simulated: bool
    next_due_ns: int  # engine time of the next report of a simulated venue; NEVER_NS for a real one
    active: bool  # wants to hear market events (simulated only)

    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take the effects that address the venue, in order; effects of other kinds are ignored."""
        ...

    def pop(self, until_ns: int, seq: int) -> AnyEvent | None:
        """The next report of a simulated venue due at or before until_ns, as event number seq."""
        ...

    def on_market(self, event: AnyEvent) -> None:
        """A market event that is already in the shared book (simulated only)."""
        ...

    def snapshot(self) -> bytes:
        """What a checkpoint must hold of it; b"" for a real venue."""
        ...

    def restore(self, data: bytes) -> None:
        """Go on from `snapshot`."""
        ...


class Link(Enum):
    """How a connection of the shell stands."""

    CONNECTING = "connecting"
    UP = "up"
    DEGRADED = "degraded"  # three attempts failed; goes on trying for ever
    DOWN = "down"  # ended on purpose


class Host(Protocol):
    """What the process offers to a feed or a broker: one thread, the event loop's; every call returns at once."""

    def now_ns(self) -> int:
        """Receive time now."""
        ...

    def frame(self, codec: Codec, payload: bytes) -> None:
        """One market frame, stamped with the present receive time; runs to the orders it causes before it returns."""
        ...

    def report(self, event: AnyEvent) -> None:
        """A venue report or a health event. Its seq and ts_recv_ns are set here; give 0."""
        ...

    def link(self, name: str, state: Link, detail: str = "") -> None:
        """A connection changed: `name` such as "feed" or "broker", detail in words for status, log and alert."""
        ...


class Alerts(Protocol):
    """Channels to a human."""

    def raise_alert(self, severity: str, code: str, text: str, *, title: str = "", dedup_key: str = "") -> None:
        """Queue one alert (severity info | warning | error | urgent); never blocks. Same dedup_key (default: code): merged."""
        ...
