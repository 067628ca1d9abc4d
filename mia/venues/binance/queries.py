"""Questions to the venue: what became of an order, reconciliation, instruments, history. All read only, all bounded and paced.

An order that the venue does not find is called absent only when it cannot arrive any more and neither the open orders nor our
trades show it (Binance answers from memory, then from a database: an early "not found" proves nothing).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from mia.domain.errors import ConfigError, Transient
from mia.domain.events import BUY, SELL, BalanceReported, OpenOrder, OpenOrdersReported, PositionReported, Trade
from mia.ports import Host
from mia.venues.binance.api import Api
from mia.venues.binance.facts import NS_PER_MS, Facts, Track
from mia.venues.binance.orders import RECV_WINDOW_MS
from mia.venues.binance.requests import ApiRefused
from mia.venues.binance.userdata import (
    LIVE,
    Account,
    AggregateTrade,
    ExchangeInfo,
    Listing,
    OrderState,
    OwnTrade,
    SymbolInfo,
    plain,
    to_e8,
)

_LOG: Final = logging.getLogger(__name__)
_ORDER_TYPES: Final = (("STOP_LOSS", "stop"), ("TAKE_PROFIT", "take"), ("MARKET", "market"))
_PAGE: Final = 1_000
_HISTORY_PAGES_MAX: Final = 500
_ACCOUNT_TRIES: Final = 30
_ACCOUNT_AGAIN_S: Final = 0.1
_RESOLVE_WAIT_S: Final = 30.0  # that long reconciliation waits for answers about single orders
_NO_SUCH_ORDER: Final = -2013
_ARCHIVED: Final = -2026

ASK_AGAIN_S = (0.3, 1.0, 1.5, 2.0, 2.0, 3.0, 5.0, 10.0)  # between questions about one order
ARRIVAL_MAX_MS = int(RECV_WINDOW_MS) + 1_000  # after so long a request cannot be executed any more; clocks differ a little


class Queries:
    """What is asked of one venue, and the reports that follow."""

    def __init__(self, venue: str, listings: Mapping[int, Listing], api: Api, facts: Facts, host: Host) -> None:
        self._venue: Final = venue
        self._listings: Final = listings
        self._api: Final = api
        self._facts: Final = facts
        self._host: Final = host
        self._born_ns: Final = host.now_ns()
        self._resolving: Final[dict[str, asyncio.Task[None]]] = {}
        self._lock: Final = asyncio.Lock()
        self.counts: Final[dict[str, int]] = dict.fromkeys(
            ("resolutions", "resolved_absent", "reconciliations", "account_not_quiet", "history_off_grid"), 0
        )

    # --- one order ------------------------------------------------------------------------------------------------------
    def resolve(self, track: Track) -> None:
        """Find out what became of an order; asked again until it is known. At most one search per order."""
        name = track.client_order_id
        if name not in self._resolving and self._api.loop is not None:
            self.counts["resolutions"] += 1
            task = self._resolving[name] = self._api.spawn(self._resolve(track), f"binance-resolve-{name}")
            task.add_done_callback(lambda _: self._resolving.pop(name, None))

    async def _resolve(self, track: Track) -> None:
        attempt, was_told = 0, False
        while True:
            try:
                state = await self._order_state(track)
                if state is not None:
                    if await self._found(track, state, is_first=not was_told):
                        return
                    was_told = True
                elif track.end:
                    return
            except (Transient, ApiRefused, ValueError) as e:
                _LOG.warning("order_query_failed: %s: %s", track.client_order_id, e)
            await asyncio.sleep(ASK_AGAIN_S[min(attempt, len(ASK_AGAIN_S) - 1)])
            attempt += 1

    async def _order_state(self, track: Track) -> OrderState | None:
        """The order as the venue has it; None when it was not found (and was reported absent when that is certain)."""
        symbol = self._listings[track.instrument].symbol
        try:
            return await self._api.ask("order.status", {"symbol": symbol, "origClientOrderId": track.client_order_id}, OrderState)
        except ApiRefused as e:
            if e.code == _ARCHIVED:
                self._facts.end(track, "CANCELED", "archived: canceled without a fill long ago", 0)
                return None
            if e.code != _NO_SUCH_ORDER:
                raise
        return await self._search(track, symbol)

    async def _search(self, track: Track, symbol: str) -> OrderState | None:
        """Look in the open orders and in our trades; absent only when it can no longer arrive."""
        since_ns = track.sent_ns or self._born_ns
        if self._host.now_ns() - since_ns < ARRIVAL_MAX_MS * NS_PER_MS:
            return None
        for state in await self._api.ask("openOrders.status", {"symbol": symbol}, list[OrderState]):
            if state.client_order_id == track.client_order_id:
                return state
        params = {"symbol": symbol, "limit": str(_PAGE)}  # the newest: an order of an earlier process was sent nobody knows when
        if track.sent_ns:
            params["startTime"] = str(since_ns // NS_PER_MS + self._api.clock_offset_ms - 1_000)
        trades = await self._api.ask("myTrades", params, list[OwnTrade])
        for order_id in dict.fromkeys(str(trade.order_id) for trade in trades):
            if not self._facts.named(track.instrument, order_id):
                state = await self._api.ask("order.status", {"symbol": symbol, "orderId": order_id}, OrderState)
                if state.client_order_id == track.client_order_id:
                    return state
        self.counts["resolved_absent"] += 1
        self._facts.reject(track, "unknown_order", "the venue does not have it")
        return None

    async def _found(self, track: Track, state: OrderState, *, is_first: bool) -> bool:
        """Report what the venue has; False when something of it is still to come."""
        facts, listing = self._facts, self._listings[track.instrument]
        facts.learn(track, state.order_id)
        ts_ms = state.update_ms or state.transact_ms
        is_live = state.status in LIVE
        if is_live or state.status == "FILLED":
            facts.accept(track, state.order_id, ts_ms, again=is_first)
        executed = listing.lots(state.executed_qty)
        track.executed_lots = max(track.executed_lots, executed)
        facts.note(track)
        if track.filled_lots < executed and not await self._fills(track, listing, executed):
            return False
        if not is_live:
            if state.status != "FILLED":
                facts.end(track, state.status, state.status.lower(), ts_ms)
            return True
        facts.replaced(track, listing.lots(state.orig_qty), ts_ms)
        return self._cancel_is_decided(track)

    async def _fills(self, track: Track, listing: Listing, executed: int) -> bool:
        """Report the order's fills; True when they are as many lots as the venue says."""
        params = {"symbol": listing.symbol, "orderId": track.venue_order_id, "limit": str(_PAGE)}
        while True:
            trades = await self._api.ask("myTrades", params, list[OwnTrade])
            for t in trades:
                side = "BUY" if t.is_buyer else "SELL"
                self._facts.fill(track, t.id, side, t.price, t.qty, t.fee, t.fee_asset, t.is_maker, t.ts_ms)
            if len(trades) < _PAGE:
                return track.filled_lots >= executed
            params["fromId"] = str(int(trades[-1].id) + 1)

    def _cancel_is_decided(self, track: Track) -> bool:
        """A live order whose cancel was refused, or can no longer arrive, goes on: say so."""
        if track.cancel_refused:
            self._facts.cancel_rejected(track, track.cancel_refused)
        elif track.cancel_sent_ns:
            if self._host.now_ns() - track.cancel_sent_ns < ARRIVAL_MAX_MS * NS_PER_MS:
                return False
            self._facts.cancel_rejected(track, "the cancel did not arrive")
        return True

    # --- everything -----------------------------------------------------------------------------------------------------
    async def reconcile(self) -> bool:
        """Open orders, then whatever the engine wishes to know of single orders, then the account; False when that was not told."""
        async with self._lock:
            self.counts["reconciliations"] += 1
            states = await self._open_orders()
            lines = [self._open_order(listing, state) for listing, state in states]
            self._host.report(OpenOrdersReported(0, 0, 0, self._venue, tuple(line for line in lines if line is not None)))
            await self._wait_resolved()
            return await self._account()

    async def _open_orders(self) -> list[tuple[Listing, OrderState]]:
        """The venue's list. An order that works, by what we know, and is missing there ended without a word: its end comes first."""
        for is_last in (False, False, True):
            states = [
                (listing, state)
                for listing in self._listings.values()
                for state in await self._api.ask("openOrders.status", {"symbol": listing.symbol}, list[OrderState])
            ]
            for track in self._facts.working_besides({state.client_order_id for _, state in states}):
                self.resolve(track)
            if is_last or not self._resolving:
                break
            await self._wait_resolved()
        return states

    async def _wait_resolved(self) -> None:
        if self._resolving:
            await asyncio.wait(set(self._resolving.values()), timeout=_RESOLVE_WAIT_S)

    def _open_order(self, listing: Listing, state: OrderState) -> OpenOrder | None:
        """One line; None for an order whose end was reported meanwhile (the events are faster than the list)."""
        known = self._facts.find(state.client_order_id)
        if known is not None and known.end not in ("", "absent"):
            return None
        kind = next((ours for theirs, ours in _ORDER_TYPES if state.type.startswith(theirs)), "limit")
        track = self._facts.track(state.client_order_id, listing.number)
        self._facts.learn(track, state.order_id)
        line = OpenOrder(
            client_order_id=state.client_order_id,
            venue_order_id=str(state.order_id),
            instrument=listing.number,
            side=BUY if state.side == "BUY" else SELL,
            order_type=kind,
            price_ticks=listing.ticks_down(state.price),
            stop_ticks=listing.ticks_down(state.stop_price),
            qty_lots=listing.lots_up(state.orig_qty),
            filled_lots=listing.lots_down(plain(state.executed_qty)),
            reduce_only=False,
        )
        if not track.qty_lots:
            track.side, track.qty_lots = line.side, line.qty_lots
            track.price_ticks, track.stop_ticks = line.price_ticks, line.stop_ticks
        return line

    async def _account(self) -> bool:
        """Balances and positions, from an answer that no report of an order overlaps: it must not race a fill."""
        for _ in range(_ACCOUNT_TRIES):
            before = self._api.events
            if self._is_quiet():
                account = await self._api.ask("account.status", {"omitZeroBalances": "true"}, Account)
                await asyncio.sleep(self._api.quiet_s)
                if self._api.events == before and self._is_quiet():
                    self._report_account(account)
                    return True
            await asyncio.sleep(_ACCOUNT_AGAIN_S)
        self.counts["account_not_quiet"] += 1
        _LOG.warning("account_not_reported: orders were busy all the time")
        return False

    def _is_quiet(self) -> bool:
        return self._facts.is_settled and not self._api.pending_orders and not self._resolving

    def _report_account(self, account: Account) -> None:
        held = {b.asset: plain(b.free) + plain(b.locked) for b in account.balances}
        for listing in self._listings.values():
            lots = listing.lots_down(held.get(listing.base, Decimal(0)))
            self._host.report(PositionReported(0, 0, 0, listing.number, lots, 0))
        for quote in dict.fromkeys(listing.quote for listing in self._listings.values()):
            self._host.report(BalanceReported(0, 0, 0, quote, to_e8(held.get(quote, Decimal(0)))))

    # --- instruments ----------------------------------------------------------------------------------------------------
    async def check_instruments(self) -> None:
        """Compare the venue's rules with our instruments; ConfigError names the field, ours and theirs."""
        names = ",".join(f'"{listing.symbol}"' for listing in self._listings.values())
        try:
            info = await self._api.ask("exchangeInfo", {"symbols": f"[{names}]"}, ExchangeInfo, is_signed=False)
        except ApiRefused as e:
            raise ConfigError(f"{self._venue}: the venue does not know all of {names} ({e}); check symbol under [[instruments]]") from e
        theirs = {symbol.symbol: symbol for symbol in info.symbols}
        for listing in self._listings.values():
            found = theirs.get(listing.symbol)
            if found is None:
                raise ConfigError(f"{self._venue}:{listing.symbol} is not traded there; check symbol under [[instruments]]")
            self._compare(listing, found)
        bases = [listing.base for listing in self._listings.values()]
        for base in bases:
            if bases.count(base) > 1:
                raise ConfigError(f"{self._venue}: two instruments hold {base}, a spot position cannot be told apart; remove one")

    def _compare(self, listing: Listing, found: SymbolInfo) -> None:
        ours, name = listing.definition, f"{self._venue}:{listing.symbol}"
        rules = {f.kind: f for f in found.filters}
        if found.status != "TRADING":
            raise ConfigError(f"{name}: status is {found.status} at the venue, not TRADING; try later or remove its lane")
        if found.quote_asset != ours.quote_currency:
            raise ConfigError(f"{name}: quote_currency is {ours.quote_currency} here and {found.quote_asset} at the venue")
        tick, lot = rules.get("PRICE_FILTER"), rules.get("LOT_SIZE")
        notional = rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL")
        for field, mine, their in (
            ("tick_size", ours.tick_size, tick.tick_size if tick else ""),
            ("lot_size", ours.lot_size, lot.step_size if lot else ""),
        ):
            if their and plain(their) and plain(their) != mine:
                raise ConfigError(f"{name}: {field} is {mine} here and {their} at the venue; correct it under [[instruments]]")
        if notional and notional.min_notional and plain(notional.min_notional) > ours.min_notional:
            text = f"min_notional is {ours.min_notional} here and {notional.min_notional} at the venue"
            raise ConfigError(f"{name}: {text}; correct it under [[instruments]]")
        listing.base, listing.amend_allowed = found.base_asset, found.amend_allowed

    # --- history --------------------------------------------------------------------------------------------------------
    async def trades_since(self, instrument: int, from_ns: int) -> list[Trade]:
        """Public trades from a moment on, oldest first, aggregated per taker order; receive time is the venue's."""
        listing = self._listings[instrument]
        params = {"symbol": listing.symbol, "startTime": str(from_ns // NS_PER_MS), "limit": str(_PAGE)}
        trades: list[Trade] = []
        for _ in range(_HISTORY_PAGES_MAX):
            page = await self._api.ask("trades.aggregate", params, list[AggregateTrade], is_signed=False)
            trades += [trade for line in page if (trade := self._past_trade(listing, line)) is not None]
            if len(page) < _PAGE:
                return trades
            params = {"symbol": listing.symbol, "fromId": str(page[-1].id + 1), "limit": str(_PAGE)}
        _LOG.warning("history_cut: %s: more than %d trades since the moment asked for", listing.symbol, len(trades))
        return trades

    def _past_trade(self, listing: Listing, line: AggregateTrade) -> Trade | None:
        """One trade of the past; None (counted) off our grids."""
        try:
            ticks, lots = listing.ticks(line.price), listing.lots_down(plain(line.qty))
        except ValueError:
            ticks = lots = 0
        if ticks <= 0 or lots <= 0:
            self.counts["history_off_grid"] += 1
            return None
        ts_ns = line.ts_ms * NS_PER_MS
        return Trade(0, ts_ns, ts_ns, listing.number, ticks, lots, SELL if line.is_buyer_maker else BUY, line.last_trade_id)
