"""What a run was built from: its settings and its calendar files, so that a later recovery can step its events as it did."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from mia.assemble import build_engine, calendar_files, calendar_sha256
from mia.domain.errors import DataError
from mia.ports import Venue
from mia.settings import Loaded, settings_from_json
from mia.sim.venue import SimVenue
from mia.store.journal import Journal
from miad.core import Core

_FOLDER: Final = "calendars"


class Past(msgspec.Struct, frozen=True):
    """Settings as RunStarted records them, and the calendar files' digest; "" where an older version did not say."""

    config: str
    calendar: str

    @staticmethod
    def of(loaded: Loaded) -> Past:
        """What a run would be built from now."""
        return Past(loaded.canonical_json(), calendar_sha256())


Build = Callable[[Past], Core]


def keep_calendar(state_dir: Path) -> None:
    """Keep a copy of the calendar files in force under their digest. DataError when that is not permitted."""
    folder = state_dir / _FOLDER / calendar_sha256()
    if folder.is_dir():
        return
    draft = folder.with_suffix(".tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700, parents=True)
        for path in calendar_files():
            shutil.copyfile(path, draft / path.name)
        draft.rename(folder)
    except OSError as e:
        raise DataError(
            f"{folder}: the calendar files cannot be kept ({e.strerror}): give this user rights or choose another --state"
        ) from e


def builder(journal: Journal, state_dir: Path, venue_name: str, venue: Venue) -> Build:
    """Makes cores of then around the same journal: same venue, other settings, the calendar that was kept."""

    def build(past: Past) -> Core:
        settings = settings_from_json(past.config)
        folder = state_dir / _FOLDER / past.calendar
        windows, macro = (folder / path.name for path in calendar_files())
        engine = build_engine(settings, venue_name, (windows, macro) if past.calendar and folder.is_dir() else None)
        if not isinstance(venue, SimVenue):
            return Core(engine, journal, venue, 0)
        books = {m.index: m.book for m in engine.markets}
        return Core(engine, journal, SimVenue(dict(enumerate(engine.config.instruments)), books, settings.paper), 0)

    return build
