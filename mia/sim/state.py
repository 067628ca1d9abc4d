"""What the simulated venue remembers, as plain structs: one encode is its snapshot."""

from __future__ import annotations

import msgspec

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    CancelRejected,
    OpenOrdersReported,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    PositionReported,
    ReplaceRejected,
)

Request = SubmitOrder | CancelOrder | ReplaceOrder | QueryOrder | RequestReconciliation
VenueReport = (
    OrderAccepted | OrderRejected | OrderCanceled | OrderExpired | OrderReplaced | CancelRejected | ReplaceRejected
    | OrderFilled | PositionReported | BalanceReported | OpenOrdersReported
)  # fmt: skip


class VenueFill(msgspec.Struct, array_like=True, frozen=True):
    """One fill, kept with its order so that a query can repeat it with the same id."""

    fill_id: str
    price_ticks: int
    qty_lots: int
    fee_e8: int
    is_maker: bool


class VenueOrder(msgspec.Struct, array_like=True):
    """One order as the venue sees it; status: open | filled | canceled | expired | rejected."""

    client_order_id: str
    venue_order_id: str
    instrument: int
    side: int
    order_type: str
    qty_lots: int
    price_ticks: int
    stop_ticks: int
    reduce_only: bool
    post_only: bool
    group: str
    status: str = "open"
    reason: str = ""
    filled_lots: int = 0
    ahead_lots: int = 0  # public size before us in the queue of our price
    fills: list[VenueFill] = []

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return self.qty_lots - self.filled_lots


class VenuePosition(msgspec.Struct, array_like=True):
    """Signed lots and the signed cost (e8) of the lots that are open."""

    lots: int = 0
    cost_e8: int = 0


class LastQuote(msgspec.Struct, array_like=True):
    """The touch as the last Quote said it; 0 where nothing is known."""

    bid_ticks: int = 0
    ask_ticks: int = 0
    bid_lots: int = 0
    ask_lots: int = 0


class InstrumentState(msgspec.Struct, array_like=True):
    """One instrument at the venue. taken: signed price (+bid, -ask) -> (size displayed then, lots we have had of it)."""

    position: VenuePosition
    quote: LastQuote
    taken: dict[int, tuple[int, int]]


class VenueState(msgspec.Struct, array_like=True):
    """Everything, in one place. Requests and reports are heaps of (due_ns, number, what)."""

    cash_e8: int
    fees_e8: int = 0
    number: int = 0  # one counter orders requests and reports
    orders: int = 0
    fills: int = 0
    instruments: dict[int, InstrumentState] = {}
    open: dict[str, VenueOrder] = {}  # in time priority
    closed: dict[str, VenueOrder] = {}  # oldest first, bounded
    requests: list[tuple[int, int, Request]] = []
    reports: list[tuple[int, int, VenueReport]] = []
