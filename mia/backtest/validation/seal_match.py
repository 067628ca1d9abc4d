"""What a seal is of, and whether something that is about to be read is the same: by its bytes, names, and the ranges of its days and hours.

The ranges (highs and lows) do not change by renaming, conversion or resampling.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.text import iso_time

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
_HOUR: Final = 3_600_000_000_000
_DAY: Final = 24 * _HOUR
_MARKS_MAX: Final = 4_400  # days, and hours, whose range a seal remembers: every hour of half a year, 130 kB
_MARKS_SAME: Final = 3  # so many equal ranges are no chance
_FUTURE: Final = re.compile(r"([A-Z0-9]{1,4})[FGHJKMNQUVXZ]\d{1,4}")  # ESH4 names ES, too


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span from from_ns to to_ns (exclusive), of these files and instruments. marks: ranges of its days and hours."""

    id: str
    from_ns: int
    to_ns: int
    files: dict[str, str] = {}  # sha256 -> name
    instruments: tuple[str, ...] = ()
    marks: dict[str, str] = {}
    at_ns: int = 0
    by: str = ""
    opened_ns: int | None = None
    opened_by: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """For messages."""
        what = ", ".join([*self.instruments, *self.files.values()])
        return f"{self.id} ({iso_time(self.from_ns)[:16]} to {iso_time(self.to_ns)[:16]} UTC of {what})"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody is about to read: files, the instruments they name, and rows (of bars with their highs and lows)."""

    sha256: tuple[str, ...]
    names: frozenset[str]
    begin_ns: I64
    end_ns: I64
    high: F64 | None = None
    low: F64 | None = None


def names_in(texts: Iterable[str]) -> frozenset[str]:
    """Instruments that file names or symbol columns may name: each word, two neighbours joined (BTC_USDT), the root of a future."""
    found: set[str] = set()
    for text in texts:
        words = [w for w in re.split(r"[^A-Z0-9]+", text.upper()) if w]
        found.update(words)
        found.update(a + b for a, b in itertools.pairwise(words))
    found.update(match[1] for word in tuple(found) if (match := _FUTURE.fullmatch(word)))
    return frozenset(found)


def word_of(text: str) -> str:
    """An instrument without its venue and punctuation: binance_spot:BTC/USDT is BTCUSDT."""
    return re.sub(r"[^A-Z0-9]", "", text.rpartition(":")[2].upper())


def is_same(seal: Seal, reading: Reading, family: set[str]) -> bool:
    """Is it of what the seal is of?"""
    if family & seal.files.keys() or reading.names & set(seal.instruments):
        return True
    if not seal.marks or reading.high is None:
        return False
    marks = marks_of(reading, seal.from_ns, seal.to_ns, wanted=seal.marks.keys())
    return sum(seal.marks[key] == value for key, value in marks.items()) >= min(_MARKS_SAME, len(seal.marks))


def marks_of(bars: Reading, from_ns: int, to_ns: int, wanted: Iterable[str] | None = None) -> dict[str, str]:
    """The range (high, low) of whole UTC days and hours in the span, by d<day> and h<hour>, as short digests.

    Resampling within a day keeps a day's range, within an hour an hour's. wanted: only these, else evenly chosen ones.
    """
    assert bars.high is not None
    assert bars.low is not None
    found: dict[str, str] = {}
    asked = None if wanted is None else set(wanted)
    for letter, unit in (("d", _DAY), ("h", _HOUR)):
        inside = (bars.begin_ns >= -(-from_ns // unit) * unit) & (bars.end_ns <= to_ns // unit * unit)
        inside &= bars.begin_ns // unit == (bars.end_ns - 1) // unit
        at = np.flatnonzero(inside)
        if not len(at):
            continue
        numbers = bars.begin_ns[at] // unit
        edges = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        highs, lows = np.maximum.reduceat(bars.high[at], edges), np.minimum.reduceat(bars.low[at], edges)
        chosen: Iterable[int] = range(len(edges))
        if asked is None and len(edges) > _MARKS_MAX:
            chosen = np.linspace(0, len(edges) - 1, _MARKS_MAX).astype(int).tolist()
        for k in chosen:
            key = f"{letter}{int(numbers[edges[k]])}"
            if (asked is None or key in asked) and highs[k] > lows[k]:  # flat ones are alike everywhere
                found[key] = hashlib.sha256(f"{key} {float(highs[k])!r} {float(lows[k])!r}".encode()).hexdigest()[:12]
    return found


def related(records: Sequence[dict[str, Any]], sha256: set[str]) -> set[str]:
    """These files and all that they were made of, or that was made of them, by the records of what was derived."""
    links = [{r["sha256"], *r["sources"]} for r in records if r["kind"] == "derived"]
    found = set(sha256)
    grew = True
    while grew:
        grew = False
        for link in links:
            if found & link and not link <= found:
                found |= link
                grew = True
    return found


def span_reading(files: dict[str, str], first_ns: int, last_ns: int) -> Reading:
    """What a finished run knows of its data: files (sha256 -> name) and their span."""
    return Reading(
        sha256=tuple(files), names=names_in(files.values()), begin_ns=np.array([first_ns], dtype=np.int64), end_ns=np.array([last_ns + 1])
    )
