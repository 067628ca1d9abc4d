"""What a run is built from, and the engine that it builds: the same settings, limits and rules as the daemon's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from mia.assemble import calendar_files, calendar_sha256, calendars_of, load_strategy, versions
from mia.domain.errors import ConfigError
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.engine.settings import LaneSettings
from mia.risk.windows import Family, Windows, load_windows
from mia.settings import Settings
from mia.sim.cost_settings import Costs

FORMAT: Final = 1
FillAt = Literal["next_open", "close"]
SizeAt = Literal["decision", "fill"]


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument's history. sha256: of the files, in order; rows: bars or events, of the whole span."""

    instrument: str
    kind: Literal["bars", "events", "simulated", "signals"]
    files: tuple[str, ...]
    sha256: tuple[str, ...]
    rows: int
    first_ns: int
    last_ns: int
    bars: str = ""  # of bars: time:5m


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A file that costs are read from, without its folder."""

    file: str
    sha256: str


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a run; two runs of equal specs write the same bytes.

    lanes: one for each instrument and strategy. from_ns: nothing is traded before it, it only warms up; 0: from the beginning.
    costs, cost_files: what trading costs, and the files it is read from. seed: of the simulated market.
    fill_at, size_at: of market orders on bars; size_at fill: the share of the account that was decided, in lots of the fill's price.
    protects: False: positions have neither stop nor take. closes_at_end: what is open after the last bar but one is closed at the last
    bar's open. uses_windows: False: trade windows and calendar events forbid nothing.
    """

    settings: Settings
    instruments: tuple[Instrument, ...]
    lanes: tuple[LaneSettings, ...]
    data: tuple[DataFacts, ...]
    from_ns: int = 0
    to_ns: int = 0
    fill_at: FillAt = "next_open"
    size_at: SizeAt = "decision"
    protects: bool = True
    closes_at_end: bool = False
    uses_windows: bool = True
    costs: Costs = Costs()
    cost_files: tuple[FileFacts, ...] = ()
    seed: int = 0

    @property
    def currency(self) -> str:
        """Of the account."""
        return self.settings.paper.currency

    @property
    def cash_e8(self) -> int:
        """At the start."""
        return int(self.settings.paper.cash * MONEY_SCALE)

    def facts(self) -> dict[str, Any]:
        """What run.json says of it. File names without their folders: where a file lies decides nothing."""
        s = self.settings
        return {
            "lanes": self.lanes,
            "instruments": self.instruments,
            "data": self.data,
            "span": {"from_ns": self.from_ns, "to_ns": self.to_ns},
            "fill_at": self.fill_at,
            "size_at": self.size_at,
            "protects": self.protects,
            "closes_at_end": self.closes_at_end,
            "uses_windows": self.uses_windows,
            "costs": _without_folders(self.costs),
            "cost_files": self.cost_files,
            "seed": self.seed,
            "cash_e8": self.cash_e8,
            "currency": self.currency,
            "risk": s.risk,
            "execution": s.execution,
            "calendar": calendar_sha256(),
        }

    def id(self, strategies: tuple[tuple[str, str], ...]) -> str:
        """Of the run: 12 digits of the digest of its facts, its strategies and the versions that decide its bits."""
        whole = {"format": FORMAT, "strategies": strategies, "versions": versions(), **self.facts()}
        return hashlib.sha256(msgspec.json.encode(whole, order="deterministic")).hexdigest()[:12]


def _without_folders(costs: Costs) -> Costs:
    changed = {}
    for name in costs.__struct_fields__:
        part = getattr(costs, name)
        if getattr(part, "file", ""):
            changed[name] = msgspec.structs.replace(part, file=Path(part.file).name)
    return msgspec.structs.replace(costs, **changed)


def build(spec: RunSpec) -> Engine:
    """The engine of a run; ConfigError for what does not fit together."""
    for instrument in spec.instruments:
        if instrument.quote_currency != spec.currency:
            raise ConfigError(
                f"{instrument.venue}:{instrument.symbol} is quoted in {instrument.quote_currency}, the account is in {spec.currency}: "
                "no rate between them is known; name the account's currency with --currency"
            )
    windows = load_windows(*calendar_files())
    names = [f"{i.venue}:{i.symbol}" for i in spec.instruments]
    lanes = tuple(
        LaneSpec(
            instrument=names.index(lane.instrument), strategy=load_strategy(lane, spec.instruments[names.index(lane.instrument)].family)
        )
        for lane in spec.lanes
    )
    families = sorted({i.family for i in spec.instruments})
    for instrument in spec.instruments:
        windows.state(0, instrument.family)  # a family without a table is refused now
    return Engine(
        EngineConfig(
            instance=spec.settings.instance.name,
            instruments=spec.instruments,
            lanes=lanes,
            risk=spec.settings.risk,
            execution=spec.settings.execution,
            windows=windows if spec.uses_windows else _always_open(families),
            calendars=calendars_of(windows, families),
            cash_e8=spec.cash_e8,
            currency=spec.currency,
            protects=spec.protects,
            out_of_range_max=spec.settings.engine.out_of_range_max,
        )
    )


def _always_open(families: Iterable[str]) -> Windows:
    always = Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2261-01-01T00:00:00Z", macro="ignore")
    return Windows(dict.fromkeys(families, always), ())


def strategies_of(engine: Engine) -> tuple[tuple[str, str], ...]:
    """(name, sha256) of each lane's."""
    return tuple((lane.strategy.name, lane.strategy.sha256) for lane in engine.lanes)
