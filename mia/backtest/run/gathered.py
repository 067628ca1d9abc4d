"""What a run leaves behind, in columns, whichever path made it: marks, orders, fills, decisions, round trips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.domain.effects import RecordTrade
from mia.domain.events import CashFlow, OrderFilled
from mia.execution.attribution import Moments

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I8 = npt.NDArray[np.int8]
ACTED: Final = ("buy", "sell", "reduce", "flat")


class Marks(NamedTuple):
    """The account at the start and after each bar (or second): int64[n]; lots, mids2: int64[n, instruments].

    mids2: doubled prices in ticks that positions are valued at, 0 before there is one. exposure: signed notional over equity, float64[n];
    regime: likeliest of the first lane, -1 without a model, int8[n].
    """

    ts_ns: I64
    equity_e8: I64
    cash_e8: I64
    lots: I64
    mids2: I64
    exposure: F64
    regime: I8


class OrderRow(NamedTuple):
    """One order, numbered from 1 in the order in which they left."""

    order: int
    ts_ns: int
    instrument: int
    side: int
    order_type: str
    qty_lots: int
    price_ticks: int
    stop_ticks: int
    reduce_only: bool
    purpose: str


class DecisionRow(NamedTuple):
    """Decisions in a row that came to the same, or one that was acted on; signal to target_lots are of the first."""

    first_ns: int
    last_ns: int
    times: int
    lane: int
    decision: str
    code: str
    signal: float
    alpha: float
    position_lots: int
    target_lots: int


class Gathered(NamedTuple):
    """moments: the prices behind a fill, by fill id; fill_orders: number of each fill's order, 0 for one of the venue's own.

    end_mids2: last doubled marks.
    """

    marks: Marks
    orders: Sequence[OrderRow]
    fills: Sequence[OrderFilled]
    fill_orders: Sequence[int]
    money: Sequence[OrderFilled | CashFlow]
    moments: Mapping[str, Moments]
    decisions: Sequence[DecisionRow]
    trades: Sequence[RecordTrade]
    end_mids2: Sequence[int]
    counters: dict[str, Any]


def exposure_of(equity_e8: I64, notional_e8: F64 | I64) -> F64:
    """Signed notional over equity; 0 where there is no equity."""
    return np.divide(notional_e8, equity_e8, out=np.zeros(len(equity_e8)), where=equity_e8 > 0)
