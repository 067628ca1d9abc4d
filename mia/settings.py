"""Loading, precedence and the tree of settings: command line > environment > file > default.

Each package owns the Struct of its own section; here they meet, are checked as a whole, and every value knows its source.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.alerts.settings import AlertSettings, MqttSettings
from mia.domain.errors import ConfigError
from mia.domain.ids import instance_number
from mia.domain.instruments import Instrument
from mia.engine.settings import EngineSettings, LaneSettings
from mia.execution.settings import ExecutionSettings
from mia.references.settings import ReferenceSettings
from mia.risk.limits import RiskSettings
from mia.shipped import config_file
from mia.sim.settings import DemoSettings, PaperSettings, SimMarketSettings
from mia.store.settings import StoreSettings
from mia.telemetry.settings import LoggingSettings, MetricsSettings
from mia.venues.settings import LinkSettings

ENV_PREFIX: Final = "MIA__"


class InstanceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[instance]"""

    name: str = "mia"  # of this daemon: small letters and digits; names the state directory, the topics and the orders
    venue: str = "demo"  # traded when neither --venue nor --replay says otherwise

    def __post_init__(self) -> None:
        instance_number(self.name)


class LiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[live]: refused unless enabled here and asked for with --live."""

    enabled: bool = False  # real orders may be sent; `--live` is needed as well


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of miad.toml."""

    instance: InstanceSettings = InstanceSettings()
    engine: EngineSettings = EngineSettings()
    instruments: tuple[Instrument, ...]
    lanes: tuple[LaneSettings, ...]
    risk: RiskSettings
    execution: ExecutionSettings = ExecutionSettings()
    paper: PaperSettings = PaperSettings()
    sim: SimMarketSettings = SimMarketSettings()
    demo: DemoSettings = DemoSettings()
    store: StoreSettings = StoreSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    link: LinkSettings = LinkSettings()
    live: LiveSettings = LiveSettings()
    references: ReferenceSettings = ReferenceSettings()
    alerts: AlertSettings = AlertSettings()
    mqtt: MqttSettings = MqttSettings()

    def __post_init__(self) -> None:
        known = [f"{i.venue}:{i.symbol}" for i in self.instruments]
        doubles = sorted({name for name in known if known.count(name) > 1})
        if doubles:
            raise ConfigError(f"[[instruments]] {doubles[0]} is defined twice")
        for lane in self.lanes:
            if lane.instrument not in known:
                raise ConfigError(f"[[lanes]] instrument {lane.instrument!r} is not among [[instruments]]: {', '.join(known)}")
            for series, other in lane.references.items():
                if getattr(self.references, series):
                    raise ConfigError(f"[references] {series} is a file, and for {lane.instrument} an instrument: keep one")
                same_venue = [name for name in known if name.partition(":")[0] == lane.instrument.partition(":")[0]]
                if other not in same_venue:
                    raise ConfigError(
                        f"[[lanes]] {lane.instrument}: references.{series} = {other!r} is not among the [[instruments]] of its venue: "
                        f"{', '.join(same_venue)}"
                    )


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """Settings with the origin of each value."""

    settings: Settings
    path: Path
    sources: dict[str, str]  # "risk.drawdown_max" -> "file /etc/miad.toml", "environment MIA__...", "default"

    def canonical_json(self) -> str:
        """The merged settings as one line of JSON with sorted keys; what RunStarted records."""
        return msgspec.json.encode(self.settings, order="deterministic").decode()

    def values(self) -> dict[str, Any]:
        """Each setting by its dotted key, as `sources` names them."""
        return dict(_flat(msgspec.to_builtins(self.settings)))

    def hash(self) -> str:
        """sha256 of canonical_json."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


def settings_path(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """--config, else $XDG_CONFIG_HOME/mia/miad.toml when it exists, else the shipped file."""
    if explicit is not None:
        return explicit
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "/") / ".config")
    user = Path(home) / "mia" / "miad.toml"
    return user if user.is_file() else config_file("miad.toml")


class _Places:
    """Where the value of a key came from, for errors."""

    def __init__(self, path: Path, text: str, sources: Mapping[str, str]) -> None:
        self._path, self._text, self._sources = path, text, sources

    def of(self, key: str) -> str:
        """`FILE:LINE` of a key, or the environment variable or the command line when that is what set it."""
        source = self._sources.get(key, "")
        if key and not source:  # a whole section that we do not know: what named it
            source = next((known for name, known in self._sources.items() if name.startswith(f"{key}.")), "")
        return f"{self._path}{_line(self._text, key)}" if source.startswith("file") or not source else source


def load_settings(
    config: Path | None = None, overrides: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Merge all sources into checked Settings; ConfigError names the file, the line and the key.

    overrides: dotted keys from the command line ("instance.venue" -> "sim").
    """
    environ = os.environ if environ is None else environ
    path = settings_path(config, environ)
    text, tree = _read(path)
    sources = dict.fromkeys(_leaves(tree), f"file {path}")
    for dotted, value in _from_environment(environ).items():
        _put(tree, dotted, value, f"environment {ENV_PREFIX}{dotted.replace('.', '__').upper()}")
        sources[dotted] = f"environment {ENV_PREFIX}{dotted.replace('.', '__').upper()}"
    for dotted, value in (overrides or {}).items():
        _put(tree, dotted, value, f"command line {dotted}")
        sources[dotted] = "command line"
    places = _Places(path, text, sources)
    _refuse_not_finite(tree, places)
    settings = _convert(tree, places)
    complete = {key: sources.get(key, "default") for key in _leaves(msgspec.to_builtins(settings))}
    return Loaded(settings=settings, path=path, sources=complete)


def settings_from_json(text: str) -> Settings:
    """Settings as a journal recorded them; ConfigError when they do not fit this version."""
    try:
        return msgspec.json.decode(text, type=Settings)
    except (msgspec.ValidationError, msgspec.DecodeError) as e:
        raise ConfigError(f"the journal's settings do not fit this version of mia: {e}") from e


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: cannot be read ({e}); give a readable file with --config") from e
    try:
        return text, tomllib.loads(text, parse_float=_decimal)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: not valid TOML: {e}") from e


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace("_", ""))


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in sorted(environ.items()):
        if name.startswith(ENV_PREFIX):
            found[name.removeprefix(ENV_PREFIX).lower().replace("__", ".")] = value
    return found


def _put(tree: dict[str, Any], dotted: str, value: str, source: str) -> None:
    *parents, leaf = dotted.split(".")
    node: Any = tree
    for key in parents:
        node = node.setdefault(key, {}) if isinstance(node, dict) else None
    if not isinstance(node, dict) or not parents:
        raise ConfigError(f"{source}: use a key such as risk.drawdown_max (tables of arrays are set in the file)")
    node[leaf] = value


def _leaves(tree: Any) -> Iterator[str]:
    return (key for key, _ in _flat(tree))


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of each leaf: risk.drawdown_max, lanes[0].strategy."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, list | tuple) and any(isinstance(item, Mapping) for item in tree):
        for index, item in enumerate(tree):
            yield from _flat(item, f"{prefix}[{index}]")
    else:
        yield prefix, tree


def _refuse_not_finite(tree: Any, places: _Places, key: str = "") -> None:
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            _refuse_not_finite(value, places, f"{key}.{name}" if key else str(name))
    elif isinstance(tree, list):
        for item in tree:
            _refuse_not_finite(item, places, key)
    elif (isinstance(tree, Decimal) and not tree.is_finite()) or (isinstance(tree, float) and not math.isfinite(tree)):
        raise ConfigError(f"{places.of(key)}: {key} is {tree}; nan and inf are not numbers here")
    elif isinstance(tree, str) and tree.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise ConfigError(f"{places.of(key)}: {key} is {tree!r}; nan and inf are not numbers here")


def _convert(tree: dict[str, Any], places: _Places) -> Settings:
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except ConfigError as e:
        raise ConfigError(_placed(e, places)) from e
    except msgspec.ValidationError as e:
        cause = e.__cause__
        if isinstance(cause, ConfigError):
            raise ConfigError(_placed(cause, places)) from e
        message = str(e)
        named = re.search(r"field `([^`]+)`", message)
        where = re.search(r"at `\$\.?([^`]*)`", message)
        key = ".".join(part for part in ((where.group(1) if where else ""), (named.group(1) if named else "")) if part)
        plain = message.split(" - at ")[0].replace("Object contains", "").replace("Object missing", "missing").strip()
        raise ConfigError(f"{places.of(key)}: {plain}" + (f" at {key}" if key and not key.endswith(plain) else "")) from e


def _placed(error: ConfigError, places: _Places) -> str:
    """An error of a section's own checks (`risk.drawdown_max must ...`, `[paper] cash must ...`) with the place of its key."""
    key = re.match(r"\[*([a-z]+(?:\.[a-z]+)?)\]*[. ]([a-z_]+)", str(error))
    return f"{places.of(f'{key.group(1)}.{key.group(2)}' if key else '')}: {error}"


def _line(text: str, dotted: str) -> str:
    """`:LINE` of a dotted key in TOML text, or "" when it is not there (a default, or set elsewhere)."""
    *section, leaf = re.sub(r"\[\d*\]|\[\.\.\.\]", "", dotted).split(".")
    current = ""
    fallback = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            current = header.group(1)
            if current == dotted or (section and current == ".".join(section) and not fallback):
                fallback = f":{number}"
        elif re.match(rf"\s*\"?{re.escape(leaf)}\"?\s*=", line) and current == ".".join(section):
            return f":{number}"
    return fallback
