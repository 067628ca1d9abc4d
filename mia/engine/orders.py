"""The engine's side of orders: reports become positions, positions get their protection, wishes get an id and a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mia.domain import events as ev
from mia.domain.codes import Code
from mia.domain.effects import AnyEffect, CancelOrder, QueryOrder, RaiseAlert, SubmitOrder
from mia.domain.orders import Order, OrderType, Purpose, Status
from mia.execution import protect, reconcile
from mia.execution.planner import flatten
from mia.execution.table import Applied

if TYPE_CHECKING:
    from mia.engine.engine import Engine
    from mia.engine.lane import Market

_STOP_AGAIN_NS: Final = 1_000_000_000  # an exit that was rejected is tried again, not at every quote
_QUERY_AFTER_NS: Final = 5_000_000_000  # an order without an answer for so long is asked for
NO_LANE: Final = -1
_PROTECTIVE: Final = (Purpose.STOP, Purpose.TAKE)
_UNFILLED: Final = (ev.OrderCanceled, ev.OrderExpired)
_SILENT: Final = (Status.IN_FLIGHT, Status.UNKNOWN, Status.CANCEL_IN_FLIGHT)


class Orders:
    """Works on the engine's state; holds none of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine

    # --- wishes ---------------------------------------------------------------------------------------------------
    def emit(self, effects: Sequence[AnyEffect], lane: int, ts: int, out: list[AnyEffect]) -> tuple[str, ...]:
        """Note what leaves for the venue, then let it leave; the ids of new orders."""
        if not effects:
            return ()
        self._unsettle()
        state = self._engine.state
        ids: list[str] = []
        for effect in effects:
            state.table.note(effect, lane, ts)
            if type(effect) is SubmitOrder:
                state.risk.note_order(ts)
                state.counters.orders += 1
                ids.append(effect.client_order_id)
            out.append(effect)
        return tuple(ids)

    def _unsettle(self) -> None:
        """Orders or positions changed: the next look at them is a whole one."""
        for market in self._engine.markets:
            market.is_settled = False

    def begin_batch(self) -> None:
        """Order ids that follow belong to a batch of their own, not to a decision; `emit_batch` makes it count."""
        state = self._engine.state
        state.ids.begin(state.decision_id + 1)

    def emit_batch(self, effects: Sequence[AnyEffect], lane: int, ts: int, out: list[AnyEffect]) -> tuple[str, ...]:
        """Emit a batch. An empty one leaves no trace, so that looking once more (a restart does) changes no later order id."""
        if not effects:
            return ()
        self._engine.state.decision_id += 1
        return self.emit(effects, lane, ts, out)

    def protect(self, market: Market, ts: int, out: list[AnyEffect]) -> None:
        """Bring the stop and the take of one position in line with it."""
        state, config = self._engine.state, self._engine.config
        if not config.protects:
            return
        position = market.position
        held = (position.lots, position.cost_e8)
        if held != market.armed:
            protect.arm(position, config.execution)
            market.armed = held
        if not config.venue_holds_stops:
            return
        if protect.is_in_line(position, state.table):
            return
        self.begin_batch()
        effects = protect.protect(position, market.terms, state.table, config.execution, state.ids)
        self.emit_batch(effects, self._lane_of(market), ts, out)

    def protect_all(self, ts: int, out: list[AnyEffect]) -> None:
        """Recovery: every open position is protected before anything else trades."""
        for market in self._engine.markets:
            self.protect(market, ts, out)

    def watch_stops(self, market: Market, ts: int, out: list[AnyEffect]) -> None:
        """The engine's own watch over a position whose level is reached and that no order at the venue closes."""
        known, position = market.state, market.position
        if not self._engine.config.protects:
            return
        if protect.breached(position, known.bid_ticks, known.ask_ticks) is None:
            return
        state = self._engine.state
        if ts - known.last_stop_ns < _STOP_AGAIN_NS:
            return
        self.begin_batch()
        effects = protect.check_engine_stops(position, known.bid_ticks, known.ask_ticks, market.terms, state.table, state.ids)
        if self.emit_batch(effects, self._lane_of(market), ts, out):
            known.last_stop_ns = ts
            out.append(RaiseAlert("warning", "engine_stop", f"{market.symbol}: protective level reached, closing at market"))
            self._cool_down(market, ts)

    def _cool_down(self, market: Market, ts: int) -> None:
        """A protective exit: every lane of the instrument waits."""
        for lane in market.lanes:
            self._engine.state.risk.cool_down(lane.index, ts)

    def flatten_all(self, ts: int, out: list[AnyEffect]) -> None:
        """Close every position at market."""
        for market in self._engine.markets:
            self.flatten(market, ts, out)

    def flatten(self, market: Market, ts: int, out: list[AnyEffect]) -> Code:
        """Close one position at market; the code says whether it is already on its way."""
        state = self._engine.state
        self.begin_batch()
        plan = flatten(market.position.lots, market.terms, state.table, state.ids)
        self.emit_batch(plan.effects, NO_LANE, ts, out)
        return plan.code

    def heed_window(self, market: Market, ts: int, out: list[AnyEffect]) -> None:
        """Where a trade window wants no position: out at market, as an operator's flatten; no decision may come before it is over.

        Tried again when the venue refused it or found nobody to trade with, ever more slowly; not while there is no quote, nor after a
        kill, which holds what is held, or a halt, when nobody knows what is ours.
        """
        if not self._engine.config.windows.state(ts, market.definition.family).is_flatten:
            return
        state, known, position = self._engine.state, market.state, market.position
        mid2 = state.mid2[market.index]
        if state.is_recovering or state.halted or state.risk.is_killed or not mid2:
            return
        self._cancel(market, False, ts, out)  # also of a dust position, and while an exit waits: what rests would open more
        if not position.lots or protect.is_dust(position, mid2, market.terms):
            return
        if ts - known.last_stop_ns < _STOP_AGAIN_NS or ts < state.risk.cool_until_ns.get(_exits_of(market), 0):
            return
        for lane in market.lanes:
            lane.state.target_lots = 0  # as of a decision that is told to be flat: no other lane's decision opens it again
        sent = state.counters.orders
        self.flatten(market, ts, out)
        if state.counters.orders > sent:
            known.last_stop_ns = ts
            out.append(RaiseAlert("info", Code.SESSION_EXIT, f"{market.symbol}: the trade window wants no position, closing at market"))

    def cancel_entries(self, ts: int, out: list[AnyEffect]) -> None:
        """Cancel what works and is not protective."""
        for market in self._engine.markets:
            self._cancel(market, False, ts, out)

    def cancel_all(self, ts: int, out: list[AnyEffect]) -> None:
        """Cancel what works; protective orders are spared while there is a position that they protect."""
        for market in self._engine.markets:
            self._cancel(market, not market.position.lots, ts, out)

    def _cancel(self, market: Market, with_protective: bool, ts: int, out: list[AnyEffect]) -> None:
        cancels = [
            CancelOrder(order.client_order_id, order.instrument)
            for order in self._engine.state.table.open_orders(market.index)
            if _is_cancelable(order) and (with_protective or not _is_protective(order))
        ]
        self.emit(cancels, NO_LANE, ts, out)

    def housekeep(self, ts: int, out: list[AnyEffect]) -> None:
        """Once a second: ask for orders that stay without an answer, bring protection in line with its position."""
        state = self._engine.state
        table = state.table
        for market in self._engine.markets:
            if market.is_settled and not state.is_flattening:
                continue  # all was in line and answered, and nothing has happened since
            is_settled, sent = True, len(out)
            exposure = table.exposure(market.index)
            if exposure.in_flight or exposure.protective:
                for name in exposure.open_ids:
                    order = table.orders[name]
                    if order.status in _SILENT or name in table.replacing:
                        is_settled = False
                        if ts - order.created_ns >= _QUERY_AFTER_NS:
                            out.append(QueryOrder(name, order.instrument))
            if state.is_flattening and market.position.lots and not state.is_recovering:
                self.flatten(market, ts, out)
            if market.position.lots and self._is_cooling(market, ts):
                is_settled = False  # a venue that refused a stop is not asked again at once; the engine watches
            else:
                self.protect(market, ts, out)
            market.is_settled = is_settled and len(out) == sent

    def _is_cooling(self, market: Market, ts: int) -> bool:
        """A lane of the instrument waits after a rejection or a protective exit."""
        until = self._engine.state.risk.cool_until_ns
        return any(ts < until.get(lane.index, 0) for lane in market.lanes)

    # --- facts ------------------------------------------------------------------------------------------------------
    def on_report(self, e: Any, out: list[AnyEffect]) -> None:
        """What the venue says: of one order, of all open orders, of a position or of cash."""
        self._unsettle()
        if isinstance(e, ev.OpenOrdersReported):
            self._on_open_orders(e, out)
        elif isinstance(e, ev.PositionReported):
            self._on_position(e, out)
        elif isinstance(e, ev.BalanceReported):
            self._on_balance(e, out)
        elif isinstance(e, ev.CashFlow):
            self._on_cash_flow(e, out)
        else:
            self._on_order(e, out)

    def _on_order(self, e: Any, out: list[AnyEffect]) -> None:
        state = self._engine.state
        asked = state.table.replacing.get(e.client_order_id)
        applied = state.table.apply(e)
        order = applied.order
        lane = order.lane if order is not None else NO_LANE
        self.emit(applied.effects, lane, e.ts_recv_ns, out)
        if order is not None and lane < 0 and applied.is_closed and _found_nobody(e, order):
            state.risk.note_reject(_exits_of(self._engine.markets[order.instrument]), e.ts_recv_ns)
        if applied.is_new_fill:
            self._on_fill(e, applied, out)
        elif isinstance(e, ev.OrderRejected):
            if e.code == "reduce_only" or not applied.is_closed:
                return  # an exit that its own stop overtook, or an order that was over: the venue refused nothing
            whose = lane if lane >= 0 or applied.order is None else _exits_of(self._engine.markets[applied.order.instrument])
            state.risk.note_reject(whose, e.ts_recv_ns)
            out.append(RaiseAlert("warning", "order_rejected", f"{e.client_order_id}: {e.code} {e.reason}".rstrip()))
        elif isinstance(e, ev.OrderAccepted) and applied.order is not None and self._is_unwanted(applied.order):
            self.emit([CancelOrder(e.client_order_id, applied.order.instrument)], lane, e.ts_recv_ns, out)
        elif applied.order is not None and (applied.is_closed or _may_lag(e, applied.order, asked)):
            self.protect(self._engine.markets[applied.order.instrument], e.ts_recv_ns, out)

    def _is_unwanted(self, order: Order) -> bool:
        """An entry that was on its way when openings were stopped, and rests now."""
        state = self._engine.state
        return not state.is_enabled and _is_cancelable(order) and not _is_protective(order) and not order.reduce_only

    def _on_fill(self, e: ev.OrderFilled, applied: Applied, out: list[AnyEffect]) -> None:
        engine = self._engine
        state, market = engine.state, engine.markets[e.instrument]
        state.counters.fills += 1
        lane = applied.order.lane if applied.order is not None and applied.order.lane >= 0 else self._lane_of(market)
        probs = state.lanes[lane].regime_probs if lane >= 0 else (0.0, 0.0, 0.0)
        for record in state.portfolio.apply_fill(market.terms, e, e.ts_recv_ns, probs):
            out.append(record)
            if record.is_closed:
                state.counters.trades += 1
                state.risk.note_trade(e.ts_recv_ns)
                market.state.closed_ns = e.ts_recv_ns
                market.state.won.append(record.profit_e8 > 0)
                del market.state.won[:-3]
        state.risk.note_fill(lane)
        state.risk.note_fill(_exits_of(market))
        if applied.order is not None and _is_protective(applied.order) and applied.is_closed:
            self._cool_down(market, e.ts_recv_ns)
        engine.update_equity(e.ts_recv_ns, out)
        if state.is_flattening and market.position.lots and not state.is_recovering:
            self.flatten(market, e.ts_recv_ns, out)  # an order that was on its way opened it
        self.protect(market, e.ts_recv_ns, out)

    def _on_open_orders(self, e: ev.OpenOrdersReported, out: list[AnyEffect]) -> None:
        state, config = self._engine.state, self._engine.config
        covered = [m.index for m in self._engine.markets if m.definition.venue == e.venue]
        diff = reconcile.order_differences(state.table, e, covered, config.execution, is_recovery=state.is_recovering)
        for theirs in diff.found:
            accepted = ev.OrderAccepted(e.seq, e.ts_event_ns, e.ts_recv_ns, theirs.client_order_id, theirs.venue_order_id)
            applied = state.table.apply(accepted)
            self.emit(applied.effects, NO_LANE, e.ts_recv_ns, out)
            if applied.order is not None and self._is_unwanted(applied.order):
                self.emit([CancelOrder(theirs.client_order_id, theirs.instrument)], NO_LANE, e.ts_recv_ns, out)
        for client_order_id in diff.absent:
            state.table.absent(client_order_id)
        for external in diff.external:
            state.table.take_external(external)
        for client_order_id in diff.external_gone:
            state.table.drop_external(client_order_id)
        self.emit(diff.effects, NO_LANE, e.ts_recv_ns, out)

    def _on_position(self, e: ev.PositionReported, out: list[AnyEffect]) -> None:
        state = self._engine.state
        market = self._engine.markets[e.instrument]
        is_spot = not market.terms.is_derivative
        diff = reconcile.position_difference(state.portfolio, e, market.definition, adopts=state.is_recovering, is_spot=is_spot)
        if diff is None:
            return
        out.extend(diff.effects)
        if diff.is_adopted:
            price = abs(e.cost_e8) // (abs(e.position_lots) * market.terms.unit_e8) if e.position_lots else 0
            price = price or state.marks2[e.instrument] // 2 or market.position.last_fill_ticks
            out.extend(state.portfolio.adopt(market.terms, e.position_lots, price, e.ts_recv_ns))
            self.protect(market, e.ts_recv_ns, out)

    def _on_balance(self, e: ev.BalanceReported, out: list[AnyEffect]) -> None:
        state = self._engine.state
        difference = reconcile.balance_difference_e8(state.portfolio, e)
        if difference:
            state.portfolio.cash_e8 += difference
            out.append(
                RaiseAlert(
                    "warning", "balance_adopted", f"cash differs from the venue's by {difference / 1e8:.8f}: the venue's word is taken"
                )
            )

    def _on_cash_flow(self, e: ev.CashFlow, out: list[AnyEffect]) -> None:
        engine = self._engine
        if not (ev.NO_INSTRUMENT <= e.instrument < len(engine.markets)):
            text = f"{e.kind} of {e.amount_e8 / 1e8:.8f} for instrument {e.instrument}, which is not traded here: counted in cash alone"
            out.append(RaiseAlert("warning", "external_flow", text))
        if engine.state.portfolio.apply_flow(e):
            engine.update_equity(e.ts_recv_ns, out)

    @staticmethod
    def _lane_of(market: Market) -> int:
        return market.lanes[0].index if market.lanes else NO_LANE


def _exits_of(market: Market) -> int:
    """Stands for a lane where rejections of exits that no lane asked for are counted: those of one instrument hold up no other's."""
    return NO_LANE - market.index


def _is_protective(order: Order) -> bool:
    return order.purpose in _PROTECTIVE


def _found_nobody(e: Any, order: Order) -> bool:
    """An exit at market that the venue ended without a fill."""
    return type(e) in _UNFILLED and order.purpose is Purpose.EXIT and not order.filled_lots


def _is_cancelable(order: Order) -> bool:
    """It rests at the venue. One that is on its way is looked at again when the venue takes it."""
    return order.status is Status.WORKING and order.order_type is not OrderType.MARKET


def _may_lag(e: Any, order: Order, asked: tuple[int, int, int] | None) -> bool:
    """A stop or take that just began to work, or changed as it was asked to: fills in between may have changed what it protects.

    One that the venue changed to something else is looked at by the second, so that a disagreement cannot run in circles.
    """
    if not _is_protective(order):
        return False
    return isinstance(e, ev.OrderAccepted) or (isinstance(e, ev.OrderReplaced) and asked is not None and e.qty_lots == asked[0])
