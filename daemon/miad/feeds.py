"""Where frames come from: recordings or the simulated market, behind one shape that can go on where a run stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from mia.assemble import instruments_of, numbered
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent
from mia.ports import Codec
from mia.settings import Settings
from mia.sim.market import SimFeed, SimMarket
from mia.venues.replay.feed import ReplayFeed, resume
from miad.clock import SystemClock
from miad.recovery import Recovered

WARM_UP_NS: Final = 65_000_000_000  # a fresh simulated market begins in the past: the features are warm when trading begins
CONNECTED: Final = ("demo",)  # venues in other processes
_RECORDINGS: Final = "recordings.json"
_DIGESTED_BYTES: Final = 1 << 20
Frames = Iterator[tuple[int, bytes]]
Resumed = tuple[Codec, Frames, Sequence[AnyEvent], int]


class Source(Protocol):
    """One venue's frames."""

    @property
    def venue(self) -> str:
        """Its name."""
        ...

    @property
    def is_replay(self) -> bool:
        """True when time is the recording's and the frames end."""
        ...

    def resume(self, events_done: int, recovered: Recovered, clock: SystemClock, seq: int) -> Resumed:
        """(codec, frames that follow, events at the border, time of the first frame) after events_done market events."""
        ...

    def claim(self, state_dir: Path) -> None:
        """Tie a fresh state directory to this source; DataError when it holds the state of another one."""
        ...

    def snapshot(self, events_done: int) -> bytes:
        """What a checkpoint after events_done market events must hold of the feed; may be empty."""
        ...

    def counters(self) -> dict[str, int]:
        """What was read, and what was dropped and why."""
        ...

    def warnings(self) -> list[str]:
        """One line for each thing that was skipped or is missing."""
        ...


class ReplaySource:
    """Recordings. The codec is a pure function of the frames, so counting its events finds the place again."""

    is_replay: Final = True

    def __init__(self, settings: Settings, paths: Sequence[Path]) -> None:
        self._feed = ReplayFeed(paths, numbered(settings))
        self.venue = self._feed.describe().venue

    def resume(self, events_done: int, recovered: Recovered, clock: SystemClock, seq: int) -> Resumed:
        """See Source."""
        codec = self._feed.codec()
        frames, leftover = resume(self._feed, codec, events_done)
        return codec, frames, leftover, self._feed.describe().first_ns

    def claim(self, state_dir: Path) -> None:
        """See Source. Recordings may be added behind those that a state has begun with, nothing else may change."""
        given = [_fingerprint(Path(path)) for path in self._feed.describe().files]
        known_file = state_dir / _RECORDINGS
        if known_file.exists():
            try:
                known = msgspec.json.decode(known_file.read_bytes(), type=list[str])
            except (OSError, msgspec.MsgspecError) as e:
                raise DataError(f"{known_file}: cannot be read ({e}): start with a new --state") from e
            if given[: len(known)] != known:
                raise DataError(
                    f"{state_dir}: holds the replay of {', '.join(text.split()[0] for text in known)}: "
                    "replay the same files (more may follow), or start with a new --state"
                )
            if given == known:
                return
        try:
            draft = known_file.with_suffix(".tmp")
            draft.write_bytes(msgspec.json.encode(given))
            draft.rename(known_file)
        except OSError as e:
            raise DataError(f"{known_file}: cannot be written ({e.strerror}): give this user rights or choose another --state") from e

    def snapshot(self, events_done: int) -> bytes:
        """Nothing: the files are the state."""
        return b""

    def counters(self) -> dict[str, int]:
        """See Source."""
        return self._feed.counters()

    def warnings(self) -> list[str]:
        """See Source."""
        return self._feed.warnings()


class SimSource:
    """The simulated market, living in this process: its state is part of each checkpoint."""

    is_replay: Final = False
    venue: Final = "sim"

    def __init__(self, settings: Settings) -> None:
        instruments = instruments_of(settings, self.venue)
        if len(instruments) != 1:
            raise ConfigError(f"venue sim trades one instrument, [[instruments]] has {len(instruments)}")
        self._market = SimMarket(settings.sim, instruments[0])
        self._feed: SimFeed | None = None

    def resume(self, events_done: int, recovered: Recovered, clock: SystemClock, seq: int) -> Resumed:
        """See Source. The market goes on where it was; its clock goes on now."""
        start_ns = clock.now_ns()
        if not events_done:
            start_ns -= WARM_UP_NS
        feed = self._feed = SimFeed(self._market, start_ns)
        if recovered.feed:
            feed.restore(recovered.feed)
            feed.skip(recovered.feed_events)
        else:
            feed.skip(events_done)
        if events_done:
            feed.resume_at(start_ns)
        return feed.codec(), feed.frames(), (), start_ns

    def claim(self, state_dir: Path) -> None:
        """Nothing to tie: the market's state is in the snapshots."""

    def snapshot(self, events_done: int) -> bytes:
        """See Source. A frame is one event; the paced loop may hold one frame that is not due yet."""
        return self._feed.snapshot(events_done) if self._feed is not None else b""

    def counters(self) -> dict[str, int]:
        """Nothing is ever dropped."""
        return {}

    def warnings(self) -> list[str]:
        """None."""
        return []


def _fingerprint(path: Path) -> str:
    """Name, size and a digest of the beginning: enough to tell recordings apart, wherever they lie."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read(_DIGESTED_BYTES)).hexdigest()
    return f"{path.name} {path.stat().st_size} {digest[:16]}"


def open_source(settings: Settings, replay: Sequence[Path]) -> Source | None:
    """The recordings, or the configured venue; None for one that we connect to. ConfigError names the venues that exist."""
    if replay:
        return ReplaySource(settings, replay)
    if settings.instance.venue == SimSource.venue:
        return SimSource(settings)
    if settings.instance.venue in CONNECTED:
        return None
    raise ConfigError(
        f"venue {settings.instance.venue!r} cannot be traded by this version: use --venue sim or demo, or --replay with a recording"
    )
