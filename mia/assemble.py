"""From settings to an engine: which instruments and lanes of a venue, which strategies, which windows. Used by every shell."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from mia import KERNELS_MODE, __version__
from mia.domain.errors import ConfigError
from mia.domain.instruments import MONEY_SCALE, Instrument, InstrumentId
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.engine.settings import LaneSettings
from mia.features.calendars import Calendar, family_calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import KNOWN_COLUMNS
from mia.features.series import REFERENCE_NUMBER
from mia.policy.ensemble import PREFIX, EnsembleFile, MemberFile, load_ensemble
from mia.policy.rules import make_rule
from mia.policy.strategy import Strategy
from mia.risk.windows import Windows, load_windows
from mia.settings import Settings
from mia.shipped import config_file, shipped
from mia.store.state_dir import data_home

# Spot exchanges lock the coins of a resting stop, so an exit could not be sent beside it: the engine watches these levels itself.
STOPS_WATCHED_HERE: Final = ("demo",)
CALENDAR_YEARS: Final = 3  # how far before its valid_until a family's session table begins, which is all that is built at start
_FINGERPRINTED: Final = ("onnxruntime", "numpy", "msgspec", "Cython")


def versions() -> dict[str, str]:
    """What byte-identical replay depends on: our version and build, wheels, libc, machine, and the calendar files."""
    found = {"mia": __version__, "kernels": KERNELS_MODE, "python": platform.python_version()}
    for name in _FINGERPRINTED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    found["libc"] = "-".join(platform.libc_ver())
    found["machine"] = platform.machine()
    found["calendar"] = calendar_sha256()
    return found


def calendar_files() -> tuple[Path, Path]:
    """(trade_windows.toml, macro_events.csv): the user's own beside miad.toml, else the shipped ones."""
    return _own_or_shipped("trade_windows.toml"), _own_or_shipped("macro_events.csv")


def calendar_sha256() -> str:
    """First digits of the digest of both calendar files: decisions depend on them, and the settings do not hold them."""
    digest = hashlib.sha256()
    try:
        for path in calendar_files():
            digest.update(path.read_bytes() + b"\0")
    except OSError:
        return "absent"
    return digest.hexdigest()[:12]


def instruments_of(settings: Settings, venue: str) -> tuple[Instrument, ...]:
    """The instruments of one venue, in the order of the settings; ConfigError when there are none."""
    found = tuple(i for i in settings.instruments if i.venue == venue)
    if not found:
        known = ", ".join(sorted({i.venue for i in settings.instruments}))
        raise ConfigError(f"venue {venue!r} has no [[instruments]]; known venues: {known}")
    return found


def numbered(settings: Settings) -> list[tuple[InstrumentId, Instrument]]:
    """Every instrument with the id it gets when its venue is traded: its place among the instruments of that venue."""
    seen: dict[str, int] = {}
    result = []
    for instrument in settings.instruments:
        number = seen.get(instrument.venue, 0)
        seen[instrument.venue] = number + 1
        result.append((InstrumentId(number), instrument))
    return result


def model_folders(environ: Mapping[str, str] | None = None) -> list[Path]:
    """Where bundles are looked for by name: the user's own, then what ships with us."""
    own = data_home(environ) / "models"
    try:
        return [own, shipped("models")]
    except FileNotFoundError:  # installed without models: rules need none
        return [own]


def load_strategy(lane: LaneSettings, family: str) -> Strategy:
    """The rule or the verified bundle of one lane; ConfigError names what does not fit."""
    try:
        return _load(lane, family)
    except ConfigError as e:
        raise ConfigError(f"[[lanes]] {lane.instrument}: {e}") from e


def _load(lane: LaneSettings, family: str) -> Strategy:
    if lane.rule:
        interval_ms = 100 if lane.min_interval_ms is None else lane.min_interval_ms
        return make_rule(lane.rule, lane.params, trigger=lane.trigger or "bar", min_interval_ms=interval_ms, bar=lane.bars or "time:1s")
    if lane.strategy.startswith(PREFIX):
        inputs = {name: feature.inputs for name, feature in shipped_catalogue().by_name.items()}
        path = _ensemble_file(lane.strategy.removeprefix(PREFIX))
        return load_ensemble(path, lambda file, member: _member(lane, family, file, member), inputs)
    from mia.policy.bundle import load_bundle  # and with it the model runtime, which rules do without: 15 MB of a run

    return load_bundle(
        lane.strategy,
        catalogue_sha256=shipped_catalogue().hash,
        family=family,
        trigger=lane.trigger,
        known_columns=KNOWN_COLUMNS,
        folders=model_folders(),
    )


def _ensemble_file(name_or_path: str) -> Path:
    """By path (it holds a separator or ends in .json), or by name among the user's own."""
    if "/" in name_or_path or name_or_path.endswith(".json"):
        return Path(name_or_path)
    return model_folders()[0].parent / "ensembles" / f"{name_or_path}.json"


def _member(lane: LaneSettings, family: str, file: EnsembleFile, member: MemberFile) -> Strategy:
    """One member of the lane's ensemble: a rule decides as the file says, a model as its manifest says."""
    if lane.trigger not in (None, file.trigger):
        raise ConfigError(f"trigger is {file.trigger!r}, the lane asks for {lane.trigger!r}: leave the lane's trigger out")
    own = LaneSettings(instrument=lane.instrument, strategy=member.strategy)
    if own.rule:
        own = msgspec.structs.replace(
            own, params=member.params, bars=file.bar, trigger=file.trigger, min_interval_ms=file.min_interval_ms
        )  # fmt: skip
    elif member.params:
        raise ConfigError(f"{member.strategy}: params belong to rules")
    return _load(own, family)


def lane_specs(settings: Settings, instruments: Sequence[Instrument]) -> tuple[LaneSpec, ...]:
    """The lanes of the traded instruments, strategies loaded; ConfigError when there are none."""
    names = [f"{i.venue}:{i.symbol}" for i in instruments]
    specs = tuple(
        LaneSpec(
            instrument=names.index(lane.instrument),
            strategy=load_strategy(lane, instruments[names.index(lane.instrument)].family),
            references=tuple((REFERENCE_NUMBER[series], names.index(other)) for series, other in sorted(lane.references.items())),
        )
        for lane in settings.lanes
        if lane.instrument in names
    )
    if not specs:
        raise ConfigError(f"no [[lanes]] trades {', '.join(names)}: add one")
    return specs


def build_engine(settings: Settings, venue: str, calendar: tuple[Path, Path] | None = None) -> Engine:
    """The engine for one venue's instruments and lanes; ConfigError for anything that does not fit together.

    calendar: (trade_windows.toml, macro_events.csv) of another time; default: those in force.
    """
    instruments = instruments_of(settings, venue)
    currencies = {i.quote_currency for i in instruments}
    if currencies != {settings.paper.currency}:
        raise ConfigError(
            f"[paper] currency is {settings.paper.currency}, the instruments of {venue} are quoted in {', '.join(sorted(currencies))}"
        )
    windows = load_windows(*(calendar or calendar_files()))
    for instrument in instruments:
        windows.state(0, instrument.family)  # a family without a table is refused now, not at the first decision
    return Engine(
        EngineConfig(
            instance=settings.instance.name,
            instruments=instruments,
            lanes=lane_specs(settings, instruments),
            risk=settings.risk,
            execution=settings.execution,
            windows=windows,
            calendars=calendars_of(windows, {instrument.family for instrument in instruments}),
            cash_e8=int(settings.paper.cash * MONEY_SCALE),
            currency=settings.paper.currency,
            venue_holds_stops=venue not in STOPS_WATCHED_HERE,
            out_of_range_max=settings.engine.out_of_range_max,
        )
    )


def calendars_of(windows: Windows, families: Iterable[str]) -> dict[str, Calendar]:
    """What features may know of the calendar, by family: the same files, and no clock, give the same tables.

    Sessions begin CALENDAR_YEARS before the family's valid_until; before that and after it sessions are UTC days.
    """
    events = [(event.at_ns, event.impact) for event in windows.events]
    found = {}
    for family in sorted(families):
        until_ns = windows.valid_until_ns(family)
        last = datetime.fromtimestamp(until_ns // 1_000_000_000, UTC).date()
        first = last.replace(year=last.year - CALENDAR_YEARS, day=1)
        sessions = windows.sessions(family, first, last + timedelta(days=7))
        found[family] = family_calendar(family, sessions, events, range(first.year, last.year + 1), until_ns)
    return found


def _own_or_shipped(name: str) -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path(os.environ.get("HOME") or "/") / ".config")
    own = Path(home) / "mia" / name
    return own if own.is_file() else config_file(name)


def model_names(engine: Engine) -> list[tuple[str, str]]:
    """(name, sha256) of each distinct strategy, in lane order."""
    found: dict[str, str] = {}
    for lane in engine.lanes:
        found.setdefault(lane.strategy.name, lane.strategy.sha256)
    return list(found.items())
