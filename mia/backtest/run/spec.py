"""What a run is built from, and the engine that it builds: the same settings, limits and rules as the daemon's."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from mia.assemble import calendar_files, calendar_sha256, calendars_of, load_strategy, versions
from mia.domain.errors import ConfigError
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.engine.settings import LaneSettings
from mia.risk.windows import load_windows
from mia.settings import Settings

FORMAT: Final = 1
FillAt = Literal["next_open", "close"]


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


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a run; two runs of equal specs write the same bytes.

    lanes: one for each instrument and strategy. from_ns: nothing is traded before it, it only warms up; 0: from the beginning.
    half_spread_ticks: what a market order pays beyond the bar's price. seed: of whatever is drawn.
    """

    settings: Settings
    instruments: tuple[Instrument, ...]
    lanes: tuple[LaneSettings, ...]
    data: tuple[DataFacts, ...]
    from_ns: int = 0
    to_ns: int = 0
    fill_at: FillAt = "next_open"
    half_spread_ticks: int = 1
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
            "half_spread_ticks": self.half_spread_ticks,
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
    for instrument in spec.instruments:
        windows.state(0, instrument.family)  # a family without a table is refused now
    return Engine(
        EngineConfig(
            instance=spec.settings.instance.name,
            instruments=spec.instruments,
            lanes=lanes,
            risk=spec.settings.risk,
            execution=spec.settings.execution,
            windows=windows,
            calendars=calendars_of(windows, {i.family for i in spec.instruments}),
            cash_e8=spec.cash_e8,
            currency=spec.currency,
            out_of_range_max=spec.settings.engine.out_of_range_max,
        )
    )


def strategies_of(engine: Engine) -> tuple[tuple[str, str], ...]:
    """(name, sha256) of each lane's."""
    return tuple((lane.strategy.name, lane.strategy.sha256) for lane in engine.lanes)
