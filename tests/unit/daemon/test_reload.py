"""A reload of the settings: live sections and tighter limits come into force, everything else waits and is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from mia.domain.errors import ConfigError
from mia.domain.events import AnyEvent, ConfigChanged
from mia.settings import Loaded, Settings, load_settings
from miad.reload import Reload


class Reloaded:
    """A reload whose file the test writes."""

    def __init__(self) -> None:
        self.file = load_settings(environ={"XDG_CONFIG_HOME": "/nobody"})
        self.log: list[str] = []
        self.events: list[AnyEvent] = []
        self.reload = Reload(self.file, lambda: self.file, self._tell)
        self.reload.on_section["logging"] = lambda section: self.log.append("logging")

    def _tell(self, event: AnyEvent) -> None:
        self.log.append("told")
        self.events.append(event)

    def write(self, section: str, **values: Any) -> None:
        changed = msgspec.structs.replace(getattr(self.file.settings, section), **values)
        settings = msgspec.structs.replace(self.file.settings, **{section: changed})
        self.file = Loaded(settings=settings, path=self.file.path, sources=self.file.sources)

    @property
    def in_force(self) -> Settings:
        return self.reload.loaded.settings


@pytest.mark.parametrize(("change", "is_taken"), [(lambda n: n - 1, True), (lambda n: n + 1, False)])
def test_a_limit_becomes_tighter_and_never_wider(change: Callable[[int], int], is_taken: bool) -> None:
    mia = Reloaded()
    before = mia.in_force.risk.position_lots_max
    mia.write("risk", position_lots_max=change(before))

    (line,) = mia.reload()

    assert mia.in_force.risk.position_lots_max == (change(before) if is_taken else before)
    assert len(mia.events) == is_taken
    assert ("only become tighter" in line) != is_taken


def test_the_journal_hears_of_a_change_before_it_is_in_force() -> None:
    mia = Reloaded()
    mia.write("logging", queue_max=mia.in_force.logging.queue_max + 1)
    mia.write("risk", position_lots_max=mia.in_force.risk.position_lots_max + 1)  # not taken: not in the event, either

    mia.reload()

    assert mia.log == ["told", "logging"]
    (event,) = mia.events
    assert isinstance(event, ConfigChanged)
    assert msgspec.json.decode(event.config, type=Settings, strict=False) == mia.in_force


def test_what_cannot_change_while_trading_waits_and_is_named() -> None:
    mia = Reloaded()
    mia.write("store", sync_interval_ms=mia.in_force.store.sync_interval_ms + 1)

    assert mia.reload() == ["store.sync_interval_ms: waits for a restart"]
    assert mia.events == []


def test_a_file_that_does_not_load_changes_nothing() -> None:
    def broken() -> Loaded:
        raise ConfigError("line 3: odd")

    mia = Reloaded()
    reload = Reload(mia.file, broken, mia._tell)

    with pytest.raises(ConfigError, match="line 3"):
        reload()

    assert (reload.loaded, mia.events) == (mia.file, [])
