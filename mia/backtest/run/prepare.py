"""From what a user asked for to runs: instruments matched to files, spans, strategies; then one call executes a run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np

from mia.assemble import numbered
from mia.backtest.catalogue.funding import with_rates
from mia.backtest.readers import OnDuplicate, file_sha256, is_candle_file, utc
from mia.backtest.run import fused
from mia.backtest.run.artifacts import polars
from mia.backtest.run.catalogued import DAY_NS, bars_of, events_of, named_assets
from mia.backtest.run.collect import Collector
from mia.backtest.run.naming import symbol_of
from mia.backtest.run.resample import resampled
from mia.backtest.run.result import Result, result_of
from mia.backtest.run.runner import Runner, merged
from mia.backtest.run.signals import Signals, age_max_ns, check_span, note_of, read_signals
from mia.backtest.run.sources import BarHistory, EventHistory, candle_history, recorded, simulated
from mia.backtest.run.spec import FileFacts, FillAt, RunSpec, SizeAt, build, strategies_of
from mia.backtest.run.suitability import told
from mia.backtest.run.trips import Path as PricePath
from mia.backtest.run.trips import Paths
from mia.backtest.validation.seal import Sealed
from mia.domain.errors import ConfigError
from mia.domain.events import AnyEvent, Predicted
from mia.domain.instruments import Instrument
from mia.engine.engine import Engine
from mia.engine.settings import LaneSettings
from mia.features.bars import BarSpec
from mia.features.columns import EventColumns
from mia.ports import NEVER_NS
from mia.risk.limits import Limits
from mia.settings import Settings
from mia.sim.bar_venue import BarVenue
from mia.sim.costs import CostModel, Costs
from mia.sim.venue import SimVenue

SIM: Final = "sim:SIMUSD"
SIM_BARS: Final = "time:10s"
SIM_WARM_UP_S: Final = 600.0
MARK_EVERY_NS: Final = 1_000_000_000
Params = dict[str, bool | float]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for; None: the default of the settings or of the data.

    strategy: rule:NAME, or a bundle's name or path. data: candle files or recordings of one instrument each, several files of one
    instrument joined by their instrument. instruments: venue:symbol, one for all files or one for each. assets: venue:symbol of the
    catalogue, in place of data; read: which kind of it. fee: for a file of an
    instrument that the settings do not know; kind and family of it.
    """

    settings: Settings
    strategy: str
    params: Params = {}
    data: tuple[Path, ...] = ()
    instruments: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    read: Literal["bars", "trades", "quotes", "depth"] = "bars"
    timeframe: str | None = None
    from_ns: int = 0
    to_ns: int = 0
    days: int = 0  # only so many before the end; 0: all
    warm_up: int = 500  # bars before from_ns that only teach the features
    tick: Decimal | None = None
    lot: Decimal | None = None
    fee: Decimal | None = None
    kind: Literal["spot", "perpetual", "future"] | None = None  # of a file of an unknown instrument: perpetual
    family: str = "crypto"
    tz: str | None = None
    on_duplicate: OnDuplicate = "error"
    fill_at: FillAt = "next_open"
    size_at: SizeAt = "decision"
    protects: bool = True
    closes_at_end: bool = False
    uses_windows: bool = True
    costs: Costs = Costs()
    duration_s: float = 3600.0
    seed: int | None = None
    signals: Path | None = None  # of the strategy rule:signals
    signal_age_ns: int = 0  # how long a signal holds that states no end; 0: the default for the run's bars
    sealed: Sealed = "refuse"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """One run that can be executed; `spec` names it."""

    spec: RunSpec
    bars: tuple[BarHistory, ...] = ()
    events: EventHistory | None = None
    notes: tuple[str, ...] = ()
    signals: Signals | None = None


def prepare(request: Request) -> Prepared:
    """The run of a request; ConfigError and DataError name what does not fit and what to do."""
    polars()  # what the run is written with: said before it is counted and run
    if (request.signals is None) == (request.strategy == f"rule:{fused.SIGNALS}"):
        raise ConfigError(f"rule:{fused.SIGNALS} trades the signals of a file, and nothing else does: name it with --signals FILE")
    request = _on_margin(request)
    prepared = _market(request)
    return prepared if request.signals is None else _with_signals(request, prepared, request.signals)


def _market(request: Request) -> Prepared:
    if request.assets:
        return _catalogued(request)
    if request.read != "bars":
        raise ConfigError(f"--read {request.read}: files tell themselves what they hold: it goes with --assets")
    if not request.data:
        return _simulated(request)
    kinds = {is_candle_file(path) for path in request.data}
    if len(kinds) > 1:
        raise ConfigError("candle files and recordings cannot be run as one: give one kind")
    return _candles(request) if kinds == {True} else _recorded(request)


def _with_signals(request: Request, prepared: Prepared, path: Path) -> Prepared:
    spec = prepared.spec
    interval_ns = BarSpec.parse(spec.lanes[0].bars or SIM_BARS).interval_ns
    signals = read_signals(path, spec.instruments, age_max_ns=request.signal_age_ns or age_max_ns(interval_ns), tz=request.tz)
    bars, notes = prepared.bars, list(prepared.notes)
    first_ns = max(spec.from_ns, min((h.open_ns[0] for h in bars), default=spec.data[0].first_ns))
    check_span(signals, int(first_ns), spec.to_ns or max((int(h.close_ns[-1]) for h in bars), default=0))
    notes.append(note_of(signals, bool(request.params.get("flat_when_stale", True))))
    for i, history in enumerate(bars):
        closes = history.close_ns[history.close_ns > spec.from_ns]
        if lacking := signals.without(closes, i):
            notes.append(f"{history.facts.instrument}: no signal holds at {lacking} of {len(closes)} closes")
    spec = msgspec.structs.replace(spec, data=(*spec.data, signals.facts))
    return msgspec.structs.replace(prepared, spec=spec, signals=signals, notes=tuple(notes))


def _on_margin(request: Request) -> Request:
    """The account's own initial margin in place of the instruments': the engine sizes by what the venue asks for."""
    if not request.costs.margin.initial:
        return request
    settings = request.settings
    instruments = tuple(_margined(i, request.costs) for i in settings.instruments)
    return msgspec.structs.replace(request, settings=msgspec.structs.replace(settings, instruments=instruments))


def _margined(instrument: Instrument, costs: Costs) -> Instrument:
    if not (costs.margin.initial and instrument.is_derivative):
        return instrument
    return msgspec.structs.replace(instrument, initial_margin=costs.margin.initial)


def _cost_files(costs: Costs, instruments: Sequence[Instrument]) -> tuple[FileFacts, ...]:
    """What the costs are read from; what cannot be used is refused here, before anything runs."""
    files = CostModel(costs, dict(enumerate(instruments))).files
    return tuple(FileFacts(file=path.name, sha256=file_sha256(path)) for path in files)


def _simulated(request: Request) -> Prepared:
    if request.days:
        raise ConfigError("--days is for recorded history: --duration says how long the simulated market runs")
    name = request.instruments[0] if request.instruments else SIM
    instrument = _known(request.settings, name)
    market = request.settings.sim
    if request.seed is not None:
        market = msgspec.structs.replace(market, seed=request.seed)
    history = simulated(market, instrument, request.duration_s, SIM_WARM_UP_S)
    begin_ns, end_ns = history.first_ns + int(SIM_WARM_UP_S * 1e9), history.facts[0].last_ns
    if request.from_ns >= end_ns or 0 < request.to_ns <= begin_ns:
        raise ConfigError(f"--from, --to: the simulated market trades from {utc(begin_ns)} to {utc(end_ns)} UTC; see --duration")
    return _of_events(request, history, max(request.from_ns, begin_ns), market.seed)


def _recorded(request: Request) -> Prepared:
    history = recorded(request.data, numbered(request.settings), request.to_ns, request.sealed)
    names = [f"{i.venue}:{i.symbol}" for i in history.instruments]
    if other := [name for name in request.instruments if name not in names]:
        raise ConfigError(f"--instrument {other[0]}: the recording is of {', '.join(names)}")
    from_ns = request.from_ns
    if request.days:
        from_ns = max(from_ns, max(facts.last_ns for facts in history.facts) - request.days * DAY_NS)
    return _of_events(request, history, from_ns, 0)


def _catalogued(request: Request) -> Prepared:
    named = named_assets(request, lambda instrument: _changed(request, instrument))
    if request.read != "bars":
        return _of_events(request, *events_of(request, named, BarSpec.parse(request.timeframe or SIM_BARS)), 0)
    wanted = BarSpec.parse(request.timeframe) if request.timeframe is not None else None
    return _of_bars(request, bars_of(request, named, wanted), wanted)


def _of_events(request: Request, history: EventHistory, from_ns: int, seed: int) -> Prepared:
    bars = request.timeframe or SIM_BARS
    lanes = tuple(_lane(request, i, bars, is_bars=False) for i in history.instruments)
    settings = _account(request, history.instruments)
    costs, notes = with_rates(request.costs, history.instruments, history.first_ns, max(f.last_ns for f in history.facts))
    if request.size_at == "fill" or not (request.protects and request.uses_windows) or request.closes_at_end:
        raise ConfigError("presets of other libraries are for bars: give candle files with --data")
    spec = RunSpec(
        settings=settings,
        instruments=history.instruments,
        lanes=lanes,
        data=history.facts,
        from_ns=from_ns,
        to_ns=request.to_ns,
        costs=costs,
        cost_files=_cost_files(costs, history.instruments),
        seed=seed,
    )
    return Prepared(spec=spec, events=history, notes=(*history.notes, *notes))


def _candles(request: Request) -> Prepared:
    groups = _by_instrument(request)
    bars = BarSpec.parse(request.timeframe) if request.timeframe is not None else None
    histories = [
        candle_history(
            paths, instrument, tz=request.tz, on_duplicate=request.on_duplicate, bars=bars if bars is None or bars.kind != "time" else None,
            span=(request.from_ns, request.to_ns), warm_up=request.warm_up, warm_up_bars=bars, sealed=request.sealed,
        )
        for instrument, paths in groups
    ]  # fmt: skip
    return _of_bars(request, histories, bars)


def _of_bars(request: Request, histories: list[BarHistory], bars: BarSpec | None) -> Prepared:
    """bars: what is traded on; None: what the histories hold."""
    notes = [note for history in histories for note in history.notes]
    histories = [h if bars is None or h.bars == bars else resampled(h, bars) for h in histories]
    if len({h.bars.text for h in histories}) > 1:
        texts = ", ".join(f"{h.facts.instrument} {h.bars.text}" for h in histories)
        raise ConfigError(f"the bars are of different lengths ({texts}): name one with --timeframes")
    from_ns = request.from_ns
    if request.days:
        end_ns = min(request.to_ns or 1 << 62, max(int(h.close_ns[-1]) for h in histories))
        from_ns = max(from_ns, end_ns - request.days * DAY_NS)
    histories = [h.between(from_ns, request.to_ns, request.warm_up) for h in histories]
    instruments = tuple(h.instrument for h in histories)
    _check_bars(request)
    costs, told_rates = with_rates(
        request.costs, instruments, min(int(h.open_ns[0]) for h in histories), max(int(h.close_ns[-1]) for h in histories)
    )
    spec = RunSpec(
        settings=_account(request, instruments),
        instruments=instruments,
        lanes=tuple(_lane(request, h.instrument, h.bars.text, is_bars=True) for h in histories),
        data=tuple(h.facts for h in histories),
        from_ns=from_ns,
        to_ns=request.to_ns,
        fill_at=request.fill_at,
        size_at=request.size_at,
        protects=request.protects,
        closes_at_end=request.closes_at_end,
        uses_windows=request.uses_windows,
        costs=costs,
        cost_files=_cost_files(costs, instruments),
        seed=request.seed or 0,
    )
    return Prepared(spec=spec, bars=tuple(histories), notes=tuple(told(spec, [*notes, *told_rates])))


def _check_bars(request: Request) -> None:
    costs = request.costs
    if costs.spread.kind == "column":
        raise ConfigError('[costs] spread.kind = "column": candle files carry no spreads: give quotes with kind = "file"')
    if request.fill_at == "close" and costs.latency.kind != "off":
        raise ConfigError("[costs] latency: an order that is filled at the close it was decided on has none: use fill next_open")


def _lane(request: Request, instrument: Instrument, bars: str, *, is_bars: bool) -> LaneSettings:
    name = f"{instrument.venue}:{instrument.symbol}"
    if not request.strategy.startswith("rule:"):
        return LaneSettings(instrument=name, strategy=request.strategy)
    interval_ms = 0 if is_bars else None
    return LaneSettings(instrument=name, strategy=request.strategy, params=request.params, bars=bars, min_interval_ms=interval_ms)


def _account(request: Request, instruments: Sequence[Instrument]) -> Settings:
    """The settings with the account in the instruments' currency when nobody said another."""
    paper = request.settings.paper
    currencies = {i.quote_currency for i in instruments}
    if len(currencies) > 1:
        raise ConfigError(f"the instruments are quoted in {', '.join(sorted(currencies))}: no rate between them is known; run them apart")
    return msgspec.structs.replace(request.settings, paper=msgspec.structs.replace(paper, currency=currencies.pop()))


def _known(settings: Settings, name: str) -> Instrument:
    for instrument in settings.instruments:
        if f"{instrument.venue}:{instrument.symbol}" == name:
            return instrument
    known = ", ".join(f"{i.venue}:{i.symbol}" for i in settings.instruments)
    raise ConfigError(f"--instrument {name}: is not among [[instruments]] ({known})")


def _by_instrument(request: Request) -> list[tuple[Instrument, list[Path]]]:
    """Files by the instrument that each is of, in the order in which instruments first appear."""
    if len(request.instruments) not in (0, 1, len(request.data)):
        raise ConfigError(f"{len(request.data)} files need one --instrument or one for each, got {len(request.instruments)}")
    groups: dict[str, tuple[Instrument, list[Path]]] = {}
    for k, path in enumerate(request.data):
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        named = request.instruments[k if len(request.instruments) > 1 else 0] if request.instruments else None
        instrument = _known(request.settings, named) if named else _guessed(request, path)
        instrument = _changed(request, instrument)
        groups.setdefault(f"{instrument.venue}:{instrument.symbol}", (instrument, []))[1].append(path)
    return list(groups.values())


def _changed(request: Request, instrument: Instrument) -> Instrument:
    """With the grid, fee and margin that the request states; ConfigError when it is of another kind than stated."""
    if request.kind is not None and instrument.kind != request.kind:
        raise ConfigError(f"--kind {request.kind}: {instrument.venue}:{instrument.symbol} is a {instrument.kind}")
    changed = {k: v for k, v in (("tick_size", request.tick), ("lot_size", request.lot)) if v is not None}
    if request.fee is not None:
        changed |= {"maker_fee": request.fee, "taker_fee": request.fee}
    return _margined(msgspec.structs.replace(instrument, **changed), request.costs)


def _guessed(request: Request, path: Path) -> Instrument:
    """The one instrument of the settings whose symbol is in the file's name; else one made for the file, which needs a fee."""
    words = re.findall(r"[a-z0-9]+", path.name.lower())
    fits = [i for i in request.settings.instruments if i.symbol.lower() in words]
    if len(fits) == 1:
        return fits[0]
    if len(fits) > 1 and request.fee is None:
        names = " or ".join(f"--instrument {i.venue}:{i.symbol}" for i in fits)
        raise ConfigError(f"{path.name}: which instrument is it? {names}: they differ in fees and grid")
    if request.fee is None:
        raise ConfigError(
            f"{path.name}: no fee table: none of [[instruments]] is in its name: name one with --instrument, or state --fee 0.001 "
            "(share of notional), and --kind and --tick where the defaults do not fit"
        )
    return Instrument(
        venue="file", symbol=symbol_of(path), kind=request.kind or "perpetual", family=request.family,
        quote_currency=request.settings.paper.currency,
        tick_size=request.tick or Decimal("0.01"), lot_size=request.lot or Decimal("0.001"), maker_fee=request.fee, taker_fee=request.fee,
    )  # fmt: skip


# --- execution -----------------------------------------------------------------------------------------------------------


def execute(prepared: Prepared, *, compiled: bool = True, make: Callable[[RunSpec], Engine] = build) -> Result:
    """Run it; the same run gives the same result, bit for bit. compiled: let the compiled path do what it can; the result is the same.

    make: builds the engine; another one than `build` is for checks that change a part of it, and always runs on the event engine.
    """
    spec = prepared.spec
    if prepared.events is not None:
        return _events(prepared, make)
    paths = Paths({i: PricePath(h.close_ns, h.rows[:, 2], h.rows[:, 1]) for i, h in enumerate(prepared.bars)})
    if compiled and make is build and not fused.why_not(spec, prepared.signals is not None):
        found = fused.gather(spec, prepared.bars[0], prepared.signals)
        if found is not None:
            return result_of(spec, *found, paths, list(prepared.notes))
    engine, venue = make(spec), bar_venue(spec)
    collector = Collector(venue.moments)
    Runner(engine, venue, collector, spec, _outside(prepared)).bars(merged([history.iterate(i) for i, history in enumerate(prepared.bars)]))
    return result_of(spec, strategies_of(engine), collector.gather(engine), paths, list(prepared.notes))


def bar_venue(spec: RunSpec) -> BarVenue:
    """The venue of a run on bars."""
    return BarVenue(
        dict(enumerate(spec.instruments)),
        spec.costs,
        cash_e8=spec.cash_e8,
        at_close=spec.fill_at == "close",
        equity_share_e9=Limits.of(spec.settings.risk).equity_share_max_e9 if spec.size_at == "fill" else 0,
    )


def _outside(prepared: Prepared) -> Iterator[Predicted]:
    return iter(()) if prepared.signals is None else prepared.signals.events()


def _events(prepared: Prepared, make: Callable[[RunSpec], Engine]) -> Result:
    history, spec = prepared.events, prepared.spec
    assert history is not None
    engine = make(spec)
    for market in engine.markets:
        market.reads_book = True  # the venue fills against it
    venue = SimVenue(dict(enumerate(spec.instruments)), {m.index: m.book for m in engine.markets}, spec.settings.paper, spec.costs)
    collector = Collector(venue.moments)
    runner = Runner(engine, venue, collector, spec, _outside(prepared))
    if history.columns is not None:
        runner.columns(_columns_until(history.columns(), spec.to_ns), MARK_EVERY_NS)
    else:
        runner.events(_until(history, spec.to_ns), MARK_EVERY_NS)
    table = collector.table(len(engine.markets))
    ends, mids = table[:, 0], table[:, -len(engine.markets) :].astype(np.float64) / 2.0
    paths = Paths({i: PricePath(ends, mids[:, i], mids[:, i]) for i in range(len(engine.markets))})
    return result_of(spec, strategies_of(engine), collector.gather(engine), paths, [*prepared.notes, *history.warnings])


def _columns_until(chunks: Iterator[EventColumns], to_ns: int) -> Iterator[EventColumns]:
    for chunk in chunks:
        beyond = np.flatnonzero(chunk.ts_recv_ns > (to_ns or NEVER_NS))
        if len(beyond):
            yield chunk.slice(0, int(beyond[0]))
            return
        yield chunk


def _until(history: EventHistory, to_ns: int) -> Iterator[AnyEvent]:
    events = history.events()
    return itertools.takewhile(lambda event: event.ts_recv_ns <= to_ns, events) if to_ns else events
