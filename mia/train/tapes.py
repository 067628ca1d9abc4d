"""Makes tapes: simulated markets and bar files through the feature plan that live uses, then normalised."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.feature_run import with_timers
from mia.backtest.readers import read_bars
from mia.backtest.recordings import open_recording
from mia.backtest.validation.seal import Sealed
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent
from mia.domain.instruments import Instrument, InstrumentId
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import QUOTE, EventColumns
from mia.features.columns import from_events as columns_of
from mia.features.plan import Plan, build_plan, mask_input
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.regime.filter import UNIFORM, RegimeFilter, RegimeParams
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings
from mia.train.env import F32, Tape
from mia.train.observation import Observation

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_ARENA_BYTES: Final = 64 << 20
_START_NS: Final = 1_700_000_000_000_000_000
PHASE_TO_REGIME: Final = (0, 1, 2)  # calm is range, trending is trend, violent is defensive


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """One market before the regime filter is known: decision rows, and the inputs of the filter at each closed bar.

    features: NaN where a column has no value; `chosen` picks columns and drops the rows that live would not decide on.
    """

    name: str
    instrument: Instrument
    columns: tuple[str, ...]
    ts_ns: I64
    features: F64
    bid_ticks: I64
    ask_ticks: I64
    labels: npt.NDArray[np.int8]
    bar_ts_ns: I64
    bar_inputs: F64
    bar_labels: npt.NDArray[np.int8]


def simulated(
    seed: int,
    duration_s: float,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars: BarSpec,
    every_ms: int,
) -> Stretch:
    """A simulated market: decisions on the first quote at least every_ms after the last."""
    market = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=seed), instrument)
    market.start(_START_NS)
    sim = market.generate(duration_s=duration_s, timers=True)
    return from_events(f"sim seed {seed}", sim.events, instrument, columns, regime_columns, bars, every_ms, sim.phase)


def from_events(
    name: str,
    events: EventColumns,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars: BarSpec,
    every_ms: int,
    phase: I64 | None = None,
) -> Stretch:
    """Any stretch of events; phase: the hidden label of each event, where there is one."""
    ts, features = batch.compute(_plan(columns, instrument, bars), events, every_ms * 1_000_000, "quote", with_cold=True)
    bar_ts, bar_inputs = batch.compute(_plan(regime_columns, instrument, bars), events, 0, "bar")
    if len(ts) < 2:
        raise DataError(f"{name}: too short: no two decisions")
    is_quote = events.kind == QUOTE
    at = np.searchsorted(events.ts_recv_ns[is_quote], ts, side="right") - 1
    labels = np.full(events.events, -1, np.int8) if phase is None else np.asarray(PHASE_TO_REGIME, np.int8)[phase]
    return Stretch(
        name=name,
        instrument=instrument,
        columns=tuple(columns),
        ts_ns=ts,
        features=features,
        bid_ticks=events.a[is_quote][at],
        ask_ticks=events.b[is_quote][at],
        labels=labels[np.searchsorted(events.ts_recv_ns, ts, side="right") - 1],
        bar_ts_ns=bar_ts,
        bar_inputs=bar_inputs,
        bar_labels=labels[np.searchsorted(events.ts_recv_ns, bar_ts, side="right") - 1],
    )


def _plan(columns: Sequence[str], instrument: Instrument, bars: BarSpec) -> Plan:
    arena = Arena(_ARENA_BYTES)
    return build_plan(columns, instrument, bars, arena, Book(arena, 4096), neutral=float("nan"))


def complete_columns(stretches: Sequence[Stretch], after_s: float) -> tuple[str, ...]:
    """The columns that have a value in every row of every stretch from after_s on."""
    whole = np.ones(len(stretches[0].columns), dtype=np.bool_)
    for s in stretches:
        whole &= np.isfinite(s.features[s.ts_ns - s.ts_ns[0] >= after_s * 1e9]).all(axis=0)
    return tuple(name for name, is_whole in zip(stretches[0].columns, whole, strict=True) if is_whole)


def chosen(stretch: Stretch, columns: Sequence[str]) -> Stretch:
    """The stretch with these columns alone, and the rows in which all of them have a value; DataError when fewer than two are left."""
    at = [stretch.columns.index(name) for name in columns]
    features = np.ascontiguousarray(stretch.features[:, at])
    there = np.isfinite(features).all(axis=1)
    if there.sum() < 2:
        raise DataError(f"{stretch.name}: no two rows in which every column has a value: use a longer stretch or other columns")
    kept = {name: getattr(stretch, name)[there] for name in ("ts_ns", "bid_ticks", "ask_ticks", "labels")}
    return msgspec.structs.replace(stretch, columns=tuple(columns), features=features[there], **kept)


def from_bar_file(
    path: Path,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars_max: int = 200_000,
    sealed: Sealed = "refuse",
) -> Stretch:
    """A file of candles: feather, parquet or csv with a time column (date or ts_ms), open, high, low, close, volume.

    One row per bar, decided when the bar is known (its close); the touch is the close, one tick wide: half-spread is in
    the taker fee's favour only by half a tick. Columns that need trades or quotes are not available and are refused.
    """
    times, ohlcv = read_bars(path, sealed)
    times, ohlcv = times[-bars_max:], ohlcv[-bars_max:]
    interval = int(np.median(np.diff(times)))
    tick, lot = float(instrument.tick_size), float(instrument.lot_size)
    prices = [ohlcv[:, k] / tick for k in range(4)]
    rows = batch.bars_from_ohlcv(prices[0], prices[1], prices[2], prices[3], ohlcv[:, 4] / lot)
    close_ns = times + interval
    spec = BarSpec(kind="time", size=Decimal(interval))
    ts, features = batch.compute_bars(_plan(columns, instrument, spec), close_ns, rows, with_cold=True)
    bar_ts, bar_inputs = batch.compute_bars(_plan(regime_columns, instrument, spec), close_ns, rows)
    if len(ts) < 2:
        raise DataError(f"{path}: no row is warm: use columns that need bars only, and more than 60 bars")
    close = np.rint(prices[3][np.searchsorted(close_ns, ts)]).astype(np.int64)
    return Stretch(
        name=path.name,
        instrument=instrument,
        columns=tuple(columns),
        ts_ns=ts,
        features=features,
        bid_ticks=close,
        ask_ticks=close + 1,
        labels=np.full(len(ts), -1, np.int8),
        bar_ts_ns=bar_ts,
        bar_inputs=bar_inputs,
        bar_labels=np.full(len(bar_ts), -1, np.int8),
    )


class Lost:
    """Spans in which an input is missing: its columns show their neutral values, its mask 0."""

    def __init__(self, columns: Sequence[str], masks: Sequence[str], seed: int, share: float = 0.05, rows: int = 60) -> None:
        """columns, masks: of the observation's market part and its masks (`has(depth)`); share of rows, in spans of so many rows."""
        catalogue = shipped_catalogue()
        features = [catalogue.get(name) for name in columns]
        self._at = [[k for k, f in enumerate(features) if (mask_input(m) or "") in f.inputs] for m in masks]
        self._neutral = np.array([f.neutral for f in features], dtype=np.float32)
        self._rng = np.random.default_rng(seed)
        self._share, self._rows = share, rows

    def take(self, features: F32, masks: F32) -> None:
        """Change both in place."""
        spans = int(len(features) * self._share / self._rows)
        for mask, at in enumerate(self._at):
            for start in self._rng.integers(0, max(1, len(features) - self._rows), spans):
                span = slice(int(start), int(start) + self._rows)
                features[span, at] = self._neutral[at]
                masks[span, mask] = 0.0


def make_tape(stretch: Stretch, observation: Observation, params: RegimeParams | None, lost: Lost | None = None) -> Tape:
    """The stretch as the environment plays it: columns as the networks read them, and filtered probabilities.

    lost: takes inputs away for a while here and there, so that a policy learns what to do without them.
    """
    probs = filtered(stretch, params)
    features, masks = stretch.features.astype(np.float32), np.ones((len(stretch.ts_ns), observation.masks), np.float32)
    if lost is not None:
        lost.take(features, masks)
    return Tape(
        name=stretch.name,
        instrument=stretch.instrument,
        columns=stretch.columns,
        features=observation.apply_market(features, probs),
        bid_ticks=stretch.bid_ticks,
        ask_ticks=stretch.ask_ticks,
        ts_ns=stretch.ts_ns,
        probs=probs,
        masks=masks,
        labels=np.where(stretch.labels < 0, probs.argmax(axis=1), stretch.labels).astype(np.int8),
    )


def filtered(stretch: Stretch, params: RegimeParams | None) -> F32:
    """Probabilities at each decision row, from the bars closed by then: the live filter, bar by bar."""
    out = np.full((len(stretch.bar_ts_ns) + 1, 3), UNIFORM, dtype=np.float32)
    if params is not None:
        regime = RegimeFilter(params, Arena(1 << 16), {c: k for k, c in enumerate(params.columns)})
        row = Arena(1 << 12).doubles(len(params.columns))
        for i, values in enumerate(stretch.bar_inputs.tolist()):
            for k, value in enumerate(values):
                row[k] = value
            regime.update(row)
            out[i + 1] = regime.probs
    return out[np.searchsorted(stretch.bar_ts_ns, stretch.ts_ns, side="right")]


def recorded(
    path: Path, instruments: Sequence[Instrument], columns: Sequence[str], regime_columns: Sequence[str], bars: BarSpec, every_ms: int
) -> Stretch:
    """A recording of raw venue frames, decoded as the replay venue does it, with the instrument that fits its venue; no labels.

    Timers stand between its events as live has them: bars of a silence close one by one, and the regime filter takes each.
    """
    feed = open_recording([path], [(InstrumentId(k), instrument) for k, instrument in enumerate(instruments)])
    number, instrument = next(iter(feed.instruments.values()))
    codec = feed.codec()
    events: list[AnyEvent] = []
    for ts_recv_ns, payload in feed.frames():
        events.extend(codec.decode(payload, ts_recv_ns, len(events)))
    market = columns_of(events, number)
    if not market.events:
        raise DataError(f"{path}: holds no market event")
    return from_events(path.name, with_timers(market), instrument, columns, regime_columns, bars, every_ms)
