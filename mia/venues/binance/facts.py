"""What is known of each order at the venue, and the reports that follow: each fact is reported once, whoever brings it first.

Answers, user data events and queries all carry the same facts in any order. Nothing here sends or waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from mia.domain.events import (
    BUY,
    SELL,
    AnyEvent,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
)
from mia.ports import Host
from mia.venues.binance.userdata import Id, Listing, plain, to_e8

_ORDERS_KEPT: Final = 20_000
_FILLS_KEPT: Final = 100_000
NS_PER_MS: Final = 1_000_000


class Track(msgspec.Struct):
    """One order at the venue; sizes 0 until known (orders of an earlier process)."""

    client_order_id: str
    instrument: int
    side: int = 0
    qty_lots: int = 0
    price_ticks: int = 0
    stop_ticks: int = 0
    sent_ns: int = 0  # 0: not sent by this process
    venue_order_id: str = ""
    is_answered: bool = True  # False from the sending until the venue confirmed or refused it
    is_accepted: bool = False  # reported
    filled_lots: int = 0  # reported
    executed_lots: int = 0  # by the venue's word; fills may be missing
    end: str = ""  # filled | canceled | expired | rejected | absent: reported
    cancel_sent_ns: int = 0  # of a cancel whose outcome is unknown or was refused
    cancel_refused: str = ""

    @property
    def is_settled(self) -> bool:
        """Nothing about it is unanswered and no fill is missing."""
        return self.is_answered and self.filled_lots >= self.executed_lots


class Facts:
    """Orders by client id and by the venue's id, and the fills that were reported."""

    def __init__(self, listings: Mapping[int, Listing], host: Host) -> None:
        self._listings: Final = listings
        self._host: Final = host
        self._tracks: Final[dict[str, Track]] = {}
        self._by_venue_id: Final[dict[tuple[int, str], str]] = {}
        self._fills: Final[dict[tuple[int, str], None]] = {}
        self._unsettled: Final[set[str]] = set()
        self.other_fee_assets: Final[dict[str, int]] = {}
        self.counts: Final[dict[str, int]] = dict.fromkeys(("fills", "fills_repeated", "fees_in_other_assets"), 0)

    # --- finding --------------------------------------------------------------------------------------------------------
    def find(self, client_order_id: str) -> Track | None:
        """An order that was met before."""
        return self._tracks.get(client_order_id)

    def track(self, client_order_id: str, instrument: int) -> Track:
        """An order, met now or before."""
        found = self._tracks.get(client_order_id)
        if found is None:
            found = self._tracks[client_order_id] = Track(client_order_id, instrument)
            if len(self._tracks) > _ORDERS_KEPT:
                self._forget_oldest()
        return found

    def forget(self, client_order_id: str) -> None:
        """An order that never was."""
        self._tracks.pop(client_order_id, None)
        self._unsettled.discard(client_order_id)

    def named(self, instrument: int, order_id: Id) -> str:
        """The client id of the venue's order id; "" when it was not met."""
        return self._by_venue_id.get((instrument, str(order_id)), "")

    @property
    def is_settled(self) -> bool:
        """No order waits for an answer or for fills that the venue spoke of."""
        return not self._unsettled

    def note(self, track: Track) -> None:
        """An order's answer or size changed: keep `is_settled` right."""
        if track.is_settled:
            self._unsettled.discard(track.client_order_id)
        else:
            self._unsettled.add(track.client_order_id)

    def learn(self, track: Track, order_id: Id) -> None:
        """The venue's id of an order."""
        track.venue_order_id = str(order_id)
        self._by_venue_id[track.instrument, track.venue_order_id] = track.client_order_id

    def working_besides(self, names: Collection[str]) -> list[Track]:
        """Orders that were accepted and of whose end nothing is known, others than those named."""
        return [t for name, t in self._tracks.items() if t.is_accepted and not t.end and name not in names]

    # --- reporting ------------------------------------------------------------------------------------------------------
    def accept(self, track: Track, order_id: Id, ts_ms: int, *, again: bool = False) -> None:
        """The venue works the order. again: say so even if it was said, as an answer to the engine's question."""
        self.learn(track, order_id)
        track.is_answered = True
        self.note(track)
        if track.end == "absent":
            track.end, again = "", True
        if track.end in ("canceled", "expired", "rejected") or (track.is_accepted and not again):
            return
        track.is_accepted = True
        self._report(OrderAccepted(0, ts_ms * NS_PER_MS, 0, track.client_order_id, track.venue_order_id))

    def fill(
        self, track: Track, trade_id: Id, side: str, price: str, qty: str, fee: str | None, asset: str | None, is_maker: bool, ts_ms: int
    ) -> None:
        """One fill, whose id is the venue's trade id. ValueError when a figure is not on our grids."""
        key = (track.instrument, str(trade_id))
        if key in self._fills:
            self.counts["fills_repeated"] += 1
            return
        listing = self._listings[track.instrument]
        ticks, lots = listing.ticks(price), listing.lots(qty)
        if ticks <= 0 or lots <= 0:
            raise ValueError(f"a fill of {qty} at {price}")
        fee_e8, base_fee_e8 = self._fees(listing, fee, asset, price)
        self._fills[key] = None
        if len(self._fills) > _FILLS_KEPT:
            del self._fills[next(iter(self._fills))]
        track.is_answered = True
        track.filled_lots += lots
        track.executed_lots = max(track.executed_lots, track.filled_lots)
        if track.qty_lots and track.filled_lots >= track.qty_lots:
            track.end = "filled"
        self.note(track)
        self.counts["fills"] += 1
        self._report(
            OrderFilled(
                0, ts_ms * NS_PER_MS, 0, track.client_order_id, key[1], track.instrument, BUY if side == "BUY" else SELL,
                ticks, lots, fee_e8, is_maker, base_fee_e8,
            )
        )  # fmt: skip

    def _fees(self, listing: Listing, fee: str | None, asset: str | None, price: str) -> tuple[int, int]:
        """(fee_e8 in quote or worth so much, base_fee_e8). A fee in a third asset is neither: we keep no such balance."""
        amount = to_e8(plain(fee)) if fee else 0
        if amount == 0 or asset is None:
            return 0, 0
        if asset == listing.quote:
            return amount, 0
        if asset == listing.base:
            return to_e8(plain(fee or "0") * plain(price)), amount
        self.other_fee_assets[asset] = self.other_fee_assets.get(asset, 0) + amount
        self.counts["fees_in_other_assets"] += 1
        return 0, 0

    def end(self, track: Track, status: str, reason: str, ts_ms: int) -> None:
        """The order is over (CANCELED, EXPIRED, EXPIRED_IN_MATCH or REJECTED) and all of its fills are reported."""
        track.is_answered = True
        self.note(track)
        if track.end in ("canceled", "expired", "rejected") or (track.end == "filled" and track.filled_lots):
            return
        ts_ns, name = ts_ms * NS_PER_MS, track.client_order_id
        if status == "CANCELED":
            track.end = "canceled"
            self._report(OrderCanceled(0, ts_ns, 0, name, reason))
        elif status == "REJECTED":
            track.end = "rejected"
            self._report(OrderRejected(0, ts_ns, 0, name, "rejected", reason))
        else:
            track.end = "expired"
            self._report(OrderExpired(0, ts_ns, 0, name, reason))

    def reject(self, track: Track, code: str, reason: str) -> None:
        """A definite no."""
        track.is_answered = True
        self.note(track)
        if track.end or track.is_accepted or track.filled_lots:
            return
        track.end = "absent" if code == "unknown_order" else "rejected"
        self._report(OrderRejected(0, 0, 0, track.client_order_id, code, reason))

    def replaced(self, track: Track, qty_lots: int, ts_ms: int) -> None:
        """The order's size changed."""
        if not qty_lots or qty_lots == track.qty_lots or track.end:
            return
        is_news = track.qty_lots > 0
        track.qty_lots = qty_lots
        if is_news:
            self._report(OrderReplaced(0, ts_ms * NS_PER_MS, 0, track.client_order_id, 0, 0, qty_lots))

    def cancel_rejected(self, track: Track, reason: str) -> None:
        """The order stands, the cancel did nothing."""
        track.cancel_sent_ns, track.cancel_refused = 0, ""
        if not track.end:
            self._report(CancelRejected(0, 0, 0, track.client_order_id, reason))

    def _report(self, event: AnyEvent) -> None:
        self._host.report(event)

    def _forget_oldest(self) -> None:
        """Orders that are over go first; those that are not stay."""
        for name in [n for n, t in self._tracks.items() if t.end][: _ORDERS_KEPT // 10]:
            gone = self._tracks.pop(name)
            self._by_venue_id.pop((gone.instrument, gone.venue_order_id), None)
            self._unsettled.discard(name)
