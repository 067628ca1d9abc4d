"""What a journal says of the run that it records: its folder, its settings, instruments and calendar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from mia.assemble import calendar_files, versions
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent, InstrumentDefined, OrderFilled, RunStarted
from mia.settings import Settings, settings_from_json
from mia.store.reader import Entry, JournalReader

_UNREAD: Final = ("paper", "sim", "store", "live", "demo", "alerts", "mqtt", "telemetry", "log")  # sections that no decision reads


def opening_of(journal: Path, entries: Iterator[Entry]) -> tuple[list[Entry], Settings, str, tuple[Path, Path] | None]:
    """(entries read ahead, settings of the run, venue, calendar files): RunStarted says how, InstrumentDefined what is traded."""
    first = next(entries, None)
    if first is None:
        raise DataError(f"{journal}: holds no event yet: nothing to compare")
    if first.seq != 1:
        raise DataError(
            f"{journal}: begins with event {first.seq}, the segments before it are gone: reconcile needs the journal from its first event "
            "([store] journal_keep_days keeps it longer)"
        )
    start, opening, settings, venue = beginning_of(journal, first, entries)
    return opening, settings, venue, _calendar(journal, start.versions.get("calendar", ""))


class _HasEvent(Protocol):
    @property
    def event(self) -> AnyEvent: ...


E = TypeVar("E", bound=_HasEvent)


def beginning_of(journal: Path, first: E, entries: Iterator[E]) -> tuple[RunStarted, list[E], Settings, str]:
    """(its first event, entries read ahead, settings of the run, venue) of a journal that is whole; DataError when it begins otherwise."""
    start = first.event
    if not isinstance(start, RunStarted):
        raise DataError(f"{journal}: event 1 is {type(start).__name__}, not RunStarted: this is not a journal of miad")
    opening, instruments = [first], []
    for entry in entries:
        opening.append(entry)
        if not isinstance(entry.event, InstrumentDefined):
            break
        instruments.append(entry.event.definition)
    if not instruments:
        raise DataError(f"{journal}: no InstrumentDefined follows RunStarted: the run ended before it began")
    venue = instruments[0].venue
    settings = settings_from_json(start.config)
    if instruments != [i for i in settings.instruments if i.venue == venue]:  # the events outrank the settings
        others = [i for i in settings.instruments if i.venue != venue]
        settings = msgspec.structs.replace(settings, instruments=(*instruments, *others))
    return start, opening, settings, venue


def _calendar(journal: Path, sha256: str) -> tuple[Path, Path] | None:
    """(trade_windows.toml, macro_events.csv) of then, which the daemon keeps; None: those in force are the same."""
    if not sha256 or sha256 == versions()["calendar"]:
        return None
    folder = journal.parent / "calendars" / sha256
    if not folder.is_dir():
        raise ConfigError(
            f"{journal}: trade_windows.toml or macro_events.csv are not those of the run, and {folder} is gone: put them back"
        )
    windows, macro = (folder / path.name for path in calendar_files())
    return windows, macro


def pays_in_base(journal: Path, opening: Sequence[Entry]) -> bool:
    """Whether the first buy paid its fee in the coins that it bought, as spot exchanges have it."""
    defined = [e.event for e in opening if isinstance(e.event, InstrumentDefined)]
    if all(event.definition.kind != "spot" for event in defined):
        return False
    buys = (e.event for e in JournalReader(journal) if type(e.event) is OrderFilled and e.event.side > 0)
    first = next(buys, None)
    return first is not None and first.base_fee_e8 > 0


def traded(settings: Settings) -> bytes:
    """What the engine is built from, as bytes."""
    tree: dict[str, Any] = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in _UNREAD}
    return msgspec.json.encode([tree, settings.paper.cash, settings.paper.currency], order="deterministic")
