"""What the simulated venue remembers, as plain structs: one encode is its snapshot."""

from __future__ import annotations

import msgspec

from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, RequestReconciliation, SubmitOrder
from mia.domain.events import (
    BalanceReported,
    CancelRejected,
    CashFlow,
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
from mia.sim.fees import TradedVolume

Request = SubmitOrder | CancelOrder | ReplaceOrder | QueryOrder | RequestReconciliation
VenueReport = (
    OrderAccepted | OrderRejected | OrderCanceled | OrderExpired | OrderReplaced | CancelRejected | ReplaceRejected
    | OrderFilled | PositionReported | BalanceReported | OpenOrdersReported | CashFlow
)  # fmt: skip


class VenueFill(msgspec.Struct, array_like=True, frozen=True):
    """One fill, kept with its order so that a query can repeat it with the same id."""

    fill_id: str
    price_ticks: int
    qty_lots: int
    fee_e8: int
    is_maker: bool
    base_fee_e8: int = 0
    mid2: int = 0  # doubled mid when it filled, 0 where there was none
    touch_ticks: int = 0  # best price of the other side then


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
    level_lots: int = -1  # displayed at our price when last looked at, -1 not yet (probability forms of the queue)
    traded_lots: int = 0  # traded there since

    @property
    def open_lots(self) -> int:
        """Lots that may still fill."""
        return self.qty_lots - self.filled_lots


class VenuePosition(msgspec.Struct, array_like=True):
    """Signed lots and the signed cost (e8) of the lots that are open."""

    lots: int = 0
    cost_e8: int = 0
    dust_e8: int = 0  # 1e-8 of the base below one lot, where fees are taken in the base


class LastQuote(msgspec.Struct, array_like=True):
    """The touch as the last Quote said it; 0 where nothing is known."""

    bid_ticks: int = 0
    ask_ticks: int = 0
    bid_lots: int = 0
    ask_lots: int = 0


class Tape(msgspec.Struct, array_like=True):
    """What traded in the running interval and in the one before it, and how much of the running one was ours."""

    interval: int = -1
    lots: int = 0
    low_ticks: int = 0
    high_ticks: int = 0
    used_lots: int = 0
    last_lots: int = 0
    last_low_ticks: int = 0
    last_high_ticks: int = 0


class InstrumentState(msgspec.Struct, array_like=True):
    """One instrument at the venue. taken: signed price (+bid, -ask) -> (size displayed then, lots we have had of it)."""

    position: VenuePosition
    quote: LastQuote
    taken: dict[int, tuple[int, int]]
    next_charge_ns: int = 0  # when the open position is charged next; 0: nothing is due
    tape: Tape = msgspec.field(default_factory=Tape)


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
    flows: int = 0
    liquidations: int = 0
    request_due_ns: int = 0  # of the newest request and report: one that was drawn quicker does not overtake them
    report_due_ns: int = 0
    volume: TradedVolume = msgspec.field(default_factory=TradedVolume)
