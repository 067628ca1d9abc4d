"""Fills, cancels, duplicates, rejects and restarts interleaved: positions, exposure and money keep their promises.

A small venue model executes what review and planner let through, in any order and with any delay. J2: position = sum of
unique fills. J3: each fill id is applied once. J4: exposure with everything in flight filled stays within the limit.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mia.domain.effects import AnyEffect, CancelOrder, Halt, RecordTrade, ReplaceOrder, SubmitOrder
from mia.domain.events import (
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    ReplaceRejected,
    RequestTimedOut,
)
from mia.domain.instruments import Instrument
from mia.domain.orders import Approved
from mia.domain.sizing import Terms
from mia.execution.planner import OrderIds, flatten, plan
from mia.execution.portfolio import Portfolio
from mia.execution.protect import arm, check_engine_stops, protect
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderReport, OrderTable
from mia.risk.limits import RiskSettings
from mia.risk.review import Question, review
from mia.risk.state import RiskState

CAP = 20
CASH = 10_000 * 10**8
MID = 1000
RISK = RiskSettings(
    position_lots_max=CAP, equity_share_max=1.0, order_lots_max=1000, order_notional_max=1e9, exposure_notional_max=1e9,
    orders_per_minute_max=4096, daily_loss_max=1.0, drawdown_max=1.0, quote_age_ms_max=1000, price_collar_bps_max=50.0,
    overtrade_trades_per_hour=4096, cool_down_s=5.0,
)  # fmt: skip
DEFINITION = Instrument(
    venue="sim", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),
    lot_size=Decimal("0.1"), maker_fee=Decimal(0), taker_fee=Decimal(0), initial_margin=Decimal("0.01"),
)  # fmt: skip
TERMS = Terms.of(0, DEFINITION)


class VenueOrder:
    """What the venue knows of one order; it may hold it before or after it tells us."""

    def __init__(self, order: SubmitOrder) -> None:
        self.id, self.side, self.left, self.reduce_only = order.client_order_id, order.side, order.qty_lots, order.reduce_only
        self.kind, self.filled = order.order_type, 0
        self.is_accepted = self.is_over = False


class Trading(RuleBasedStateMachine):
    """The state that the engine holds, against a venue that answers in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.portfolio, self.table, self.risk = Portfolio("t", "USDT", CASH), OrderTable(), RiskState.of(RISK)
        self.ids, self.decision, self.fill_number, self.now = OrderIds.of(1, 1), 0, 0, 10**18
        self.venue: dict[str, VenueOrder] = {}
        self.cancels: list[str] = []
        self.replaces: list[ReplaceOrder] = []
        self.sent_fills: list[OrderFilled] = []
        self.records: list[RecordTrade] = []
        self.venue_position = 0
        self.execution = ExecutionSettings()

    # --- the engine's part -----------------------------------------------------------------------------------------
    @property
    def lots(self) -> int:
        return self.portfolio.lots(0)

    def begin(self) -> None:
        self.decision += 1
        self.ids.begin(self.decision)

    def send(self, effects: tuple[AnyEffect, ...]) -> None:
        for effect in effects:
            self.table.note(effect, 0, self.now)
            if isinstance(effect, SubmitOrder):
                assert effect.client_order_id not in self.venue
                self.venue[effect.client_order_id] = VenueOrder(effect)
            elif isinstance(effect, CancelOrder):
                self.cancels.append(effect.client_order_id)
            elif isinstance(effect, ReplaceOrder):
                self.replaces.append(effect)

    def report(self, event: OrderReport) -> None:
        applied = self.table.apply(event)
        assert not any(isinstance(effect, Halt) for effect in applied.effects), applied.effects
        if applied.is_new_fill:
            assert isinstance(event, OrderFilled)
            self.records += self.portfolio.apply_fill(TERMS, event, self.now)
            arm(self.portfolio.position(TERMS), self.execution)

    @rule(wanted=st.integers(-30, 30), entry=st.sampled_from(["market", "limit"]))
    def decide(self, wanted: int, entry: str) -> None:
        self.begin()
        exposure = self.table.exposure(0)
        q = Question.of(0, TERMS, "X", self.risk.limits)
        q.ts_ns, q.target_lots, q.position_lots = self.now, wanted, self.lots
        q.buy_lots, q.sell_lots = exposure.buy_lots, exposure.sell_lots
        q.reduce_buy_lots, q.reduce_sell_lots = exposure.reduce_buy_lots, exposure.reduce_sell_lots
        q.bid_ticks, q.ask_ticks, q.quote_age_ns, q.equity_e8, q.is_enabled, q.is_book_valid = MID - 1, MID + 1, 0, CASH, True, True
        approved = review(q, self.risk)
        assert isinstance(approved, Approved)
        self.execution = ExecutionSettings(entry=entry)  # type: ignore[arg-type]
        self.send(plan(approved, self.lots, CAP, MID - 1, MID + 1, TERMS, self.execution, self.table, self.ids).effects)

    @rule()
    def close_everything(self) -> None:
        self.begin()
        self.send(flatten(self.lots, TERMS, self.table, self.ids).effects)

    @rule()
    def keep_protected(self) -> None:
        self.begin()
        self.send(protect(self.portfolio.position(TERMS), TERMS, self.table, self.execution, self.ids))

    @rule(bid=st.integers(900, 1100))
    def watch_levels(self, bid: int) -> None:
        self.begin()
        self.send(check_engine_stops(self.portfolio.position(TERMS), bid, bid + 1, TERMS, self.table, self.ids))

    @rule()
    def restart(self) -> None:
        encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode
        self.portfolio = decode(encode(self.portfolio), type=Portfolio)
        self.table = decode(encode(self.table), type=OrderTable)
        self.risk = decode(encode(self.risk), type=RiskState)
        self.ids = decode(encode(self.ids), type=OrderIds)

    # --- the venue's part ------------------------------------------------------------------------------------------
    def live(self) -> list[VenueOrder]:
        return [order for order in self.venue.values() if not order.is_over]

    @precondition(lambda self: self.live())
    @rule(data=st.data())
    def venue_accepts(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.live()))
        order.is_accepted = True
        self.report(OrderAccepted(0, 0, self.now, order.id, f"v{order.id}"))

    @precondition(lambda self: [o for o in self.live() if not o.is_accepted and not o.filled])
    @rule(data=st.data())
    def venue_rejects(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from([o for o in self.live() if not o.is_accepted and not o.filled]))
        order.is_over = True
        self.report(OrderRejected(0, 0, self.now, order.id, "no", "test"))

    @precondition(lambda self: self.live())
    @rule(data=st.data(), price=st.integers(950, 1050), fee=st.integers(-5, 1000))
    def venue_fills(self, data: st.DataObject, price: int, fee: int) -> None:
        """Also orders that it has not accepted yet, or that are being canceled. Reduce-only never passes flat."""
        order = data.draw(st.sampled_from(self.live()))
        most = order.left
        if order.reduce_only:
            most = min(most, max(0, -order.side * self.venue_position))
        if most == 0:
            return
        lots = data.draw(st.integers(1, most))
        order.left -= lots
        order.filled += lots
        order.is_over = order.left == 0
        self.venue_position += order.side * lots
        self.fill_number += 1
        fill = OrderFilled(0, 0, self.now, order.id, str(self.fill_number), 0, order.side, price, lots, fee, False)
        self.sent_fills.append(fill)
        self.report(fill)

    @precondition(lambda self: self.sent_fills)
    @rule(data=st.data())
    def venue_repeats_a_fill(self, data: st.DataObject) -> None:
        self.report(data.draw(st.sampled_from(self.sent_fills)))

    @precondition(lambda self: self.cancels)
    @rule(is_late=st.booleans())
    def venue_answers_a_cancel(self, is_late: bool) -> None:
        order = self.venue[self.cancels.pop(0)]
        if order.is_over or is_late:
            self.report(CancelRejected(0, 0, self.now, order.id, "filled"))
        else:
            order.is_over = True
            self.report(OrderCanceled(0, 0, self.now, order.id, "asked"))

    @precondition(lambda self: self.replaces)
    @rule(works=st.booleans())
    def venue_answers_a_replace(self, works: bool) -> None:
        wish = self.replaces.pop(0)
        order = self.venue[wish.client_order_id]
        if works and not order.is_over and order.is_accepted and wish.qty_lots > order.filled:
            order.left = wish.qty_lots - order.filled
            self.report(OrderReplaced(0, 0, self.now, order.id, 0, wish.stop_ticks, wish.qty_lots))
        else:
            self.report(ReplaceRejected(0, 0, self.now, order.id, "no"))

    @precondition(lambda self: [o for o in self.live() if not o.is_accepted])
    @rule(data=st.data())
    def answer_gets_lost(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from([o for o in self.live() if not o.is_accepted]))
        self.report(RequestTimedOut(0, 0, self.now, order.id, "submit"))

    @precondition(lambda self: [o for o in self.live() if o.is_accepted])
    @rule(data=st.data())
    def venue_cancels_on_its_own_and_late_fills_follow(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from([o for o in self.live() if o.is_accepted]))
        order.is_over = True
        self.report(OrderCanceled(0, 0, self.now, order.id, "venue"))

    # --- the promises ------------------------------------------------------------------------------------------------
    @invariant()
    def position_is_the_sum_of_unique_fills(self) -> None:
        assert self.lots == self.venue_position == sum(f.side * f.qty_lots for f in self.sent_fills)

    @invariant()
    def worst_case_stays_within_the_limit(self) -> None:
        assert self.table.exposure(0).worst_lots(self.lots) <= CAP
        assert self.worst_of_venue() <= CAP

    def worst_of_venue(self) -> int:
        """By the venue's own list: everything of one side fills, reduce-only orders first."""
        worst = abs(self.venue_position)
        for side in (1, -1):
            position = self.venue_position * side
            reducing = sum(o.left for o in self.live() if o.side == side and o.reduce_only)
            opening = sum(o.left for o in self.live() if o.side == side and not o.reduce_only)
            worst = max(worst, position + min(reducing, max(0, -position)) + opening)
        return worst

    @invariant()
    def open_orders_are_those_of_the_venue(self) -> None:
        assert set(self.table.exposure(0).open_ids) == {o.id for o in self.live()}

    @invariant()
    def money_is_exact(self) -> None:
        paid = sum(f.side * f.qty_lots * f.price_ticks for f in self.sent_fills) * TERMS.unit_e8
        fees = sum(f.fee_e8 for f in self.sent_fills)
        assert self.portfolio.equity_e8([2 * MID]) == CASH - paid - fees + self.lots * MID * TERMS.unit_e8

    @invariant()
    def trades_open_and_close_in_turn(self) -> None:
        assert [r.is_closed for r in self.records] == [i % 2 == 1 for i in range(len(self.records))]
        assert (len(self.records) % 2 == 1) == (self.lots != 0)


Trading.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestTrading = Trading.TestCase
