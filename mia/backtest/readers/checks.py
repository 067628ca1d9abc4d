"""What rows of candles must be: prices that hold each other, times that rise, one interval. Errors name file and row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.backtest.readers.frames import F64, I64, PRICES, first
from mia.backtest.readers.times import utc
from mia.domain.errors import ConfigError, DataError
from mia.features.bars import BarSpec

OnDuplicate = Literal["error", "drop"]
_MEAN_OFF: Final = 1e-6  # how far a mean price may lie outside of its bar, as rounding leaves it
_CUT: Final = 1e-6  # of volume: what its decimals leave out


class Repeats(NamedTuple):
    """Rows left out: their numbers in the file, from 1, their times, and what each is."""

    rows: I64
    ts_ns: I64
    kinds: tuple[str, ...]


def check_prices(path: Path, times: I64, ohlcv: F64, rows: I64) -> None:
    """Prices above 0, low <= open, close <= high, no negative volume."""
    for k, name in enumerate(PRICES):
        bad = ohlcv[:, k] <= 0.0
        if bad.any():
            row = first(bad)
            raise DataError(f"{path}: row {rows[row]} ({utc(times[row])}): {name} is {ohlcv[row, k]:g}: prices must be above 0")
    if (bad := ohlcv[:, 4] < 0.0).any():
        row = first(bad)
        raise DataError(f"{path}: row {rows[row]} ({utc(times[row])}): volume is {ohlcv[row, 4]:g}: it must not be negative")
    opens, highs, lows, closes = ohlcv[:, :4].T
    for name, values, bad in (
        ("high", highs, highs < np.maximum(np.maximum(opens, closes), lows)),
        ("low", lows, lows > np.minimum(opens, closes)),
    ):
        if bad.any():
            row = first(bad)
            o, h, low, c = ohlcv[row, :4]
            raise DataError(
                f"{path}: row {rows[row]} ({utc(times[row])}): {name} {values[row]:g} does not hold open {o:g}, high {h:g}, low {low:g}, "
                f"close {c:g}: are the columns in another order?"
            )


def check_traded(path: Path, times: I64, ohlcv: F64, trades: F64 | None, notional: F64 | None, rows: I64) -> None:
    """No negative count, and a mean price of the trades, quote_volume / volume, between low and high."""
    if trades is not None and (bad := trades < 0.0).any():
        row = first(bad)
        raise DataError(f"{path}: row {rows[row]} ({utc(times[row])}): trades is {trades[row]:g}: it must not be negative")
    if notional is None:
        return
    low, high, volume = ohlcv[:, 2], ohlcv[:, 1], ohlcv[:, 4]
    bad = (notional < low * volume * (1.0 - _MEAN_OFF)) | (notional > high * volume * (1.0 + _MEAN_OFF))
    # A volume is cut to the decimals of its file, which of a tiny one is much.
    bad &= np.abs(notional - np.clip(notional, low * volume, high * volume)) > _CUT * high
    if bad.any():
        row = first(bad)
        mean = f"a mean price of {notional[row] / volume[row]:.10g}, outside" if volume[row] > 0.0 else "without volume"
        raise DataError(
            f"{path}: row {rows[row]} ({utc(times[row])}): quote_volume is {notional[row]:g}: {mean} of "
            f"low {low[row]:g} .. high {high[row]:g}; it is the sum of price times volume, in the units of both"
        )


def rising(path: Path, times: I64, on_duplicate: OnDuplicate, rows: I64) -> npt.NDArray[np.bool_]:
    """Which rows lie after all before them."""
    keep = np.ones(len(times), dtype=np.bool_)
    keep[1:] = times[1:] > np.maximum.accumulate(times)[:-1]
    if on_duplicate == "error" and not keep.all():
        row = first(~keep)
        word = "repeats the time of" if times[row] == times[row - 1] else "is earlier than"
        more = f" (and {n} rows more)" if (n := int((~keep).sum()) - 1) else ""
        raise DataError(
            f"{path}: row {rows[row]} ({utc(times[row])}) {word} row {rows[row - 1]} ({utc(times[row - 1])}){more}: times must rise; "
            "--on-duplicate drop leaves such rows out"
        )
    return keep


def repeats_of(times: I64, ohlcv: F64, keep: npt.NDArray[np.bool_], rows: I64) -> Repeats:
    """What the rows are that do not lie after all before them."""
    at = np.flatnonzero(~keep)
    if not len(at):
        return Repeats(rows[:0], times[:0], ())
    kept = np.flatnonzero(keep)
    same = np.minimum(np.searchsorted(times[kept], times[at]), len(kept) - 1)
    kinds = tuple(
        "earlier than the row before" if times[kept[k]] != times[i]
        else "repeated" if (ohlcv[kept[k]] == ohlcv[i]).all()
        else "repeated with other values"
        for i, k in zip(at, same, strict=True)
    )  # fmt: skip
    return Repeats(rows[at], times[at], kinds)


def interval_of(where: str, times: I64, bars: BarSpec | None, rows: I64) -> int:
    """Of time bars, in ns: the most frequent distance of two rows, and no two rows closer."""
    if bars is not None and bars.kind != "time":
        raise ConfigError(f"{where}: holds time bars, not {bars.text}: leave that out")
    given = bars.interval_ns if bars is not None else 0
    if len(times) < 2:
        if not given:
            raise ConfigError(
                f"{where}: a single row does not tell its interval: name it with --bars time:1m (of a backtest with --timeframe)"
            )
        return given
    steps = np.diff(times)
    distances, counts = np.unique(steps, return_counts=True)
    interval = int(distances[counts.argmax()])
    if given and interval != given:
        spec = BarSpec(kind="time", size=Decimal(interval))
        raise ConfigError(f"{where}: holds {spec.text} bars, not the {bars.text if bars else ''} that was asked for: leave that out")
    if (bad := steps < interval).any():
        row = first(bad) + 1
        raise DataError(
            f"{where}: row {rows[row]} ({utc(times[row])}): begins {steps[row - 1] / 1e9:g} s after row {rows[row - 1]}, "
            f"whose bar lasts {interval / 1e9:g} s"
        )
    return interval
