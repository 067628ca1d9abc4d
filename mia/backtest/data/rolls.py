"""One continuous series out of futures contracts: when it goes from one to the next, and what becomes of the gap between their prices.

A roll is decided by what was known: on the first UTC day on which the next contract's volume is above the held one's it is due, and
happens at the first bar of the day after. Adjusted prices of the past contain later gaps: their differences (back) or returns
(ratio) are those of a position that was rolled, their levels were never traded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.data.resample import DAY_NS
from mia.backtest.readers import Candles, utc
from mia.domain.errors import ConfigError, DataError

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Method = Literal["back", "ratio", "none"]
METHODS: Final = ("back", "ratio", "none")
_MONTHS: Final = "FGHJKMNQUVXZ"
_CODE: Final = re.compile(rf".*?([{_MONTHS}])(\d{{1,4}})")


class Roll(msgspec.Struct, frozen=True, kw_only=True):
    """From the bars before ts_ns to those from it on; prices at the last bar that both have before it. gap = new close - old close.

    row_old, row_new: of that bar, in their files.
    """

    ts_ns: int
    old: str
    new: str
    common_ns: int
    old_close: float
    new_close: float
    row_old: int
    row_new: int
    gap: float
    gap_percent: float


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """open_ns int64[n], ohlcv float64[n, 5], front: the contract of each bar."""

    open_ns: I64
    ohlcv: F64
    front: list[str]
    rolls: list[Roll]
    interval_ns: int
    notes: list[str]


def in_order(names: Sequence[str]) -> list[str]:
    """Contracts by expiry: 201312, 20131220, ESZ3, ESH2024; ConfigError for names that tell none."""
    keys: dict[str, tuple[int, int]] = {}
    for name in names:
        if re.fullmatch(r"\d{6}(\d\d)?", name):
            keys[name] = (int(name[:4]), int(name[4:6]))
        elif (match := _CODE.fullmatch(name.upper())) is not None:
            keys[name] = (int(match[2]), _MONTHS.index(match[1]))
        else:
            raise ConfigError(f"contract {name!r} names no expiry such as 201312 or ESZ3: give one file for each contract, in order")
    return sorted(names, key=lambda name: keys[name])


def roll(contracts: Mapping[str, Candles], method: Method, at_ns: Sequence[int] = ()) -> Rolled:
    """contracts: in order of expiry. at_ns: when to roll, one for each contract but the last; default by volume.

    DataError when two contracts share no bar before their roll, when adjusting takes prices to 0 or below, or when the bars of
    contracts have different intervals.
    """
    names = list(contracts)
    if len(names) < 2:
        raise ConfigError(f"{', '.join(names) or 'nothing'}: two contracts are the least that can be rolled")
    if at_ns and len(at_ns) != len(names) - 1:
        raise ConfigError(f"{len(names)} contracts have {len(names) - 1} rolls, --at gives {len(at_ns)}")
    if any(b <= a for a, b in itertools.pairwise(at_ns)):
        raise ConfigError("--at: give the rolls in order of time")
    rolls: list[Roll] = []
    notes: list[str] = []
    parts: list[tuple[str, Candles, npt.NDArray[np.bool_]]] = []
    held, since = names[0], -(2**62)
    for k, new in enumerate(names[1:]):
        old_bars, new_bars = contracts[held], contracts[new]
        ts = at_ns[k] if at_ns else due(old_bars, new_bars, since)
        if ts is None:
            notes.append(f"{held} is held to the end: {new} never had more volume on a day; {', '.join(names[k + 1 :])} are not used")
            break
        rolls.append(_roll(held, new, old_bars, new_bars, ts))
        parts.append((held, old_bars, (old_bars.open_ns >= since) & (old_bars.open_ns < ts)))
        held, since = new, ts
    parts.append((held, contracts[held], contracts[held].open_ns >= since))
    intervals = {bars.interval_ns for _, bars, keep in parts if keep.sum() > 1}
    if len(intervals) > 1:
        raise DataError(f"contracts have bars of {' and '.join(f'{ns / 1e9:g} s' for ns in sorted(intervals))}: resample them first")
    ohlcv = [bars.ohlcv[keep].copy() for _, bars, keep in parts]
    for k, r in enumerate(rolls):
        for earlier in ohlcv[: k + 1]:
            if method == "back":
                earlier[:, :4] += r.gap
            elif method == "ratio":
                earlier[:, :4] *= r.new_close / r.old_close
    whole = np.concatenate(ohlcv)
    open_ns = np.concatenate([bars.open_ns[keep] for _, bars, keep in parts])
    if (bad := np.flatnonzero((whole[:, :4] <= 0.0).any(axis=1))).size:
        raise DataError(f"back-adjusting takes the prices of {utc(open_ns[bad[-1]])} and before to 0 or below: use --method ratio")
    return Rolled(
        open_ns=open_ns,
        ohlcv=whole,
        front=[name for name, _, keep in parts for _ in range(int(keep.sum()))],
        rolls=rolls,
        interval_ns=max(intervals, default=0),
        notes=[*notes, *_meaning(method, rolls)],
    )


def due(old: Candles, new: Candles, since_ns: int) -> int | None:
    """The start of the UTC day after the first, from since_ns on, on which `new` traded more than `old`; None: never."""
    days: dict[int, list[float]] = {}
    for k, bars in enumerate((old, new)):
        for day, volume in zip(bars.open_ns // DAY_NS, bars.ohlcv[:, 4], strict=True):
            days.setdefault(int(day), [0.0, 0.0])[k] += float(volume)
    return next((DAY_NS * (day + 1) for day in sorted(days) if day * DAY_NS >= since_ns and days[day][1] > days[day][0]), None)


def _roll(held: str, new: str, old_bars: Candles, new_bars: Candles, ts: int) -> Roll:
    common, i, j = np.intersect1d(old_bars.open_ns, new_bars.open_ns, assume_unique=True, return_indices=True)
    k = int(np.searchsorted(common, ts)) - 1
    if k < 0 or ts - int(common[k]) > 7 * DAY_NS:
        raise DataError(
            f"{held} and {new} have no bar of the same time within a week before the roll of {utc(ts)}: their gap cannot be known: roll at "
            "another time (--at)"
        )
    old_close, new_close = float(old_bars.ohlcv[i[k], 3]), float(new_bars.ohlcv[j[k], 3])
    return Roll(
        ts_ns=ts, old=held, new=new, common_ns=int(common[k]), old_close=old_close, new_close=new_close, row_old=int(old_bars.rows[i[k]]),
        row_new=int(new_bars.rows[j[k]]), gap=new_close - old_close, gap_percent=100.0 * (new_close / old_close - 1.0),
    )  # fmt: skip


def _meaning(method: Method, rolls: Sequence[Roll]) -> list[str]:
    if not rolls:
        return ["no roll: one contract"]
    if method == "back":
        return [
            "back-adjusted: every price before a roll is moved by its gap: differences are a rolled position's, returns in percent and "
            "levels are not"
        ]
    if method == "ratio":
        return ["ratio-adjusted: every price before a roll is scaled: returns are a rolled position's, differences and ticks are not"]
    total = sum(r.gap for r in rolls)
    return [
        f"unadjusted: {len(rolls)} rolls jump by {total:+g} in all: a position held over them does not earn that (a long would seem "
        f"to gain {total:+g}), and pays fees and spread of two orders at each"
    ]
