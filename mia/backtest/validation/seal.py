"""Sealed holdouts: spans of history that no reader of ours gives out before somebody opens them on purpose, for the record.

What is remembered lies in a chained file in the data home (`seal_file`), what is the same as a sealed thing is told by `seal_match`; here
is what may be read, what is sealed, and what every later report has to say. A seal guards against accidents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.validation.seal_file import SealFile
from mia.backtest.validation.seal_match import Reading, Seal, is_same, marks_of, related, word_of
from mia.domain.errors import ConfigError, SealedError
from mia.domain.text import iso_time
from mia.store.state_dir import data_home

Sealed = Literal["refuse", "exclude"]  # what a reader does with rows in a sealed span


class SealLog:
    """The log of seals in the data home; what it holds is read anew by each call."""

    def __init__(self, home: Path | None = None) -> None:
        self._file = SealFile(data_home() if home is None else home)
        self.path = self._file.path

    # --- what is sealed

    def seals(self) -> list[Seal]:
        """All, in the order in which they were made, opened ones included. DataError when the log was tampered with."""
        return _seals_of(self._file.records())

    def related(self, sha256: Iterable[str]) -> set[str]:
        """These files and all that they were made of, or that was made of them, as far as `derived` was told."""
        return related(self._file.records(), set(sha256))

    def hits(self, reading: Reading, *, opened: bool = False) -> list[tuple[Seal, npt.NDArray[np.bool_]]]:
        """Seals that forbid rows of it (opened: that did before they were opened), with the rows that lie in their span."""
        records = self._file.records()
        if not records:
            return []
        family = related(records, set(reading.sha256))
        found = []
        for seal in _seals_of(records):
            if (seal.opened_ns is not None) is not opened:
                continue
            rows = (reading.begin_ns < seal.to_ns) & (reading.end_ns > seal.from_ns)
            if rows.any() and is_same(seal, reading, family):
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
        named = tuple(dict.fromkeys(word_of(text) for text in instruments))
        if "" in named:
            raise ConfigError("--instrument: give a symbol such as BTCUSDT or ES")
        marks = marks_of(bars, from_ns, to_ns) if bars is not None else {}
        with self._file.appending() as append:
            wanted = (from_ns, to_ns, files or {}, named, None)
            for old in _seals_of(self._file.records()):
                if (old.from_ns, old.to_ns, old.files, old.instruments, old.opened_ns) == wanted:
                    raise ConfigError(f"this span is sealed already: {old.text}")
            fact = {"kind": "seal", "from_ns": from_ns, "to_ns": to_ns, "files": files or {}, "instruments": list(named), "marks": marks}
            record = append(fact)
        return _seals_of([record])[0]

    def unseal(self, seal_id: str, reason: str) -> Seal:
        """Open a seal for good. ConfigError without a reason, for an unknown id, and for one that is open already."""
        if not reason.strip():
            raise ConfigError("--reason: say why the holdout is opened: every later report on this data repeats it")
        with self._file.appending() as append:
            seals = _seals_of(self._file.records())
            fitting = [seal for seal in seals if seal_id and seal.id.startswith(seal_id)]
            if len(fitting) != 1:
                known = ", ".join(seal.id for seal in seals if seal.opened_ns is None) or "none"
                raise ConfigError(f"{seal_id!r}: {'more than one seal begins so' if fitting else 'no such seal'}; sealed: {known}")
            if fitting[0].opened_ns is not None:
                raise ConfigError(f"{fitting[0].text} was opened already on {iso_time(fitting[0].opened_ns)[:16]}: {fitting[0].reason}")
            append({"kind": "unseal", "seal": fitting[0].id, "reason": " ".join(reason.split())})
        return next(seal for seal in self.seals() if seal.id == fitting[0].id)

    def derived(self, sha256: str, name: str, sources: Sequence[str]) -> None:
        """Remember that a file was made of others, so that a seal on one is a seal on all. Twice is once.

        Several sources are named once, by a digest of them all, that the records of what was made of them name: those stay short.
        """
        with self._file.appending() as append:
            known = [r for r in self._file.records() if r["kind"] == "derived"]
            made: list[tuple[str, str, Sequence[str]]] = [(sha256, name, sources)]
            if len(sources) > 1:
                together = hashlib.sha256(" ".join(sorted(sources)).encode()).hexdigest()
                made = [(together, f"{len(sources)} files", sources), (sha256, name, [together])]
            for whole, title, parts in made:
                if not any(whole == r["sha256"] and set(parts) <= set(r["sources"]) for r in known):
                    append({"kind": "derived", "sha256": whole, "name": title, "sources": list(parts)})


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


def seal_notes(reading: Reading) -> list[str]:
    """Lines for a report on this data; see SealLog.notes."""
    return SealLog().notes(reading)
