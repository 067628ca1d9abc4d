"""Gathers what the event engine does, while it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mia.backtest.run.gathered import ACTED, DecisionRow, Gathered, Marks, OrderRow, exposure_of
from mia.domain.effects import AnyEffect, RaiseAlert, RecordDecision, RecordTrade, SubmitOrder
from mia.domain.events import CashFlow, OrderFilled
from mia.execution.attribution import Moments

if TYPE_CHECKING:
    from mia.domain.events import AnyEvent
    from mia.engine.engine import Engine


class Collector:
    """Hears every event and its effects; a mark of the account is taken when the runner says so."""

    def __init__(self) -> None:
        self.marks: list[tuple[int, int, int, int, int]] = []  # ts, equity, cash, notional, regime
        self.lots: list[tuple[int, ...]] = []  # beside the marks
        self.mids2: list[tuple[int, ...]] = []  # beside the marks: doubled
        self.orders: list[OrderRow] = []
        self.fills: list[OrderFilled] = []
        self.money: list[OrderFilled | CashFlow] = []  # in the order in which the portfolio took them
        self.moments: dict[str, Moments] = {}  # by fill id
        self.trades: list[RecordTrade] = []
        self.alerts: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  # of orders, by client id
        self._decided: dict[str, int] = {}  # doubled mid when an order was sent
        self._decisions: list[DecisionRow] = []
        self._last: dict[int, int] = {}  # the row that a lane's next decision may lengthen

    def take(self, event: AnyEvent, effects: Sequence[AnyEffect], engine: Engine) -> None:
        """One event and what the engine wished for."""
        kind: type = type(event)
        if kind is OrderFilled:
            self._fill(event, engine)  # type: ignore[arg-type]
        elif kind is CashFlow:
            self.money.append(event)  # type: ignore[arg-type]
        for effect in effects:
            kind = type(effect)
            if kind is RecordDecision:
                self._decide(effect)  # type: ignore[arg-type]
            elif kind is SubmitOrder:
                self._submit(event.ts_recv_ns, effect, engine)  # type: ignore[arg-type]
            elif kind is RecordTrade:
                if effect.is_closed:  # type: ignore[union-attr]
                    self.trades.append(effect)  # type: ignore[arg-type]
            elif kind is RaiseAlert:
                code = effect.code  # type: ignore[union-attr]
                self.alerts[code] = self.alerts.get(code, 0) + 1

    def _fill(self, fill: OrderFilled, engine: Engine) -> None:
        self.fills.append(fill)
        self.money.append(fill)
        known = engine.markets[fill.instrument].state
        mid2 = known.bid_ticks + known.ask_ticks if known.has_quote else 0
        touch = (known.ask_ticks if fill.side > 0 else known.bid_ticks) if mid2 else 0
        self.moments[fill.fill_id] = Moments(self._decided.get(fill.client_order_id, mid2), mid2, touch)

    def _submit(self, ts_ns: int, order: SubmitOrder, engine: Engine) -> None:
        number = self._numbers[order.client_order_id] = len(self.orders) + 1
        self._decided[order.client_order_id] = engine.state.mid2[order.instrument]
        self.orders.append(
            OrderRow(
                number, ts_ns, order.instrument, order.side, str(order.order_type), order.qty_lots, order.price_ticks, order.stop_ticks,
                order.reduce_only, str(order.purpose),
            )
        )  # fmt: skip

    def _decide(self, d: RecordDecision) -> None:
        at = self._last.get(d.lane)
        if at is not None and d.decision not in ACTED:
            row = self._decisions[at]
            if row.decision == d.decision and row.code == d.code:
                self._decisions[at] = row._replace(last_ns=d.ts_ns, times=row.times + 1)
                return
        self._last[d.lane] = len(self._decisions)
        self._decisions.append(
            DecisionRow(d.ts_ns, d.ts_ns, 1, d.lane, d.decision, str(d.code), d.signal, d.alpha, d.position_lots, d.target_lots)
        )

    def mark(self, ts_ns: int, engine: Engine) -> None:
        """Note the account as it stands."""
        state = engine.state
        portfolio = state.portfolio
        lots = tuple(market.position.lots for market in engine.markets)
        notional = 0
        for market, held in zip(engine.markets, lots, strict=True):
            if held:
                notional += held * state.marks2[market.index] * market.terms.unit_e8 // 2
        self.lots.append(lots)
        self.mids2.append(tuple(state.marks2))
        self.marks.append((ts_ns, portfolio.equity_e8(state.marks2), portfolio.cash_e8, notional, _regime(engine)))

    def gather(self, engine: Engine) -> Gathered:
        """Everything, in columns."""
        counters = engine.state.counters
        table = np.array(self.marks, dtype=np.int64).reshape(len(self.marks), 5)
        return Gathered(
            marks=Marks(
                table[:, 0],
                table[:, 1],
                table[:, 2],
                np.array(self.lots, dtype=np.int64).reshape(len(self.marks), len(engine.markets)),
                np.array(self.mids2, dtype=np.int64).reshape(len(self.marks), len(engine.markets)),
                exposure_of(table[:, 1], table[:, 3].astype(np.float64)),
                table[:, 4].astype(np.int8),
            ),
            orders=self.orders,
            fills=self.fills,
            fill_orders=[self._numbers[fill.client_order_id] for fill in self.fills],
            money=self.money,
            moments=self.moments,
            decisions=self._decisions,
            trades=self.trades,
            end_mids2=engine.state.marks2,
            counters={
                "market_events": counters.market_events,
                "decisions": counters.decisions,
                "orders": counters.orders,
                "fills": counters.fills,
                "trades": counters.trades,
                "verbs": dict(sorted(counters.verbs.items())),
                "codes": dict(sorted((str(code), n) for code, n in counters.codes.items())),
                "alerts": dict(sorted(self.alerts.items())),
            },
        )


def _regime(engine: Engine) -> int:
    """The likeliest regime of the first lane; -1 without a model."""
    if not engine.lanes or engine.lanes[0].plan.regime is None:
        return -1
    probs = engine.lanes[0].state.regime_probs
    return max(range(3), key=probs.__getitem__)
