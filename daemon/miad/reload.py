"""SIGHUP and `reload`: the settings are read again, and what may change while trading comes into force.

[logging], [alerts] and [mqtt] change at once; limits of [risk] may only become tighter. Everything else waits for a
restart and is named. A file that does not load changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.events import AnyEvent, ConfigChanged
from mia.risk.limits import RiskSettings
from mia.settings import Loaded, Settings

LIVE_SECTIONS: Final = ("logging", "alerts", "mqtt")
_log = logging.getLogger("miad.reload")


class Reload:
    """Knows the settings in force."""

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded], tell: Callable[[AnyEvent], None]) -> None:
        """load: reads them again (ConfigError)."""
        self.loaded = loaded
        self._load: Final = load
        self._tell: Final = tell
        self._lowerable: Final = frozenset(name.partition(".")[0] for name, _ in loaded.settings.risk.as_limits())
        self.on_section: Final[dict[str, Callable[[Any], None]]] = {}  # [section] -> who takes its new settings

    def __call__(self) -> list[str]:
        """One line for each key that changed or was refused; ConfigError when the file does not load."""
        try:
            wanted = self._load()
        except ConfigError as e:
            _log.error("reload refused, nothing changed: %s", e)
            raise
        old, new = self.loaded.values(), wanted.values()
        keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        merged, taken = self._merge(wanted.settings, keys, old, new)
        lines = [f"{key} = {new.get(key)}" for key in taken]
        lines += [f"{key}: {self._why_not(key)}" for key in keys if key not in taken]
        if taken:
            changed = Loaded(settings=merged, path=wanted.path, sources=wanted.sources)
            self._tell(ConfigChanged(0, 0, 0, changed.canonical_json(), changed.hash()))
            self.loaded = changed
            for section in sorted({key.split(".")[0] for key in taken} & self.on_section.keys()):
                self.on_section[section](getattr(merged, section))
        for line in lines or ["no setting changed"]:
            _log.info("reload: %s", line)
        return lines

    def _merge(self, wanted: Settings, keys: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Settings, list[str]]:
        """The settings in force with what may be taken of the wanted ones, and its keys."""
        settings = self.loaded.settings
        live = {name: getattr(wanted, name) for name in LIVE_SECTIONS if name in settings.__struct_fields__}
        taken = [key for key in keys if key.split(".")[0] in live]
        lowered = [key for key in keys if self._is_lower(key, old.get(key), new.get(key))]
        risk = msgspec.structs.replace(settings.risk, **_changed(settings.risk, wanted.risk, lowered)) if lowered else settings.risk
        return msgspec.structs.replace(settings, risk=risk, **live), sorted(taken + lowered)

    def _is_lower(self, key: str, old: Any, new: Any) -> bool:
        section, _, name = key.partition(".")
        if section != "risk" or name.partition(".")[0] not in self._lowerable or old is None or new is None:
            return False
        return bool(new < old)

    def _why_not(self, key: str) -> str:
        section, _, name = key.partition(".")
        if section == "risk" and name.partition(".")[0] in self._lowerable:
            return "a limit may only become tighter while trading; a wider one waits for a restart"
        return "waits for a restart"


def _changed(old: RiskSettings, wanted: RiskSettings, keys: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in keys:
        name, _, symbol = key.removeprefix("risk.").partition(".")
        if symbol:
            table = found.setdefault(name, dict(getattr(old, name)))
            table[symbol] = getattr(wanted, name)[symbol]
        else:
            found[name] = getattr(wanted, name)
    return found
