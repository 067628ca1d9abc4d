"""What a run leaves behind, gathered while it goes: marks, orders, fills, decisions, round trips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mia.domain.effects import AnyEffect, RaiseAlert, RecordDecision, RecordTrade, SubmitOrder
from mia.domain.events import CashFlow, OrderFilled
from mia.execution.attribution import Moments

if TYPE_CHECKING:
    from mia.domain.events import AnyEvent
    from mia.engine.engine import Engine


class Collector:
    """Hears every event and its effects; a mark of the account is taken when the runner says so."""

    def __init__(self) -> None:
        self.mids2: list[tuple[int, ...]] = []  # beside the marks: doubled mids
        self.moments: dict[str, Moments] = {}  # by fill id, where fills and mids come from one stream
        self._decided: dict[str, int] = {}  # doubled mid when an order was sent
        self.marks: list[tuple[int, int, int, int, tuple[int, ...], int]] = []  # ts, equity, cash, notional, lots, regime
        self.orders: list[tuple[int, SubmitOrder]] = []
        self.fills: list[OrderFilled] = []
        self.money: list[OrderFilled | CashFlow] = []  # in the order in which the portfolio took them
        self.decisions: list[RecordDecision] = []
        self.trades: list[RecordTrade] = []
        self.alerts: dict[str, int] = {}

    def take(self, event: AnyEvent, effects: Sequence[AnyEffect], engine: Engine) -> None:
        """One event and what the engine wished for."""
        if type(event) is OrderFilled:
            known = engine.markets[event.instrument].state
            mid2 = known.bid_ticks + known.ask_ticks if known.has_quote else 0
            touch = (known.ask_ticks if event.side > 0 else known.bid_ticks) if mid2 else 0
            self.moments[event.fill_id] = Moments(self._decided.get(event.client_order_id, mid2), mid2, touch)
            self.fills.append(event)
            self.money.append(event)
        elif type(event) is CashFlow:
            self.money.append(event)
        for effect in effects:
            kind = type(effect)
            if kind is RecordDecision:
                self.decisions.append(effect)  # type: ignore[arg-type]
            elif kind is SubmitOrder:
                self.orders.append((event.ts_recv_ns, effect))  # type: ignore[arg-type]
                self._decided[effect.client_order_id] = engine.state.mid2[effect.instrument]  # type: ignore[union-attr]
            elif kind is RecordTrade:
                if effect.is_closed:  # type: ignore[union-attr]
                    self.trades.append(effect)  # type: ignore[arg-type]
            elif kind is RaiseAlert:
                code = effect.code  # type: ignore[union-attr]
                self.alerts[code] = self.alerts.get(code, 0) + 1

    def mark(self, ts_ns: int, engine: Engine) -> None:
        """Note the account as it stands."""
        state = engine.state
        portfolio = state.portfolio
        equity = portfolio.equity_e8(state.marks2)
        lots = []
        notional = 0
        for market in engine.markets:
            held = market.position.lots
            lots.append(held)
            if held:
                notional += held * state.marks2[market.index] * market.terms.unit_e8 // 2
        self.mids2.append(tuple(state.marks2))
        self.marks.append((ts_ns, equity, portfolio.cash_e8, notional, tuple(lots), _regime(engine)))


def _regime(engine: Engine) -> int:
    """The likeliest regime of the first lane; -1 without a model."""
    if not engine.lanes or engine.lanes[0].plan.regime is None:
        return -1
    probs = engine.lanes[0].state.regime_probs
    return max(range(3), key=probs.__getitem__)
