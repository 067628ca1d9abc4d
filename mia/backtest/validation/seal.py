"""Sealed holdouts: spans of history that no reader of ours gives out before somebody opens them on purpose, for the record.

What is remembered lies in seals.jsonl in the data home: one record a line, each with the hash of the one before it, and in
seals.head how many there are and the last hash; a record that was changed, removed or cut off is noticed, and then nothing is read.
A seal guards against accidents. It finds a file again by its bytes, by what it was made of (`mia data` records that), by the
instrument it names, and by the highs and lows of its days and hours, which no renaming, conversion or resampling changes.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError, DataError, SealedError
from mia.domain.text import iso_time
from mia.store.state_dir import data_home

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
Sealed = Literal["refuse", "exclude"]  # what a reader does with rows in a sealed span
_HOUR: Final = 3_600_000_000_000
_DAY: Final = 24 * _HOUR
_MARKS_MAX: Final = 400  # days, and hours, whose range a seal remembers
_MARKS_SAME: Final = 3  # so many equal ranges are no chance
_FUTURE: Final = re.compile(r"([A-Z0-9]{1,4})[FGHJKMNQUVXZ]\d{1,4}")  # ESH4 names ES, too
_START: Final = "0" * 64


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


class SealLog:
    """The log of seals in the data home; what it holds is read anew by each call."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = data_home() if home is None else home
        self.path = self._home / "seals.jsonl"
        self._head = self._home / "seals.head"

    # --- what is sealed

    def seals(self) -> list[Seal]:
        """All, in the order in which they were made, opened ones included. DataError when the log was tampered with."""
        return _seals_of(self._records())

    def related(self, sha256: Iterable[str]) -> set[str]:
        """These files and all that they were made of, or that was made of them, as far as `derived` was told."""
        return _related(self._records(), set(sha256))

    def hits(self, reading: Reading, *, opened: bool = False) -> list[tuple[Seal, npt.NDArray[np.bool_]]]:
        """Seals that forbid rows of it (opened: that did before they were opened), with the rows that lie in their span."""
        records = self._records()
        if not records:
            return []
        family = _related(records, set(reading.sha256))
        found = []
        for seal in _seals_of(records):
            if (seal.opened_ns is not None) is not opened:
                continue
            rows = (reading.begin_ns < seal.to_ns) & (reading.end_ns > seal.from_ns)
            if rows.any() and _is_same(seal, reading, family):
                found.append((seal, rows))
        return found

    def applying(self, sha256: Iterable[str], names: frozenset[str]) -> list[Seal]:
        """Seals that hold for these files or instruments, whatever time is asked for."""
        always = Reading(sha256=tuple(sha256), names=names, begin_ns=np.zeros(1, np.int64), end_ns=np.full(1, 2**62, np.int64))
        return [seal for seal, _ in self.hits(always)]

    def allowed(self, reading: Reading, name: str, sealed: Sealed = "refuse") -> tuple[npt.NDArray[np.bool_] | None, list[str]]:
        """(rows that may be read, or None for all; notes). SealedError says which seal is in the way and what to do."""
        hits = self.hits(reading)
        if not hits:
            return None, []
        keep = np.ones(len(reading.begin_ns), dtype=np.bool_)
        notes = []
        for seal, rows in hits:
            if sealed == "refuse":
                first, last = (iso_time(int(reading.begin_ns[np.flatnonzero(rows)[k]]))[:16] for k in (0, -1))
                raise SealedError(
                    f"{name}: {int(rows.sum())} rows ({first} to {last}) lie in the sealed span {seal.text}: read up to it, leave its "
                    f'rows out (--exclude-sealed, where a verb has it), or open it for good: mia backtest unseal {seal.id} --reason "..."'
                )
            keep &= ~rows
            notes.append(f"{name}: {int(rows.sum())} rows left out: sealed span {seal.text}")
        if not keep.any():
            raise SealedError(f"{name}: all of it is sealed: {', '.join(seal.text for seal, _ in hits)}")
        return keep, notes

    def notes(self, reading: Reading) -> list[str]:
        """What every report on this data has to say: holdouts that were opened (when, by whom, why), and those that still hold."""
        lines = []
        opened = self.hits(reading, opened=True)
        for k, (seal, rows) in enumerate(opened):
            seen = f"{int(rows.sum())} rows of this data lie in it and are" if len(rows) > 1 else "what of it this data holds is"
            lines.append(
                f"holdout {seal.text} was opened on {iso_time(seal.opened_ns or 0)[:16]} UTC by {seal.opened_by} (opening {k + 1} of "
                f"{len(opened)} on this data): {seal.reason}; {seen} out of sample no more"
            )
        lines += [
            f"holdout {seal.text} is sealed: no row of it is in these numbers" for seal in self.applying(reading.sha256, reading.names)
        ]
        return lines

    # --- what is written

    def seal(
        self,
        from_ns: int,
        to_ns: int,
        *,
        files: dict[str, str] | None = None,
        instruments: Sequence[str] = (),
        bars: Reading | None = None,
    ) -> Seal:
        """Seal a span of files (sha256 -> name), of instruments, or both. bars: of the files, whose ranges are remembered.

        ConfigError for an empty span, nothing to seal, or what is sealed already.
        """
        if not from_ns < to_ns:
            raise ConfigError(f"--from {iso_time(from_ns)[:16]} is not before --to {iso_time(to_ns)[:16]}: nothing would be sealed")
        if not files and not instruments:
            raise ConfigError("say what is to be sealed: --data FILE, --instrument SYMBOL, or both")
        named = tuple(dict.fromkeys(_word(text) for text in instruments))
        if "" in named:
            raise ConfigError("--instrument: give a symbol such as BTCUSDT or ES")
        marks = _marks(bars, from_ns, to_ns) if bars is not None else {}
        with self._appending() as append:
            wanted = (from_ns, to_ns, files or {}, named, None)
            for old in _seals_of(self._records()):
                if (old.from_ns, old.to_ns, old.files, old.instruments, old.opened_ns) == wanted:
                    raise ConfigError(f"this span is sealed already: {old.text}")
            fact = {"kind": "seal", "from_ns": from_ns, "to_ns": to_ns, "files": files or {}, "instruments": list(named), "marks": marks}
            record = append(fact)
        return _seals_of([record])[0]

    def unseal(self, seal_id: str, reason: str) -> Seal:
        """Open a seal for good. ConfigError without a reason, for an unknown id, and for one that is open already."""
        if not reason.strip():
            raise ConfigError("--reason: say why the holdout is opened: every later report on this data repeats it")
        with self._appending() as append:
            seals = _seals_of(self._records())
            fitting = [seal for seal in seals if seal_id and seal.id.startswith(seal_id)]
            if len(fitting) != 1:
                known = ", ".join(seal.id for seal in seals if seal.opened_ns is None) or "none"
                raise ConfigError(f"{seal_id!r}: {'more than one seal begins so' if fitting else 'no such seal'}; sealed: {known}")
            if fitting[0].opened_ns is not None:
                raise ConfigError(f"{fitting[0].text} was opened already on {iso_time(fitting[0].opened_ns)[:16]}: {fitting[0].reason}")
            append({"kind": "unseal", "seal": fitting[0].id, "reason": " ".join(reason.split())})
        return next(seal for seal in self.seals() if seal.id == fitting[0].id)

    def derived(self, sha256: str, name: str, sources: Sequence[str]) -> None:
        """Remember that a file was made of others, so that a seal on one is a seal on all. Twice is once."""
        with self._appending() as append:
            known = [r for r in self._records() if r["kind"] == "derived" and r["sha256"] == sha256]
            if not any(set(sources) <= set(r["sources"]) for r in known):
                append({"kind": "derived", "sha256": sha256, "name": name, "sources": list(sources)})

    # --- the log

    @contextmanager
    def _appending(self) -> Iterator[Any]:
        """A function that adds a record, while no other process does."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            with (self._home / "seals.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield self._append
        except OSError as e:
            raise DataError(f"{self.path}: cannot be written ({e.strerror or e}): check rights and disk") from None

    def _append(self, fact: dict[str, Any]) -> dict[str, Any]:
        records = self._records()
        prev = records[-1]["hash"] if records else _START
        record = {"n": len(records) + 1, "at_ns": time.time_ns(), "by": _user(), **fact, "prev": prev}
        record["hash"] = _hash(record)
        line = json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n"
        with self.path.open("ab") as file:
            if file.tell() and self._torn():
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        scratch = self._head.with_suffix(".tmp")
        with scratch.open("w", encoding="utf-8") as file:
            file.write(f"{record['n']} {record['hash']}\n")
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self._head)
        return record

    def _torn(self) -> bool:
        """Did a writer die in the middle of the last line? Its verb never said that it was done."""
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"

    def _records(self) -> list[dict[str, Any]]:
        """All, with the chain and the head checked."""
        head = self._read_head()  # before the log: a writer appends to that first, so the head never knows of more
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            lines = [b""]
        except OSError as e:
            raise DataError(f"{self.path}: cannot be read ({e.strerror}): no history is read without it") from None
        records: list[dict[str, Any]] = []
        prev = _START
        for number, line in enumerate(lines, 1):
            record = _decoded(line)
            if record is None:
                if line and number < len(lines) and not self._was_torn(lines, number, prev):
                    raise self._broken(f"line {number} is no record")
                continue
            if record.get("prev") != prev or record.get("hash") != _hash(record) or record.get("n") != len(records) + 1:
                raise self._broken(f"line {number} was changed, or one before it removed")
            prev = record["hash"]
            records.append(record)
        if head is None:
            # A writer that died before its first head leaves one record; one that was at work just now has written it since.
            if len(records) > 1 and self._read_head() is None:
                raise self._broken(f"{self._head.name} is missing")
        elif not 0 < head[0] <= len(records) or records[head[0] - 1]["hash"] != head[1]:
            raise self._broken(f"it has {len(records)} records, {self._head.name} knows of {max(head[0], 0)}")
        return records

    @staticmethod
    def _was_torn(lines: Sequence[bytes], number: int, prev: str) -> bool:
        """A half line is harmless when the next record goes on from the one before it."""
        following = _decoded(lines[number]) if number < len(lines) else None
        return following is not None and following.get("prev") == prev

    def _read_head(self) -> tuple[int, str] | None:
        """(records, last hash); (-1, "") when it is no such thing, None when there is none."""
        try:
            text = self._head.read_text(encoding="utf-8", errors="replace").split()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise DataError(f"{self._head}: cannot be read ({e.strerror}): no history is read without it") from None
        return (int(text[0]), text[1]) if len(text) == 2 and text[0].isdecimal() else (-1, "")

    def _broken(self, what: str) -> SealedError:
        return SealedError(
            f"{self.path}: the log of sealed holdouts is not as it was written: {what}: restore a copy; until then no history is read"
        )


def names_in(texts: Iterable[str]) -> frozenset[str]:
    """Instruments that file names or symbol columns may name: each word, two neighbours joined (BTC_USDT), the root of a future."""
    found: set[str] = set()
    for text in texts:
        words = [w for w in re.split(r"[^A-Z0-9]+", text.upper()) if w]
        found.update(words)
        found.update(a + b for a, b in itertools.pairwise(words))
    found.update(match[1] for word in tuple(found) if (match := _FUTURE.fullmatch(word)))
    return frozenset(found)


def _word(text: str) -> str:
    """An instrument without its venue and punctuation: binance_spot:BTC/USDT is BTCUSDT."""
    return re.sub(r"[^A-Z0-9]", "", text.rpartition(":")[2].upper())


def _is_same(seal: Seal, reading: Reading, family: set[str]) -> bool:
    """Is it of what the seal is of?"""
    if family & seal.files.keys() or reading.names & set(seal.instruments):
        return True
    if not seal.marks or reading.high is None:
        return False
    marks = _marks(reading, seal.from_ns, seal.to_ns, wanted=seal.marks.keys())
    return sum(seal.marks[key] == value for key, value in marks.items()) >= min(_MARKS_SAME, len(seal.marks))


def _marks(bars: Reading, from_ns: int, to_ns: int, wanted: Iterable[str] | None = None) -> dict[str, str]:
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


def _related(records: Sequence[dict[str, Any]], sha256: set[str]) -> set[str]:
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


def _seals_of(records: Sequence[dict[str, Any]]) -> list[Seal]:
    seals: dict[str, Seal] = {}
    for r in records:
        if r["kind"] == "seal":
            seal = Seal(
                id=r["hash"][:8], from_ns=r["from_ns"], to_ns=r["to_ns"], files=r["files"], instruments=tuple(r["instruments"]),
                marks=r["marks"], at_ns=r["at_ns"], by=r["by"],
            )  # fmt: skip
            seals[seal.id] = seal
        elif r["kind"] == "unseal":
            opened = {"opened_ns": r["at_ns"], "opened_by": r["by"], "reason": r["reason"]}
            seals[r["seal"]] = msgspec.structs.replace(seals[r["seal"]], **opened)
    return list(seals.values())


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line) if line.strip() else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _hash(record: dict[str, Any]) -> str:
    body = {k: v for k, v in record.items() if k != "hash"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user: a container
        return str(os.getuid())


def span_reading(files: dict[str, str], first_ns: int, last_ns: int) -> Reading:
    """What a finished run knows of its data: files (sha256 -> name) and their span."""
    return Reading(
        sha256=tuple(files), names=names_in(files.values()), begin_ns=np.array([first_ns], dtype=np.int64), end_ns=np.array([last_ns + 1])
    )


def seal_notes(reading: Reading) -> list[str]:
    """Lines for a report on this data; see SealLog.notes."""
    return SealLog().notes(reading)
