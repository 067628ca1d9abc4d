"""Where a run's history comes from: candle files, recordings, the simulated market; each as what the runner takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.readers import Candles, OnDuplicate, bar_rows, file_sha256, read_candles, utc
from mia.backtest.recordings import open_recording
from mia.backtest.run.runner import BarRow
from mia.backtest.run.spec import DataFacts
from mia.backtest.validation.seal import Sealed, seal_notes, span_reading
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent, Bar
from mia.domain.instruments import Instrument, InstrumentId
from mia.features.bars import BarSpec
from mia.features.columns import EventColumns
from mia.features.plan import BAR_FIELDS
from mia.sim.bar_desk import BarPrices
from mia.sim.market import SimFeed, SimMarket
from mia.sim.settings import SimMarketSettings

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
SIM_START_NS: Final = 1_700_000_000_000_000_000
_CHUNK: Final = 8192
_NOTIONAL: Final = BAR_FIELDS.index("notional")  # the one that is no whole number
_OPEN_NS: Final = 1 << 62


class BarHistory(NamedTuple):
    """One instrument's bars: open_ns, close_ns int64[n]; rows float64[n, 11] in ticks and lots (mia.features.plan.BAR_FIELDS)."""

    instrument: Instrument
    bars: BarSpec
    open_ns: I64
    close_ns: I64
    rows: F64
    facts: DataFacts
    notes: tuple[str, ...]

    def between(self, from_ns: int, to_ns: int, warm_up: int) -> BarHistory:
        """The bars that end in (from_ns, to_ns], and warm_up bars before them; 0 leaves an end open. DataError when there is none."""
        first = int(np.searchsorted(self.close_ns, from_ns, side="right")) if from_ns else 0
        last = int(np.searchsorted(self.close_ns, to_ns, side="right")) if to_ns else len(self.close_ns)
        if first >= last:
            raise DataError(
                f"{', '.join(self.facts.files)}: no bar between {utc(from_ns) if from_ns else 'the beginning'} and "
                f"{utc(to_ns) if to_ns else 'the end'}; the file goes from {utc(self.open_ns[0])} to {utc(self.close_ns[-1])}"
            )
        first = max(0, first - warm_up)
        cut = slice(first, last)
        facts = msgspec.structs.replace(
            self.facts, rows=last - first, first_ns=int(self.open_ns[first]), last_ns=int(self.close_ns[last - 1])
        )
        return self._replace(open_ns=self.open_ns[cut], close_ns=self.close_ns[cut], rows=self.rows[cut], facts=facts)

    def iterate(self, number: int) -> Iterator[BarRow]:
        """Bar by bar for the runner, as instrument `number`."""
        for start in range(0, len(self.close_ns), _CHUNK):
            stop = start + _CHUNK
            rows = self.rows[start:stop]
            # In columns: a list for each row would be garbage that is looked for again and again.
            columns = [column.tolist() for column in rows.astype(np.int64).T]
            columns[_NOTIONAL] = rows[:, _NOTIONAL].tolist()
            times = self.open_ns[start:stop].tolist(), self.close_ns[start:stop].tolist()
            for open_ns, close_ns, o, h, low, c, volume, buy, sell, value, trades, buys, sells in zip(*times, *columns, strict=True):
                yield BarRow(
                    BarPrices(number, open_ns, close_ns, o, h, low, c, volume),
                    Bar(0, close_ns, close_ns, number, o, h, low, c, volume, buy, sell, value, trades, buys, sells),
                )


def candle_history(
    paths: Sequence[Path],
    instrument: Instrument,
    *,
    tz: str | None = None,
    on_duplicate: OnDuplicate = "error",
    bars: BarSpec | None = None,
    span: tuple[int, int] = (0, 0),
    warm_up: int = 0,
    warm_up_bars: BarSpec | None = None,
    sealed: Sealed = "refuse",
) -> BarHistory:
    """The bars of candle files on the instrument's grid; DataError, ConfigError and SealedError as the readers say.

    span: only what a run from .. to needs, so that a sealed span beyond it is no hindrance; 0 leaves an end open. warm_up, warm_up_bars:
    with what makes so many of these bars (None: of the files') before it. The notes tell of holdouts in this data.
    """
    wanted = (span[0], span[1] or _OPEN_NS) if any(span) else None
    candles = read_candles(
        paths, bars=bars, tz=tz, on_duplicate=on_duplicate, naive_is_utc=True, span=wanted, warm_up=warm_up if span[0] else 0,
        warm_up_bars=warm_up_bars, sealed=sealed,
    )  # fmt: skip
    spec = BarSpec(kind="time", size=Decimal(candles.interval_ns)) if candles.interval_ns else bars
    assert spec is not None  # read_candles asks for it
    return BarHistory(
        instrument=instrument,
        bars=spec,
        open_ns=candles.open_ns,
        close_ns=candles.close_ns,
        rows=bar_rows(candles, instrument, 0, len(candles.close_ns)),
        facts=_facts(candles, instrument, spec),
        notes=(*candles.notes, *seal_notes(candles.reading)),
    )


def _facts(candles: Candles, instrument: Instrument, bars: BarSpec) -> DataFacts:
    return DataFacts(
        instrument=f"{instrument.venue}:{instrument.symbol}",
        kind="bars",
        files=tuple(path.name for path in candles.paths),
        sha256=candles.sha256,
        rows=len(candles.close_ns),
        first_ns=int(candles.open_ns[0]),
        last_ns=int(candles.close_ns[-1]),
        bars=bars.text,
    )


class EventHistory(NamedTuple):
    """Market events of one venue in order of receive time; events() may be called again and gives the same.

    columns: the same events of a single instrument in columns, where they come so; whoever changes events() takes them away.
    """

    instruments: tuple[Instrument, ...]
    events: Callable[[], Iterator[AnyEvent]]
    facts: tuple[DataFacts, ...]
    first_ns: int
    warnings: list[str]  # filled when the events were read
    notes: tuple[str, ...] = ()
    columns: Callable[[], Iterator[EventColumns]] | None = None


def recorded(
    paths: Sequence[Path], instruments: Sequence[tuple[InstrumentId, Instrument]], to_ns: int = 0, sealed: Sealed = "refuse"
) -> EventHistory:
    """Recordings of frames until to_ns (0: all), decoded as the daemon decodes them; SealedError before anything is decoded."""
    feed = open_recording(paths, instruments, sealed, to_ns)
    picked = tuple(definition for _, definition in feed.instruments.values())
    renumbered = [(InstrumentId(i), definition) for i, definition in enumerate(picked)]
    first_ns = last_ns = 0
    for ts, _ in feed.frames():  # a first pass over the frames alone: what is sealed and where they end is known before a run
        first_ns, last_ns = first_ns or ts, ts
    if not first_ns:
        raise DataError(f"{paths[0]}: no frame until {utc(to_ns)}: it begins on {utc(feed.describe().first_ns)}")
    warnings: list[str] = []

    def events() -> Iterator[AnyEvent]:
        feed = open_recording(paths, renumbered, sealed, to_ns)
        codec = feed.codec()
        for ts, payload in feed.frames():
            yield from codec.decode(payload, ts, 0)
        warnings[:] = feed.warnings()

    sha256 = tuple(file_sha256(path) for path in paths)
    facts = tuple(
        DataFacts(
            instrument=f"{d.venue}:{d.symbol}",
            kind="events",
            files=tuple(path.name for path in paths),
            sha256=sha256,
            rows=0,
            first_ns=first_ns,
            last_ns=last_ns,
        )
        for d in picked
    )
    reading = span_reading(dict(zip(sha256, (path.name for path in paths), strict=True)), first_ns, last_ns)
    reading = msgspec.structs.replace(reading, names=feed.names)
    return EventHistory(picked, events, facts, first_ns, warnings, tuple(seal_notes(reading)))


def simulated(settings: SimMarketSettings, instrument: Instrument, duration_s: float, warm_up_s: float) -> EventHistory:
    """The seeded simulated market for duration_s, after warm_up_s of warming up."""
    if not (0 < duration_s <= 31 * 86_400):
        raise ConfigError(f"--duration: a simulated market of {duration_s:g} s: use above 0 s and at most 31 days")
    end_ns = SIM_START_NS + int((duration_s + warm_up_s) * 1e9)

    def events() -> Iterator[AnyEvent]:
        return SimFeed(SimMarket(settings, instrument), SIM_START_NS).events(end_ns)

    def columns() -> Iterator[EventColumns]:
        return SimFeed(SimMarket(settings, instrument), SIM_START_NS).columns(end_ns)

    facts = DataFacts(
        instrument=f"{instrument.venue}:{instrument.symbol}",
        kind="simulated",
        files=(f"seed {settings.seed}",),
        sha256=(),
        rows=0,
        first_ns=SIM_START_NS,
        last_ns=end_ns,
    )
    return EventHistory((instrument,), events, (facts,), SIM_START_NS, [], columns=columns)
