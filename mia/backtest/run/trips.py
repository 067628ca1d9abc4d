"""Closed round trips as rows: what they cost, and how far the market went with and against them on the way."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.effects import RecordTrade
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.execution.attribution import Parts

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Excursions(Protocol):
    """What prices a market showed within a span of time."""

    def within(self, instrument: int, first_ns: int, last_ns: int) -> tuple[float, float, int]:
        """(lowest, highest price in ticks, bars or marks) of what ended after first_ns and began before last_ns; 0 bars: nothing."""
        ...


class Path(NamedTuple):
    """Lows and highs in ticks, float64[n], of stretches that end at ends_ns, int64[n]."""

    ends_ns: I64
    low_ticks: F64
    high_ticks: F64


class Paths:
    """Excursions over the bars (or marks) of each instrument."""

    def __init__(self, paths: dict[int, Path]) -> None:
        self._paths = paths

    def within(self, instrument: int, first_ns: int, last_ns: int) -> tuple[float, float, int]:
        """See Excursions. A stretch that only begins in the span counts whole: within it nobody knows."""
        path = self._paths[instrument]
        first = int(np.searchsorted(path.ends_ns, first_ns, side="right"))
        last = min(int(np.searchsorted(path.ends_ns, last_ns, side="left")) + 1, len(path.ends_ns))
        if first >= last:
            return 0.0, 0.0, 0
        return float(path.low_ticks[first:last].min()), float(path.high_ticks[first:last].max()), last - first


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """One closed round trip. mae_e8 <= 0 <= mfe_e8: its worst and best moment at its largest size, against the average entry.

    regime: the likeliest at the opening decision, -1 without a model.
    """

    trade_id: str
    instrument: int
    side: int
    opened_ns: int
    closed_ns: int
    entry_price: float
    exit_price: float
    qty: float
    profit_e8: int
    parts: Parts
    mae_e8: int
    mfe_e8: int
    bars: int
    regime: int

    @staticmethod
    def of(record: RecordTrade, parts: Parts, definition: Instrument, excursions: Excursions) -> Trip:
        """The row of a closing record."""
        low, high, bars = excursions.within(record.instrument, record.opened_ns, record.closed_ns)
        entry = record.entry_price / float(definition.tick_size)
        worst, best = (low - entry, high - entry) if record.side > 0 else (entry - high, entry - low)
        scale = record.max_lots * definition.unit_e8
        probs = record.regime_probs
        return Trip(
            trade_id=record.trade_id,
            instrument=record.instrument,
            side=record.side,
            opened_ns=record.opened_ns,
            closed_ns=record.closed_ns,
            entry_price=record.entry_price,
            exit_price=record.exit_price,
            qty=float(definition.quantity(record.max_lots)),
            profit_e8=record.profit_e8,
            parts=parts,
            mae_e8=min(0, round(worst * scale)) if bars else 0,
            mfe_e8=max(0, round(best * scale)) if bars else 0,
            bars=bars,
            regime=max(range(3), key=probs.__getitem__) if max(probs) > min(probs) else -1,
        )

    def row(self) -> list[object]:
        """As trades.csv has it (mia.backtest.run.artifacts.TRIP_COLUMNS); money in whole units, exact."""
        p = self.parts
        money = [
            self.profit_e8, p.gross_e8, p.fees_e8, p.spread_e8, p.slippage_e8, p.impact_e8,
            p.funding_e8 + p.borrow_e8 + p.commission_e8 + p.roll_e8 + p.liquidation_e8 + p.other_e8, self.mae_e8, self.mfe_e8,
        ]  # fmt: skip
        texts = [_money(value) for value in money]
        head: list[object] = [
            self.trade_id, self.instrument, self.side, self.opened_ns, self.closed_ns, repr(self.entry_price), repr(self.exit_price),
            repr(self.qty),
        ]  # fmt: skip
        return [*head, *texts, self.bars, self.regime]


def _money(value_e8: int) -> str:
    whole, part = divmod(abs(value_e8), MONEY_SCALE)
    return f"{'-' if value_e8 < 0 else ''}{whole}.{part:08d}"
