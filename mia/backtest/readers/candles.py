"""Bars of one or more candle files, in order of time; a sealed span stops them. What was left out or guessed is in `notes`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.readers.checks import OnDuplicate, Repeats, check_prices, check_traded, interval_of, repeats_of, rising
from mia.backtest.readers.frames import F64, I64, PRICES, file_sha256, numbers, read_frame, symbols_of
from mia.backtest.readers.times import times_of, utc
from mia.backtest.validation.seal import Reading, Sealed, SealLog, names_in
from mia.domain.errors import ConfigError, DataError
from mia.features.bars import BarSpec
from mia.features.batch import BY_NOTIONAL

if TYPE_CHECKING:
    import polars as pl

CLOSES: Final = "date_time"

_OPEN_END_NS: Final = 1 << 62  # a span without an end


class Candles(msgspec.Struct, frozen=True, kw_only=True):
    """Bars of one or more files in order of time.

    open_ns, close_ns: int64[n]; ohlcv: float64[n, 5]; trades, notional: float64[n] where every file has them, else None: how many
    trades, and the sum of their price times quantity.
    interval_ns: of time bars, 0 when bars end at irregular times. dropped: rows left out as late or repeated.
    sha256: of the files' bytes, in their order. rows: int64[n], of each bar in its file, from 1.
    names: words of file names and symbol columns that may name the instrument. repeats: what was dropped, file by file.
    """

    paths: tuple[Path, ...]
    open_ns: I64
    close_ns: I64
    ohlcv: F64
    trades: F64 | None
    notional: F64 | None
    interval_ns: int
    dropped: int
    notes: tuple[str, ...]
    sha256: tuple[str, ...]
    rows: I64
    names: frozenset[str]
    repeats: tuple[Repeats, ...] = ()

    @property
    def reading(self) -> Reading:
        """What a seal knows data by."""
        return Reading(
            sha256=self.sha256, names=self.names, begin_ns=self.open_ns, end_ns=self.close_ns, high=self.ohlcv[:, 1], low=self.ohlcv[:, 2]
        )

    def at(self, keep: npt.NDArray[np.bool_]) -> Candles:
        """Only these bars."""
        columns = {name: value for name in self.__struct_fields__ if isinstance(value := getattr(self, name), np.ndarray)}
        return msgspec.structs.replace(self, **{name: value[keep] for name, value in columns.items()})

    @property
    def name(self) -> str:
        """The files, for messages."""
        return ", ".join(path.name for path in self.paths)


def read_bars(path: Path, sealed: Sealed = "refuse") -> tuple[I64, F64]:
    """(open time ns [n], OHLCV [n, 5]) of a candle file of time bars; times without a zone are UTC. DataError as read_candles."""
    candles = read_candles([path], naive_is_utc=True, sealed=sealed)
    return candles.open_ns, candles.ohlcv


def read_candles(
    paths: Sequence[Path],
    *,
    bars: BarSpec | None = None,
    tz: str | None = None,
    on_duplicate: OnDuplicate = "error",
    naive_is_utc: bool = False,
    span: tuple[int, int] | None = None,
    warm_up: int = 0,
    warm_up_bars: BarSpec | None = None,
    sealed: Sealed = "refuse",
) -> Candles:
    """The bars of candle files given in order of time.

    A time column: ts_ns, ts_ms, ts_unix_s, date, datetime, timestamp, time, or Date with Time: when a bar begins; date_time: when it
    ends. Then open, high, low, close (or last), volume (or cum_vol). Where the file has them, quote_volume (quote_asset_volume,
    cum_dollar), the sum of price times quantity, and trades (count, number_of_trades, cum_ticks). A CSV without a header: ts_ms and five
    numbers, whose order is the one in which low <= open, close <= high holds everywhere. tz: zone of times that state none, such as
    America/Chicago.
    bars: as which the rows are to be taken; time bars tell it by their most frequent distance. on_duplicate: `drop` leaves out rows
    whose time does not lie after all before them, as live would. span: only bars that lie in [from, to), Unix ns.
    warm_up, warm_up_bars: and what makes so many of these bars (None: of the files' own) before them.
    sealed: `exclude` leaves out bars of sealed spans, and a note says how many.
    DataError names file, row and column; ConfigError what is missing on the command line; SealedError a holdout.
    """
    candles = _read_all(paths, bars, tz, on_duplicate, naive_is_utc)
    if span is not None:
        inside = (candles.open_ns >= span[0]) & (candles.close_ns <= span[1])
        if not inside.any():
            end = utc(span[1]) if span[1] < _OPEN_END_NS else "the end"
            held = f"it holds {utc(candles.open_ns[0])} to {utc(candles.close_ns[-1])}"
            raise DataError(f"{candles.name}: no bar lies in {utc(span[0])} to {end}: {held}")
        candles = candles.at(with_warm_up(inside, candles.interval_ns, warm_up, warm_up_bars))
    return unsealed(candles, sealed)


def read_for_seal(paths: Sequence[Path], *, tz: str | None = None) -> Candles:
    """The bars, sealed or not: for the verb that seals them and for nothing else. As read_candles; late rows are left out."""
    return _read_all(paths, None, tz, "drop", False)


def _read_all(paths: Sequence[Path], bars: BarSpec | None, tz: str | None, on_duplicate: OnDuplicate, naive_is_utc: bool) -> Candles:
    parts = [_read(path, tz, on_duplicate, naive_is_utc) for path in paths]
    if not parts:
        raise DataError("no candle file given")
    return assembled(paths, parts, bars)


def with_warm_up(inside: npt.NDArray[np.bool_], interval_ns: int, warm_up: int, bars: BarSpec | None) -> npt.NDArray[np.bool_]:
    """And rows for warm_up bars before them; interval_ns: of the rows, one of which is inside at least."""
    if not warm_up:
        return inside
    rows = warm_up
    if bars is not None and bars.kind == "time" and 0 < interval_ns < bars.interval_ns:
        # Two bars more: the first of the rows may lie in the middle of one, and the first inside as well.
        rows = (warm_up + 2) * (bars.interval_ns // interval_ns)
    first_inside = int(np.flatnonzero(inside)[0])
    inside = inside.copy()
    inside[max(0, first_inside - rows) : first_inside] = True
    return inside


def unsealed(candles: Candles, sealed: Sealed) -> Candles:
    """What may be read of them."""
    keep, notes = SealLog().allowed(candles.reading, candles.name, sealed)
    if keep is None:
        return candles
    return msgspec.structs.replace(candles.at(keep), notes=(*candles.notes, *notes))


def assembled(paths: Sequence[Path], parts: Sequence[Part], bars: BarSpec | None) -> Candles:
    """Files as one history, in the order given. bars: as read_candles."""
    for a, b in itertools.pairwise(parts):
        if not a.times[-1] < b.times[0]:
            raise DataError(f"{b.path}: begins at {utc(b.times[0])}, before the end of {a.path} ({utc(a.times[-1])}): give files in order")
        if a.at_close != b.at_close:
            raise DataError(f"{b.path}: its times are of another kind than those of {a.path}: compute them one by one")
    times, rows, ohlcv = _whole([p.times for p in parts]), _whole([p.rows for p in parts]), _whole([p.ohlcv for p in parts])
    trades, notional = _joined([p.trades for p in parts]), _joined([p.notional for p in parts])
    where = ", ".join(str(path) for path in paths)
    interval, notes = 0, [note for p in parts for note in p.notes]
    if notional is None:
        notes.append(without_turnover(", ".join(p.path.name for p in parts if p.notional is None)))
    if parts[0].at_close:
        if bars is None:
            raise ConfigError(
                f"{where}: bars end at irregular times: say which they are, such as tick:2800 or dollar:70000000, with --bars "
                "(of a backtest with --timeframe)"
            )
        close_ns, open_ns = times, np.concatenate([times[:1], times[:-1]])
    else:
        interval = interval_of(where, times, bars, rows)
        open_ns, close_ns = times, times + interval
    return Candles(
        paths=tuple(paths),
        open_ns=open_ns,
        close_ns=close_ns,
        ohlcv=ohlcv,
        trades=trades,
        notional=notional,
        interval_ns=interval,
        dropped=sum(p.dropped for p in parts),
        notes=tuple(notes),
        sha256=tuple(file_sha256(path) for path in paths),
        rows=rows,
        names=names_in([*(path.name for path in paths), *(symbol for p in parts for symbol in p.symbols)]),
        repeats=tuple(p.repeats for p in parts),
    )


def without_turnover(name: str) -> str:
    """What is said of bars that do not tell the price of their trades."""
    return (
        f"{name}: no column quote_volume: a bar's mean price is taken to be (high + low + close) / 3, where live knows that of its "
        f"trades: near to live's values, not equal to them: {', '.join(BY_NOTIONAL)}"
    )


def _whole(columns: Sequence[Any]) -> Any:
    """One after the other; of one file no copy."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _joined(columns: Sequence[F64 | None]) -> F64 | None:
    """A column of all files; None when one of them has none."""
    there = [column for column in columns if column is not None]
    return _whole(there) if len(there) == len(columns) else None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One file; times: of opens or closes."""

    path: Path
    times: I64
    at_close: bool
    ohlcv: F64
    trades: F64 | None
    notional: F64 | None
    dropped: int
    notes: list[str]
    rows: I64
    symbols: list[str]
    repeats: Repeats


def _read(path: Path, tz: str | None, on_duplicate: OnDuplicate, naive_is_utc: bool) -> Part:
    frame, notes = read_frame(path)
    if {"contract", "ms_of_day"} & set(frame.columns):
        raise DataError(
            f"{path}: holds several contracts (contract, ms_of_day): write the bars of one as ts_ms, open, high, low, close, volume"
        )
    if frame.height == 0:
        raise DataError(f"{path}: holds no rows")
    return part_of(path, frame, notes, tz, on_duplicate, naive_is_utc, np.arange(1, frame.height + 1))


def part_of(
    path: Path, frame: pl.DataFrame, notes: list[str], tz: str | None, on_duplicate: OnDuplicate, naive_is_utc: bool, rows: I64
) -> Part:
    """rows: their numbers in the file."""
    if missing := [c for c in (*PRICES, "volume") if c not in frame.columns]:
        raise DataError(f"{path}: column {missing[0]!r} is missing; it has {', '.join(frame.columns)}")
    times, column = times_of(path, frame, tz, naive_is_utc, rows)
    values = [numbers(path, frame, name, rows) for name in (*PRICES, "volume")]
    trades, notional = (numbers(path, frame, name, rows) if name in frame.columns else None for name in ("trades", "quote_volume"))
    ohlcv = np.stack(values).T  # column by column in memory, as it is checked and scaled
    del values
    check_prices(path, times, ohlcv, rows)
    check_traded(path, times, ohlcv, trades, notional, rows)
    keep = rising(path, times, on_duplicate, rows)
    dropped = int(len(keep) - np.count_nonzero(keep))
    if dropped:
        notes.append(f"{path.name}: {dropped} late or repeated rows left out")
    part = Part(
        path=path, times=times, at_close=column == CLOSES, ohlcv=ohlcv, trades=trades, notional=notional, dropped=dropped, notes=notes,
        rows=rows, repeats=repeats_of(times, ohlcv, keep, rows), symbols=symbols_of(frame),
    )  # fmt: skip
    if not dropped:
        return part
    return msgspec.structs.replace(
        part,
        times=times[keep],
        ohlcv=ohlcv[keep],
        trades=None if trades is None else trades[keep],
        notional=None if notional is None else notional[keep],
        rows=rows[keep],
    )
