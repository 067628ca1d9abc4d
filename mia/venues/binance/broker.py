"""Orders to the venue and what comes of them: each order leaves at most once, an unknown outcome is asked for.

Owns the reading of answers and user data events. What is certain becomes a report; a definite no is one of a list of codes,
everything else after the bytes left is an unknown outcome (spec: errors, rejected or unknown).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect, CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import BUY, SELL, CancelRejected, OrderRejected, ReplaceRejected, RequestTimedOut
from mia.ports import Host
from mia.venues.binance.api import Api
from mia.venues.binance.facts import Facts, Track
from mia.venues.binance.orders import Grid, OrderEncoder
from mia.venues.binance.queries import Queries
from mia.venues.binance.requests import Reply
from mia.venues.binance.userdata import EXPIRED, Amended, ExecutionReport, Listing, OrderState

_LOG: Final = logging.getLogger(__name__)
_FILLS_DUE_S: Final = 1.0  # an answer spoke of fills: their events come within so long, or they are asked for
_ID_LENGTH_MAX: Final = 36
_DUPLICATE: Final = "Duplicate order sent."
_UNKNOWN_ORDER: Final = -2011
# A definite no of a request that changes something; any other error leaves the outcome open.
_DEFINITE: Final = frozenset((-1002, -1003, -1010, -1013, -1014, -1015, -1016, -1020, -1021, -1022, -2010, -2014, -2015, -2038))
_STATE: Final = msgspec.json.Decoder(OrderState).decode
_AMENDED: Final = msgspec.json.Decoder(Amended).decode
_EXECUTION: Final = msgspec.json.Decoder(ExecutionReport).decode
_OF_ACCOUNT: Final = ("outboundAccountPosition", "balanceUpdate", "externalLockUpdate", "listStatus")


def is_definite(reply: Reply) -> bool:
    """True when the request certainly did nothing and will do nothing."""
    if reply.status in (418, 429):
        return True
    if not (400 <= reply.status < 500) or reply.status in (408, 409):
        return False
    if reply.code == -2010 and reply.text == _DUPLICATE:
        return False  # an order of this id is open: whose, the venue is asked
    return reply.code in _DEFINITE or -1199 <= reply.code <= -1100


class Broker:
    """The order path of one account at one venue."""

    def __init__(
        self, listings: Mapping[int, Listing], encoder: OrderEncoder, api: Api, facts: Facts, queries: Queries, host: Host
    ) -> None:
        self._listings: Final = listings
        self._by_symbol: Final = {listing.symbol: listing for listing in listings.values()}
        self._grids: Final = {number: Grid(listing.definition.lot_size) for number, listing in listings.items()}
        self.encoder = encoder
        self._api: Final = api
        self._facts: Final = facts
        self._queries: Final = queries
        self._host: Final = host
        self._request_number = 0
        self._is_reconciling = False
        self.counts: Final[dict[str, int]] = dict.fromkeys(
            ("orders_sent", "orders_refused_here", "orders_rejected", "outcomes_unknown", "cancels_sent", "replaces_sent",
             "resends_prevented", "events_malformed", "events_foreign", "answers_malformed"), 0,
        )  # fmt: skip

    # --- wishes of the engine ---------------------------------------------------------------------------------------------
    def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
        """Take the effects that address this venue, in order; never blocks, never sends an order twice."""
        if self._api.loop is None:
            return  # recovery: what was wished then is settled by the reconciliation that follows
        for effect in effects:
            kind = type(effect)
            if kind is SubmitOrder:
                self._submit(effect, now_ns)  # type: ignore[arg-type]
            elif kind is CancelOrder:
                self._cancel(effect)  # type: ignore[arg-type]
            elif kind is ReplaceOrder:
                self._replace(effect)  # type: ignore[arg-type]
            elif kind is QueryOrder:
                self._query(effect)  # type: ignore[arg-type]
            elif kind is RequestReconciliation:
                self._reconcile()

    def _submit(self, order: SubmitOrder, now_ns: int) -> None:
        name = order.client_order_id
        if order.instrument not in self._listings:
            return
        if self._facts.find(name) is not None:
            self.counts["resends_prevented"] += 1
            _LOG.error("order_not_sent_again: %s", name)
            return
        track = self._facts.track(name, order.instrument)
        track.side, track.qty_lots = order.side, order.qty_lots
        track.price_ticks, track.stop_ticks = order.price_ticks, order.stop_ticks
        if not self._api.is_ready or self._api.is_banned():
            code = "link_down" if not self._api.is_ready else "rate_limited"
            self._refuse(track, code, "the connection to the venue is not up" if code == "link_down" else "the venue banned us for a while")
            return
        track.sent_ns, track.is_answered = now_ns, False
        self._facts.note(track)
        frame = self.encoder.encode(order, self._api.timestamp_ms())
        if self._api.post("order.place", name, frame, partial(self._on_placed, track)):
            self.counts["orders_sent"] += 1
        else:
            self._refuse(track, "link_down", "the connection to the venue does not take data")

    def _refuse(self, track: Track, code: str, reason: str) -> None:
        """It never left. Said after the present event is done, as every report."""
        self.counts["orders_refused_here"] += 1
        track.is_answered, track.end = True, "rejected"
        self._facts.note(track)
        self._api.soon(self._host.report, OrderRejected(0, 0, 0, track.client_order_id, code, reason))

    def _cancel(self, cancel: CancelOrder) -> None:
        name, listing = cancel.client_order_id, self._listings.get(cancel.instrument)
        if listing is None:
            return
        track = self._facts.track(name, cancel.instrument)
        request_id = self._request_id("cxl", name)
        params = {"symbol": listing.symbol, "origClientOrderId": name, "newClientOrderId": request_id}
        frame = self._api.signer.request("order.cancel", request_id, params, self._api.timestamp_ms())
        sent_ns = self._host.now_ns()
        if self._api.post("order.cancel", request_id, frame, partial(self._on_canceled, track, sent_ns)):
            self.counts["cancels_sent"] += 1
        else:
            self._api.soon(self._host.report, CancelRejected(0, 0, 0, name, "link_down: the connection to the venue is not up"))

    def _replace(self, change: ReplaceOrder) -> None:
        name, listing = change.client_order_id, self._listings.get(change.instrument)
        if listing is None:
            return
        track = self._facts.find(name)
        only_shrinks = (
            track is not None
            and track.price_ticks == change.price_ticks
            and track.stop_ticks == change.stop_ticks
            and track.filled_lots < change.qty_lots < track.qty_lots
        )
        if track is None or not only_shrinks or not listing.amend_allowed:
            self._api.soon(self._host.report, ReplaceRejected(0, 0, 0, name, "unsupported"))
            return
        request_id = self._request_id("amd", name)
        qty = self._grids[change.instrument].text(change.qty_lots)
        # Without newClientOrderId the venue would give the order a random one.
        params = {"symbol": listing.symbol, "origClientOrderId": name, "newClientOrderId": name, "newQty": qty}
        frame = self._api.signer.request("order.amend.keepPriority", request_id, params, self._api.timestamp_ms())
        if self._api.post("order.amend.keepPriority", request_id, frame, partial(self._on_amended, track)):
            self.counts["replaces_sent"] += 1
        else:
            self._api.soon(self._host.report, ReplaceRejected(0, 0, 0, name, "link_down"))

    def _query(self, query: QueryOrder) -> None:
        if query.instrument in self._listings:
            self._queries.resolve(self._facts.track(query.client_order_id, query.instrument))

    def _reconcile(self) -> None:
        """In the background; one at a time, more wishes meanwhile are the same wish."""
        if not self._is_reconciling:
            self._is_reconciling = True
            self._api.spawn(self._reconcile_once(), "binance-reconcile")

    async def _reconcile_once(self) -> None:
        try:
            await self._queries.reconcile()
        finally:
            self._is_reconciling = False

    def _request_id(self, kind: str, name: str) -> str:
        """An id of a request about an order: never that of an order, those begin with `mia`."""
        self._request_number += 1
        return f"{kind}{self._request_number}-{name}"[:_ID_LENGTH_MAX]

    # --- answers ----------------------------------------------------------------------------------------------------------
    def _on_placed(self, track: Track, reply: Reply) -> None:
        if reply.status == 200:
            state = self._state(reply)
            if state is not None:
                self._on_state(track, state)
                return
        elif is_definite(reply):
            self.counts["orders_rejected"] += 1
            self._facts.reject(track, str(reply.code), reply.text)
            return
        self._unknown(track, "submit")

    def _on_canceled(self, track: Track, sent_ns: int, reply: Reply) -> None:
        if reply.status == 200:
            state = self._state(reply)
            if state is not None:
                self._on_state(track, state)
                return
        elif reply.status == 400 and reply.code == _UNKNOWN_ORDER:
            # Filled, canceled, or not there yet: which of them decides what is said.
            track.cancel_refused = f"{reply.code} {reply.text}"
            self._queries.resolve(track)
            return
        elif is_definite(reply):
            self._facts.cancel_rejected(track, f"{reply.code} {reply.text}")
            return
        track.cancel_sent_ns = sent_ns
        self._unknown(track, "cancel")

    def _on_amended(self, track: Track, reply: Reply) -> None:
        if reply.status == 200:
            try:
                answer = _AMENDED(reply.result)
                self._facts.replaced(track, self._listings[track.instrument].lots(answer.order.qty), answer.transact_ms)
                return
            except (msgspec.DecodeError, ValueError):
                self.counts["answers_malformed"] += 1
        elif is_definite(reply) or (reply.status == 400 and reply.code == _UNKNOWN_ORDER):
            self._host.report(ReplaceRejected(0, 0, 0, track.client_order_id, f"{reply.code} {reply.text}"))
            return
        self._unknown(track, "replace")

    def _state(self, reply: Reply) -> OrderState | None:
        try:
            return _STATE(reply.result)
        except (msgspec.DecodeError, ValueError):
            self.counts["answers_malformed"] += 1
            return None

    def _on_state(self, track: Track, state: OrderState) -> None:
        """The order as an answer tells it; its fills come as events."""
        facts, listing = self._facts, self._listings[track.instrument]
        try:
            executed = listing.lots(state.executed_qty)
        except ValueError:
            self.counts["answers_malformed"] += 1
            self._unknown(track, "submit")
            return
        if state.status not in ("CANCELED", "REJECTED"):
            facts.accept(track, state.order_id, state.transact_ms)
        else:
            facts.learn(track, state.order_id)
        self._executed(track, executed, state.status, state.status.lower(), state.transact_ms)

    def _executed(self, track: Track, executed: int, status: str, reason: str, ts_ms: int) -> None:
        """So many lots are filled by the venue's word: an end is told after them, missing ones are asked for after a moment."""
        track.executed_lots = max(track.executed_lots, executed)
        is_over = status in EXPIRED or status in ("CANCELED", "REJECTED")
        if track.filled_lots >= executed:
            if is_over:
                self._facts.end(track, status, reason, ts_ms)
        else:
            self._facts.note(track)
            self._api.soon(self._ask_for_fills, track, is_over, delay_s=_FILLS_DUE_S)

    def _ask_for_fills(self, track: Track, is_over: bool) -> None:
        if track.filled_lots < track.executed_lots or (is_over and not track.end):
            self._queries.resolve(track)

    def _unknown(self, track: Track, request: str) -> None:
        """Nothing is known about the outcome: the engine asks for it."""
        self.counts["outcomes_unknown"] += 1
        self._host.report(RequestTimedOut(0, 0, 0, track.client_order_id, request))

    # --- user data events ---------------------------------------------------------------------------------------------------
    def on_event(self, raw: bytes, name: str) -> None:
        """One user data event."""
        if name != "executionReport":
            if name not in _OF_ACCOUNT:
                self.counts["events_foreign"] += 1
            return
        try:
            report = _EXECUTION(raw)
            listing = self._by_symbol.get(report.symbol)
            if listing is None:
                self.counts["events_foreign"] += 1
                return
            self._on_execution(listing, report)
        except (msgspec.DecodeError, ValueError) as e:
            self.counts["events_malformed"] += 1
            _LOG.warning("user_event_malformed: %s", e)
            self._reconcile()  # what it said is in the open orders and our trades, too

    def _on_execution(self, listing: Listing, e: ExecutionReport) -> None:
        facts = self._facts
        # On CANCELED and REPLACED `c` is the id of the request, `C` that of the order; other events have no `C`.
        name = facts.named(listing.number, e.order_id) or e.original_id or e.request_id
        track = facts.track(name, listing.number)
        facts.learn(track, e.order_id)
        lots, executed = listing.lots(e.qty), listing.lots(e.filled)
        if not track.qty_lots:
            track.side, track.qty_lots = (BUY if e.side == "BUY" else SELL), lots
            track.price_ticks, track.stop_ticks = listing.ticks(e.price), listing.ticks(e.stop_price)
        if e.execution == "NEW":
            facts.accept(track, e.order_id, e.ts_ms)
        elif e.execution == "TRADE":
            facts.fill(track, e.trade_id, e.side, e.last_price, e.last_qty, e.fee, e.fee_asset, e.is_maker, e.ts_ms)
        elif e.execution == "REPLACED":
            facts.replaced(track, lots, e.ts_ms)
        reason = e.expiry or (e.reason if e.reason != "NONE" else e.execution.lower())
        self._executed(track, executed, e.status, reason, e.ts_ms)
