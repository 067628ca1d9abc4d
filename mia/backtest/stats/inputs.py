"""What statistics are computed from: the track of an account and its closed trades, checked before anything is computed."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.errors import DataError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
Bool = npt.NDArray[np.bool_]
E8: Final = 1e8
_MONEY_MAX: Final = 9.2e18 / E8


class Track(NamedTuple):
    """An account over time; the first row is its start, before any trade. ts_ns rises strictly.

    equity_e8: 1e-8 of the account currency; exposure: signed notional / equity from this mark on; regime: from this mark on, -1 unknown.
    """

    ts_ns: I64
    equity_e8: I64
    exposure: F64
    regime: I8


class Trips(NamedTuple):
    """Closed round trips, in order of their close. profit_e8 is net of cost_e8; mae_e8 <= 0 <= mfe_e8: worst and best open profit."""

    instrument: I64
    side: I8
    opened_ns: I64
    closed_ns: I64
    entry_price: F64
    exit_price: F64
    qty: F64
    profit_e8: I64
    cost_e8: I64
    mae_e8: I64
    mfe_e8: I64
    bars: I64
    regime: I8


class Trials(msgspec.Struct, frozen=True):
    """How many configurations were tried, and the variance of their annual Sharpe ratios (as of a trial registry).

    variance: None while too few of several have a Sharpe ratio.
    """

    count: int
    variance: float | None


def no_trips() -> Trips:
    """Of a track without a trade."""
    long, real, small = np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int8)
    return Trips(long, small, long, long, real, real, real, long, long, long, long, long, small)


def track_of(ts_ns: I64, equity: npt.ArrayLike, exposure: npt.ArrayLike | None = None) -> Track:
    """A checked track from equity (or prices) in units of money; DataError names the row of a NaN, an infinity or a sum beyond int64."""
    money = np.asarray(equity, np.float64)
    _first_bad(~(np.abs(money) < _MONEY_MAX), "equity", money)
    known = np.zeros(len(money)) if exposure is None else np.asarray(exposure, np.float64)
    return check_track(Track(np.asarray(ts_ns, np.int64), np.rint(money * E8).astype(np.int64), known, np.full(len(money), -1, np.int8)))


def check_track(track: Track) -> Track:
    """The track itself; DataError when it is empty, its columns differ in length, times do not rise, or it starts without money.

    Equity at or below 0 later on is no error: the account is ruined there, and the figures say so.
    """
    _check_columns("track", track, {"ts_ns": "i", "equity_e8": "i", "exposure": "f", "regime": "i"})
    if not len(track.ts_ns):
        raise DataError("track: no rows: an account has at least the mark of its start")
    falls = np.flatnonzero(np.diff(track.ts_ns) <= 0)
    if len(falls):
        row = int(falls[0]) + 1
        raise DataError(f"track: row {row}: ts_ns {track.ts_ns[row]} does not follow {track.ts_ns[row - 1]}: times must rise")
    _first_bad(~np.isfinite(track.exposure), "track: exposure", track.exposure)
    if track.equity_e8[0] <= 0:
        raise DataError(f"track: row 0: equity {track.equity_e8[0] / E8:g}: an account starts with money")
    return track


def check_trips(trips: Trips) -> Trips:
    """The trips themselves; DataError names the row of a bad side, price, quantity or time, or one out of order of the close."""
    kinds = dict.fromkeys(Trips._fields, "i") | {"entry_price": "f", "exit_price": "f", "qty": "f"}
    _check_columns("trips", trips, kinds)
    _first_bad((trips.side != 1) & (trips.side != -1), "trips: side (1 or -1)", trips.side)
    for name in ("entry_price", "exit_price", "qty"):
        values = getattr(trips, name)
        _first_bad(~np.isfinite(values), f"trips: {name}", values)
    _first_bad(~(trips.qty > 0.0), "trips: qty (above 0)", trips.qty)
    _first_bad(trips.closed_ns < trips.opened_ns, "trips: closed_ns (not before opened_ns)", trips.closed_ns)
    _first_bad(np.diff(trips.closed_ns, prepend=trips.closed_ns[:1]) < 0, "trips: closed_ns (rising)", trips.closed_ns)
    return trips


def check_returns(returns: npt.ArrayLike, what: str = "returns") -> F64:
    """As contiguous float64[n]; DataError names the first row that is not finite, or says that there is none."""
    values = np.ascontiguousarray(returns, np.float64)
    if values.ndim != 1 or not len(values):
        raise DataError(f"{what}: needs one column with at least one row, got shape {values.shape}")
    _first_bad(~np.isfinite(values), what, values)
    return values


def _check_columns(what: str, rows: Track | Trips, kinds: dict[str, str]) -> None:
    lengths = {name: len(getattr(rows, name)) for name in rows._fields}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{what}: columns differ in length: {', '.join(f'{name} {n}' for name, n in lengths.items())}")
    for name, kind in kinds.items():
        column = getattr(rows, name)
        if column.dtype.kind != kind:
            raise DataError(f"{what}: {name} is {column.dtype}, not {'integer' if kind == 'i' else 'float64'}")


def _first_bad(bad: Bool, what: str, values: npt.NDArray[np.float64] | I64 | I8) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        raise DataError(f"{what}: row {rows[0]}: {values[rows[0]]}{f' (and {len(rows) - 1} more)' if len(rows) > 1 else ''}")
