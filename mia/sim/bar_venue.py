"""The venue of bar mode: what would have happened to our orders between one bar's close and the next, by stated rules.

Market orders fill at the open of the first bar that begins after they arrived; one that arrives within a bar fills on the straight line
from its open to its close. Stops and takes that the open lies beyond fill at the open: a gap fills at the gap. A limit fills at its own
price, once the market goes through it. Within the bar the path is unknown, so the worse one happens: of stop and take in one bar the stop,
an order that came to be within a bar meets the bar's worst price but a better one only where the close proves it, and a position that
the bar's worse price brings below its maintenance margin is liquidated there, unless a nearer stop had closed it before.
Prices, fees, caps and latencies are the cost model's (`mia.sim.costs`). What a bar's volume leaves of an order goes on in the next bars.
What is due at an instant (funding, borrow, rolls) is charged on what is held then: at the close's price at a bar's end, at the open's
within it, at the last close between bars.
Owns our orders and what is on its way; it has no clock, and what is drawn follows from the settings' seed and a number. One call of
`open_bars`, `pop` until None, then `close_bars`; what is sent after that is taken by `pop` until None again.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect, CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from mia.domain.events import BUY, CancelRejected, OrderAccepted, OrderRejected, OrderReplaced, ReplaceRejected
from mia.domain.instruments import Instrument
from mia.execution.attribution import Moments
from mia.ports import NEVER_NS
from mia.sim.bar_desk import BarDesk, BarPrices, Resting, is_beyond
from mia.sim.bar_fills import BarFills
from mia.sim.costs import Costs
from mia.sim.desk import TRIGGERED
from mia.sim.state import VenueOrder, VenueReport

_REQUESTS: Final = frozenset((SubmitOrder, CancelOrder, ReplaceOrder, QueryOrder))
_CHARGE, _REQUEST, _OPEN, _WITHIN = range(4)  # what comes first at one time


class BarVenue:
    """The simulated `mia.ports.Venue` of markets that are known by their bars."""

    is_simulated: Final = True
    active: Final = True

    def __init__(
        self,
        instruments: Mapping[int, Instrument],
        costs: Costs | None = None,
        *,
        cash_e8: int = 0,
        at_close: bool = False,
        equity_share_e9: int = 0,
    ) -> None:
        """cash_e8: at the start, for liquidation and sizes at the fill.

        at_close: market orders fill at the close that they were decided on (as vectorised backtests do), not at the next open.
        equity_share_e9: above 0, market orders are sized where they fill: the share of the account that they stood for when they were
        decided. ConfigError, DataError: see CostModel.
        """
        self._books = BarFills(instruments, costs or Costs(), cash_e8, equity_share_e9)
        self._desks = self._books.desks
        self._costs = self._books.costs
        self._at_close = at_close
        self._steps: list[tuple[int, int, int]] = []  # of the running bars: time, what, instrument
        self._requests: list[tuple[int, int, AnyEffect]] = []
        self._sent = self._orders = 0
        self._request_due_ns = 0

    @property
    def next_due_ns(self) -> int:
        """Of the next report that is ready, or of the next request on its way."""
        reports, requests = self._books.reports, self._requests
        return min(reports[0][0] if reports else NEVER_NS, requests[0][0] if requests else NEVER_NS)

    @property
    def cash_e8(self) -> int:
        """Cash in e8 of the account's currency."""
        return self._books.cash_e8

    def position_lots(self, instrument: int) -> int:
        """Signed position."""
        return self._desks[instrument].position.lots

    def moments(self, client_order_id: str, fill_id: str, decision_mid2: int = 0) -> Moments:
        """The prices behind a fill, for the attribution; to be asked for once, when the fill is heard of."""
        return self._books.moments(fill_id, decision_mid2)

    # --- requests -----------------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take requests; they arrive after their latency, none before an earlier one."""
        for effect in effects:
            if type(effect) in _REQUESTS:
                self._sent += 1
                self._request_due_ns = max(self._request_due_ns, now_ns + self._costs.submit_ns(self._sent, 0))
                heapq.heappush(self._requests, (self._request_due_ns, self._sent, effect))

    def _arrive(self, request: AnyEffect, now_ns: int) -> None:
        if isinstance(request, SubmitOrder):
            self._submit(request, now_ns)
        elif isinstance(request, CancelOrder):
            self._cancel(request, now_ns)
        elif isinstance(request, ReplaceOrder):
            self._replace(request, now_ns)
        elif isinstance(request, QueryOrder):
            resting = self._desks[request.instrument].orders.get(request.client_order_id)
            if resting is not None:
                self._books.report(now_ns, OrderAccepted, request.client_order_id, resting.order.venue_order_id)

    def _submit(self, r: SubmitOrder, now_ns: int) -> None:
        books, desk = self._books, self._desks[r.instrument]
        self._orders += 1
        if r.qty_lots <= 0:
            books.report(now_ns, OrderRejected, r.client_order_id, "bad_qty", f"{r.qty_lots} lots")
            return
        order = VenueOrder(
            r.client_order_id, f"B{self._orders}", r.instrument, r.side, str(r.order_type), r.qty_lots, r.price_ticks, r.stop_ticks,
            r.reduce_only, r.post_only, r.group,
        )  # fmt: skip
        books.report(now_ns, OrderAccepted, r.client_order_id, order.venue_order_id)
        resting = desk.orders[r.client_order_id] = Resting(order, now_ns)
        books.size_at_fill(desk, resting)
        if resting.is_market and desk.bar is not None:
            if desk.is_running and desk.is_open and now_ns < desk.bar.close_ns:
                books.take(desk, resting, desk.line2(order.side, now_ns), now_ns)
            elif self._at_close and not desk.is_running:
                books.take(desk, resting, 2 * desk.bar.close_ticks, now_ns)

    def _cancel(self, r: CancelOrder, now_ns: int) -> None:
        desk = self._desks[r.instrument]
        resting = desk.orders.get(r.client_order_id)
        if resting is None:
            self._books.report(now_ns, CancelRejected, r.client_order_id, "unknown_order")
        else:
            self._books.cancel(desk, resting.order, "requested", now_ns)

    def _replace(self, r: ReplaceOrder, now_ns: int) -> None:
        resting = self._desks[r.instrument].orders.get(r.client_order_id)
        if resting is None:
            self._books.report(now_ns, ReplaceRejected, r.client_order_id, "unknown_order")
            return
        order = resting.order
        order.qty_lots = r.qty_lots or order.qty_lots
        order.price_ticks = r.price_ticks or order.price_ticks
        order.stop_ticks = r.stop_ticks or order.stop_ticks
        self._books.report(now_ns, OrderReplaced, order.client_order_id, order.price_ticks, order.stop_ticks, order.qty_lots)

    # --- bars -------------------------------------------------------------------------------------------------------
    def open_bars(self, bars: Sequence[BarPrices], *, is_watched: bool = False) -> None:
        """Bars that end at one time begin: the market opens at their opens. is_watched: orders may be sent while they run."""
        costs, desks = self._costs, self._desks
        is_quiet = not (is_watched or self._requests or self._books.reports or costs.liquidates)
        for bar in bars:
            desk = desks[bar.instrument]
            desk.begin(bar)
            if is_quiet and desk.orders and desk.is_touched(bar):
                is_quiet = False
            if costs.charges_carry:
                if desk.next_charge_ns == NEVER_NS:
                    desk.next_charge_ns = self._costs.next_charge_ns(bar.instrument, bar.open_ns)
                while desk.next_charge_ns <= bar.close_ns:
                    heapq.heappush(self._steps, (desk.next_charge_ns, _CHARGE, bar.instrument))
                    desk.next_charge_ns = self._costs.next_charge_ns(bar.instrument, desk.next_charge_ns)
        if is_quiet and not self._steps:
            return  # nothing is on its way, charged or touched: the bars pass
        for bar in bars:
            desk = desks[bar.instrument]
            if desk.orders or desk.position.lots or self._requests:
                heapq.heappush(self._steps, (bar.open_ns, _OPEN, bar.instrument))
                within_ns = bar.close_ns - 1
                heapq.heappush(self._steps, (within_ns if within_ns > bar.open_ns else bar.open_ns, _WITHIN, bar.instrument))

    def look_at_stops(self, now_ns: int) -> None:
        """Orders may be sent now, within the bars: a stop that its bar reaches was reached before, the worse of the two."""
        for desk in self._desks.values():
            bar = desk.bar
            if bar is not None and bar.open_ns <= now_ns < bar.close_ns:
                while self._stop_reached(desk, bar, now_ns):
                    pass

    def close_bars(self) -> None:
        """The bars are over: their closes are the marks of what is decided next."""
        for desk in self._desks.values():
            desk.end()

    def pop(self, until_ns: int, seq: int) -> VenueReport | None:
        """The next report at or before until_ns as event number seq; None when nothing more happens until then.

        What a report makes us send is taken before anything later happens.
        """
        reports, requests, steps = self._books.reports, self._requests, self._steps
        while reports or requests or steps:
            next_ns, what = steps[0][:2] if steps else (NEVER_NS, _WITHIN)
            is_request = bool(requests) and (requests[0][0], _REQUEST) < (next_ns, what)
            if is_request:
                next_ns = requests[0][0]
            if reports and reports[0][0] <= until_ns and reports[0][0] <= next_ns:
                return msgspec.structs.replace(heapq.heappop(reports)[2], seq=seq)
            if next_ns > until_ns or next_ns == NEVER_NS:
                return None
            if is_request:
                self._arrive(heapq.heappop(requests)[2], next_ns)
            else:
                self._do(*heapq.heappop(steps))
        return None

    def _do(self, now_ns: int, what: int, instrument: int) -> None:
        desk = self._desks[instrument]
        if what == _CHARGE:
            self._books.charge(instrument, now_ns)
        elif what == _OPEN:
            self._at_open(desk)
        elif self._within(desk, now_ns):
            heapq.heappush(self._steps, (now_ns, _WITHIN, instrument))  # something happened: look again

    def _at_open(self, desk: BarDesk) -> None:
        """Market orders, and everything that the open lies beyond."""
        books, bar = self._books, desk.bar
        assert bar is not None
        desk.is_open = True
        open_ticks = bar.open_ticks
        if self._costs.liquidates:
            books.liquidate_below({bar.instrument: open_ticks}, bar.open_ns)
        for resting in list(desk.orders.values()):
            order = resting.order
            if not (resting.is_market or is_beyond(order, open_ticks)):
                continue
            if order.client_order_id not in desk.orders:
                continue  # its group was done
            if order.order_type == "market" and resting.since_ns > bar.open_ns:  # it came while another market's bar was looked at
                books.take(desk, resting, desk.line2(order.side, resting.since_ns), resting.since_ns)
            elif resting.is_market or order.order_type in TRIGGERED:
                books.take(desk, resting, 2 * open_ticks, bar.open_ns)
            elif order.order_type == "limit":
                books.make(desk, resting, bar.open_ns)  # it stood there: no gift

    def _within(self, desk: BarDesk, now_ns: int) -> bool:
        """The first order that the bar's path reaches: stops, then a liquidation, then all others; known by the close."""
        bar = desk.bar
        assert bar is not None
        if not desk.orders and not self._costs.liquidates:
            return False
        if self._stop_reached(desk, bar, now_ns):
            return True
        if self._costs.liquidates and desk.position.lots:
            worst_ticks = {number: self._books.worse(other) for number, other in self._desks.items()}
            if self._books.liquidate_below(worst_ticks, now_ns):
                return True
        for kind in ("limit", "take"):
            for resting in self._waiting(desk, kind):
                order = resting.order
                best = bar.low_ticks if order.side == BUY else bar.high_ticks
                if not is_beyond(order, best if resting.since_ns <= bar.open_ns else bar.close_ticks):
                    continue
                done = self._books.make(desk, resting, now_ns) if kind == "limit" else self._take(desk, resting, now_ns)
                if done:
                    return True
        return False

    def _stop_reached(self, desk: BarDesk, bar: BarPrices, now_ns: int) -> bool:
        """The first stop that the bar's path reaches, or the liquidation that is nearer."""
        for resting in self._waiting(desk, "stop"):
            order = resting.order
            worst, best = (bar.high_ticks, bar.low_ticks) if order.side == BUY else (bar.low_ticks, bar.high_ticks)
            if is_beyond(order, worst):
                ticks = bar.close_ticks if is_beyond(order, best) else order.stop_ticks
                if self._costs.liquidates and self._books.liquidate_below({order.instrument: ticks}, now_ns):
                    return True
                if self._books.take(desk, resting, 2 * ticks, now_ns):
                    return True
        return False

    def _take(self, desk: BarDesk, resting: Resting, now_ns: int) -> bool:
        return self._books.take(desk, resting, 2 * resting.order.stop_ticks, now_ns)

    @staticmethod
    def _waiting(desk: BarDesk, kind: str) -> list[Resting]:
        """Orders of a kind that have not been triggered yet."""
        return [r for r in desk.orders.values() if r.order.order_type == kind and not r.is_market]
