"""Gathers what the event engine does, while it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Final

import numpy as np

from mia.backtest.run.gathered import ACTED, I64, DecisionRow, Gathered, Marks, OrderRow, exposure_of
from mia.domain.effects import AnyEffect, RaiseAlert, RecordDecision, RecordTrade, SubmitOrder
from mia.domain.events import CashFlow, OrderFilled
from mia.domain.orders import OrderType
from mia.execution.attribution import Moments

if TYPE_CHECKING:
    from mia.domain.events import AnyEvent
    from mia.engine.engine import Engine


HEARD: Final = (OrderFilled, CashFlow)  # events that `take` is to hear of without effects, too
_STANDING: Final = (OrderType.STOP, OrderType.TAKE)  # what they cost begins where they trigger: nothing was decided then
_ACTED: Final = frozenset(ACTED)


class Collector:
    """Hears every event and its effects; a mark of the account is taken when the runner says so."""

    def __init__(self, moments: Callable[[str, str, int], Moments]) -> None:
        """moments: of the venue: (client order id, fill id, doubled mid at the decision, 0 where none was made) -> prices behind a fill."""
        self._moments_of = moments
        self._marks: list[bytes] = []  # each as int64: ts, equity, cash, notional, regime, lots of each instrument, doubled mids of each
        self._pack: Callable[..., bytes] | None = None
        self.orders: list[OrderRow] = []
        self.fills: list[OrderFilled] = []
        self.money: list[OrderFilled | CashFlow] = []  # in the order in which the portfolio took them
        self.moments: dict[str, Moments] = {}  # by fill id
        self.trades: list[RecordTrade] = []
        self.alerts: dict[str, int] = {}
        self._numbers: dict[str, int] = {}  # of orders, by client id
        self._decided: dict[str, int] = {}  # doubled mid when an order was sent
        self._decisions: list[RecordDecision] = []  # the first of each row
        self._last_ns: list[int] = []  # beside them: when the last of the row was
        self._times: list[int] = []  # beside them: how many there were
        self._last: dict[int, int] = {}  # the row that a lane's next decision may lengthen

    def take(self, event: AnyEvent, effects: Sequence[AnyEffect], engine: Engine) -> None:
        """One event and what the engine wished for."""
        kind: type = type(event)
        if kind is OrderFilled:
            self._fill(event)  # type: ignore[arg-type]
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

    def _fill(self, fill: OrderFilled) -> None:
        self.fills.append(fill)
        self.money.append(fill)
        decided = self._decided.get(fill.client_order_id, 0)
        self.moments[fill.fill_id] = self._moments_of(fill.client_order_id, fill.fill_id, decided)

    def _submit(self, ts_ns: int, order: SubmitOrder, engine: Engine) -> None:
        number = self._numbers[order.client_order_id] = len(self.orders) + 1
        if order.order_type not in _STANDING:
            self._decided[order.client_order_id] = engine.state.mid2[order.instrument]
        self.orders.append(
            OrderRow(
                number, ts_ns, order.instrument, order.side, str(order.order_type), order.qty_lots, order.price_ticks, order.stop_ticks,
                order.reduce_only, str(order.purpose),
            )
        )  # fmt: skip

    def _decide(self, d: RecordDecision) -> None:
        at = self._last.get(d.lane)
        if at is not None:
            first = self._decisions[at]
            if first.decision == d.decision and first.code == d.code and d.decision not in _ACTED:
                self._last_ns[at] = d.ts_ns
                self._times[at] += 1
                return
        self._last[d.lane] = len(self._decisions)
        self._decisions.append(d)
        self._last_ns.append(d.ts_ns)
        self._times.append(1)

    def mark(self, ts_ns: int, engine: Engine, equity_e8: int | None = None) -> None:
        """Note the account as it stands. equity_e8: its equity where that is known already."""
        state = engine.state
        portfolio, marks2 = state.portfolio, state.marks2
        notional = 0
        lots = []
        for market in engine.markets:
            held = market.position.lots
            lots.append(held)
            if held:
                notional += held * marks2[market.index] * market.terms.unit_e8 // 2
        if equity_e8 is None:
            equity_e8 = portfolio.equity_e8(marks2)
        pack = self._pack
        if pack is None:
            pack = self._pack = Struct(f"{5 + 2 * len(lots)}q").pack
        regime = _regime(engine) if engine.lanes and engine.lanes[0].plan.regime is not None else -1
        self._marks.append(pack(ts_ns, equity_e8, portfolio.cash_e8, notional, regime, *lots, *marks2))

    def table(self, instruments: int) -> I64:
        """int64[n, 5 + 2 instruments], a row for each mark: ts_ns, equity, cash, notional, regime, then lots, then doubled mids."""
        return np.frombuffer(b"".join(self._marks), dtype=np.int64).reshape(-1, 5 + 2 * instruments)

    def gather(self, engine: Engine) -> Gathered:
        """Everything, in columns."""
        counters = engine.state.counters
        size = len(engine.markets)
        table = self.table(size).copy()  # of its own, to be written to
        return Gathered(
            marks=Marks(
                table[:, 0],
                table[:, 1],
                table[:, 2],
                table[:, 5 : 5 + size],
                table[:, 5 + size :],
                exposure_of(table[:, 1], table[:, 3].astype(np.float64)),
                table[:, 4].astype(np.int8),
            ),
            orders=self.orders,
            fills=self.fills,
            fill_orders=[self._numbers.get(fill.client_order_id, 0) for fill in self.fills],
            money=self.money,
            moments=self.moments,
            decisions=self._decision_rows(),
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

    def _decision_rows(self) -> list[DecisionRow]:
        rows = zip(self._decisions, self._last_ns, self._times, strict=True)
        return [
            DecisionRow(d.ts_ns, last, times, d.lane, d.decision, str(d.code), d.signal, d.alpha, d.position_lots, d.target_lots)
            for d, last, times in rows
        ]


def _regime(engine: Engine) -> int:
    """The likeliest regime of the first lane, which has a model."""
    probs = engine.lanes[0].state.regime_probs
    return max(range(3), key=probs.__getitem__)
