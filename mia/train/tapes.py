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
from mia.features.columns import QUOTE, EventColumns
from mia.features.columns import from_events as columns_of
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.history import ATR_LENGTH
from mia.regime.filter import UNIFORM, RegimeFilter, RegimeParams
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings
from mia.train.env import F32, OwnScale, Tape
from mia.train.known import Known
from mia.train.lost import Lost
from mia.train.observation import Observation

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_ATR: Final = f"atr({ATR_LENGTH})"
_ARENA_BYTES: Final = 64 << 20
START_NS: Final = 1_700_000_000_000_000_000  # of every simulated market: a date without meaning, 2023-11-14 22:13:20 UTC
NOTHING_KNOWN: Final = Known()
PHASE_TO_REGIME: Final = (0, 1, 2)  # calm is range, trending is trend, violent is defensive


class Course(msgspec.Struct, frozen=True):
    """What the market did between the rows: mids of valid quotes, in half ticks, and bars closed, with the ATR after each in ticks.

    atr: NaN until 15 bars are closed.
    """

    mid_ns: I64
    mid_x2: I64
    bar_ns: I64
    atr: F64

    def bars(self, ts_ns: I64) -> I64:
        """How many had closed at these times."""
        return np.searchsorted(self.bar_ns, ts_ns, side="right").astype(np.int64)

    def atr_at(self, ts_ns: I64) -> F64:
        """The ATR at these times."""
        return np.concatenate([[np.nan], self.atr])[self.bars(ts_ns)]

    def extremes(self, ts_ns: I64) -> tuple[F64, F64]:
        """(lowest, highest) mid in ticks after the time before and up to each of these rising times of mids; the first: of itself."""
        at = np.searchsorted(self.mid_ns, ts_ns, side="left")
        starts = np.concatenate([at[:1], np.minimum(at[:-1] + 1, at[1:])])
        mids = self.mid_x2[: at[-1] + 1]
        return np.minimum.reduceat(mids, starts) * 0.5, np.maximum.reduceat(mids, starts) * 0.5


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
    course: Course


def simulated(
    seed: int,
    duration_s: float,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars: BarSpec,
    every_ms: int,
    known: Known = NOTHING_KNOWN,
) -> Stretch:
    """A simulated market: decisions on the first quote at least every_ms after the last."""
    market = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=seed), instrument)
    market.start(START_NS)
    sim = market.generate(duration_s=duration_s, timers=True)
    return from_events(f"sim seed {seed}", sim.events, instrument, columns, regime_columns, bars, every_ms, sim.phase, known)


def from_events(
    name: str,
    events: EventColumns,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars: BarSpec,
    every_ms: int,
    phase: I64 | None = None,
    known: Known = NOTHING_KNOWN,
) -> Stretch:
    """Any stretch of events; phase: the hidden label of each event, where there is one."""
    span = int(events.ts_recv_ns[0]), int(events.ts_recv_ns[-1])
    ts, features = batch.compute(_plan(columns, instrument, bars, known, span), events, every_ms * 1_000_000, "quote", with_cold=True)
    plan = _plan((*regime_columns, _ATR), instrument, bars, known, span)
    closed_ns, inputs = batch.compute(plan, events, 0, "bar", with_cold=True)
    if len(ts) < 2:
        raise DataError(f"{name}: too short: no two decisions")
    if plan.bar_count() != len(closed_ns):
        raise DataError(
            f"{name}: {plan.bar_count()} bars closed at {len(closed_ns)} events: use bars that are longer than a timer's 100 ms"
        )
    is_warm = np.isfinite(inputs[:, :-1]).all(axis=1)
    bar_ts, bar_inputs = closed_ns[is_warm], np.ascontiguousarray(inputs[is_warm, :-1])
    a, b = events.a, events.b
    is_quote = (events.kind == QUOTE) & (a > 0) & (b > a) & (events.c > 0) & (events.d > 0)
    is_mid = is_quote | ((events.kind == QUOTE) & (a > 0) & (a == b) & (events.c > 0) & (events.d > 0))  # locked: a mid, no decision
    at = np.searchsorted(events.ts_recv_ns[is_quote], ts, side="left")
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
        course=Course(events.ts_recv_ns[is_mid], (a + b)[is_mid], closed_ns, inputs[:, -1].copy()),
    )


def _plan(columns: Sequence[str], instrument: Instrument, bars: BarSpec, known: Known, span: tuple[int, int]) -> Plan:
    """The live plan, with what live knows beside the market in span (first ns, last ns)."""
    arena = Arena(_ARENA_BYTES)
    calendar = known.calendar(instrument.family, *span)
    return build_plan(columns, instrument, bars, arena, Book(arena, 4096), calendar, neutral=float("nan"), models=known.models)


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
    there = np.isfinite(features).all(axis=1) & np.isfinite(stretch.course.atr_at(stretch.ts_ns))  # the account's columns wait for it
    if there.sum() < 2:
        raise DataError(f"{stretch.name}: no two rows in which every column has a value: use a longer stretch or other columns")
    kept = {name: getattr(stretch, name)[there] for name in ("ts_ns", "bid_ticks", "ask_ticks", "labels")}
    return msgspec.structs.replace(stretch, columns=tuple(columns), features=features[there], **kept)


def from_bar_file(
    path: Path,
    instrument: Instrument,
    columns: Sequence[str],
    regime_columns: Sequence[str],
    known: Known = NOTHING_KNOWN,
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
    span = int(close_ns[0]), int(close_ns[-1])
    outside, _ = known.outside(*span)
    ts, features = batch.compute_bars(_plan(columns, instrument, spec, known, span), close_ns, rows, with_cold=True, outside=outside)
    plan = _plan((*regime_columns, _ATR), instrument, spec, known, span)
    closed_ns, inputs = batch.compute_bars(plan, close_ns, rows, with_cold=True)
    is_warm = np.isfinite(inputs[:, :-1]).all(axis=1)
    bar_ts, bar_inputs = closed_ns[is_warm], np.ascontiguousarray(inputs[is_warm, :-1])
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
        course=_course_of_bars(close_ns, prices, closed_ns, inputs[:, -1].copy()),
    )


def _course_of_bars(close_ns: I64, prices: Sequence[F64], closed_ns: I64, atr: F64) -> Course:
    """Of each bar its low, its high and, in the row's mid, its close: half a tick above it."""
    mids = np.rint(2.0 * np.stack([prices[2], prices[1], np.rint(prices[3]) + 0.5], axis=1)).astype(np.int64)
    times = np.stack([close_ns - 2, close_ns - 1, close_ns], axis=1)
    return Course(times.ravel(), mids.ravel(), closed_ns, atr)


def make_tape(stretch: Stretch, observation: Observation, params: RegimeParams | None, lost: Lost | None = None) -> Tape:
    """The stretch as the environment plays it: columns as the networks read them, and filtered probabilities.

    lost: takes inputs away for a while here and there, so that a policy learns what to do without them.
    """
    probs = filtered(stretch, params)
    features, masks = stretch.features.astype(np.float32), np.ones((len(stretch.ts_ns), observation.masks), np.float32)
    if lost is not None:
        lost.take(features, masks)
    atr = stretch.course.atr_at(stretch.ts_ns)
    if not np.isfinite(atr).all():
        raise DataError(
            f"{stretch.name}: rows before {ATR_LENGTH + 1} bars have closed: no ATR for the account's columns; choose its rows first"
        )
    low, high = stretch.course.extremes(stretch.ts_ns)
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
        low_ticks=low,
        high_ticks=high,
        atr_ticks=atr,
        bars=stretch.course.bars(stretch.ts_ns),
        own=_own_scale(observation, probs),
    )


def _own_scale(observation: Observation, probs: F32) -> OwnScale | None:
    """How the account's columns are read; None for an observation that holds none of them or changes nothing."""
    span = slice(observation.market, len(observation.columns) - observation.masks)
    if not observation.columns[span]:
        return None
    normaliser = observation.normaliser
    return OwnScale(normaliser.inv_std[span], normaliser.clip, (probs @ observation.weights[:, span]).astype(np.float32))


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
    path: Path,
    instruments: Sequence[Instrument],
    columns: Sequence[str],
    regime_columns: Sequence[str],
    bars: BarSpec,
    every_ms: int,
    known: Known = NOTHING_KNOWN,
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
    return from_events(path.name, with_timers(market), instrument, columns, regime_columns, bars, every_ms, known=known)
