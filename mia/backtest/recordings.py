"""Recordings as offline code reads them: the replay venue's feed, which stops at sealed spans. The daemon replays without it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mia.backtest.readers import file_sha256
from mia.backtest.validation.seal import Sealed, SealLog
from mia.backtest.validation.seal_match import names_in
from mia.domain.errors import SealedError
from mia.domain.instruments import Instrument, InstrumentId
from mia.domain.text import iso_time
from mia.venues.replay.feed import ReplayFeed


def open_recording(
    paths: Sequence[Path], instruments: Iterable[tuple[InstrumentId, Instrument]], sealed: Sealed = "refuse", to_ns: int = 0
) -> RecordedHistory:
    """The recordings as a feed; errors as ReplayFeed, and SealedError at the first frame that lies in a sealed span.

    to_ns: frames after it are not looked at; 0: all. sealed: `exclude` leaves sealed frames out, `warnings` says how many; the book
    is lost there as it is in a gap of the feed.
    """
    return RecordedHistory(paths, instruments, sealed, to_ns)


class RecordedHistory(ReplayFeed):
    """Recorded frames, less those that are sealed."""

    def __init__(
        self, paths: Sequence[Path], instruments: Iterable[tuple[InstrumentId, Instrument]], sealed: Sealed = "refuse", to_ns: int = 0
    ) -> None:
        super().__init__(paths, instruments)
        self.sha256 = tuple(file_sha256(path) for path in paths)
        self.names = names_in([*(path.name for path in paths), *self.instruments])
        self._name = ", ".join(path.name for path in paths)
        self._seals = SealLog().applying(self.sha256, self.names)
        self._sealed = sealed
        self._to_ns = to_ns
        self._left_out = 0
        next(self.frames(), None)  # known before anything is made of it

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(ts_recv_ns, payload) in order of receive time; SealedError at a sealed frame."""
        if not self._seals and not self._to_ns:
            return super().frames()
        return self._open_frames()

    def _open_frames(self) -> Iterator[tuple[int, bytes]]:
        self._left_out = 0
        for frame in super().frames():
            if self._to_ns and frame[0] > self._to_ns:
                return
            seal = next((s for s in self._seals if s.from_ns <= frame[0] < s.to_ns), None)
            if seal is None:
                yield frame
            elif self._sealed == "exclude":
                self._left_out += 1
            else:
                raise SealedError(
                    f"{self._name}: the frame of {iso_time(frame[0])} lies in the sealed span {seal.text}: take recordings before it, "
                    "leave its frames out (--exclude-sealed, where a verb has it), or open it for good: "
                    f'mia backtest unseal {seal.id} --reason "..."'
                )

    def warnings(self) -> list[str]:
        """One line for each thing that was skipped or is missing."""
        left = [f"{self._name}: {self._left_out} frames left out: {', '.join(s.text for s in self._seals)}"] if self._left_out else []
        return super().warnings() + left
