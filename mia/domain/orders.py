"""Orders: what we asked for, the table of their life, and the values that pass between risk and execution."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from mia.domain.codes import Code
from mia.domain.errors import InvalidTransition


class OrderType(enum.StrEnum):
    """What the venue is asked to do. STOP and TAKE are market orders on a trigger (reduce-only)."""

    MARKET = "market"
    LIMIT = "limit"  # post-only unless said otherwise
    STOP = "stop"
    TAKE = "take"


class Purpose(enum.StrEnum):
    """Why the order exists."""

    ENTRY = "entry"  # carries a decision's target, in either direction
    EXIT = "exit"  # flatten, engine-held stop or take, session end
    STOP = "stop"  # protective
    TAKE = "take"  # protective


class Status(enum.StrEnum):
    """Where an order is in its life; UNKNOWN means sent, outcome not known: full exposure is assumed."""

    CREATED = "created"
    IN_FLIGHT = "in_flight"
    WORKING = "working"
    CANCEL_IN_FLIGHT = "cancel_in_flight"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_open(self) -> bool:
        """True while a fill is still expected to be possible."""
        return self in _OPEN


_OPEN: Final = frozenset((Status.CREATED, Status.IN_FLIGHT, Status.WORKING, Status.CANCEL_IN_FLIGHT, Status.UNKNOWN))


class Report(enum.StrEnum):
    """What can happen to an order."""

    SENT = "sent"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PART_FILLED = "part_filled"
    FILLED = "filled"
    CANCEL_SENT = "cancel_sent"
    CANCEL_REJECTED = "cancel_rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"
    TIMED_OUT = "timed_out"
    REPLACED = "replaced"
    ABSENT = "absent"  # reconciliation: the venue never had it, or has it no more


# fmt: off
TRANSITIONS: Final[Mapping[tuple[Status, Report], Status]] = {
    (Status.CREATED,          Report.SENT):            Status.IN_FLIGHT,
    (Status.CREATED,          Report.ABSENT):          Status.EXPIRED,      # journaled, never left: not sent late
    (Status.IN_FLIGHT,        Report.ACCEPTED):        Status.WORKING,
    (Status.IN_FLIGHT,        Report.REJECTED):        Status.REJECTED,
    (Status.IN_FLIGHT,        Report.PART_FILLED):     Status.WORKING,      # a fill can outrun its ack
    (Status.IN_FLIGHT,        Report.FILLED):          Status.FILLED,
    (Status.IN_FLIGHT,        Report.EXPIRED):         Status.EXPIRED,
    (Status.IN_FLIGHT,        Report.CANCELED):        Status.CANCELED,
    (Status.IN_FLIGHT,        Report.TIMED_OUT):       Status.UNKNOWN,
    (Status.IN_FLIGHT,        Report.CANCEL_SENT):     Status.CANCEL_IN_FLIGHT,
    (Status.IN_FLIGHT,        Report.ABSENT):          Status.EXPIRED,
    (Status.UNKNOWN,          Report.ACCEPTED):        Status.WORKING,
    (Status.UNKNOWN,          Report.REJECTED):        Status.REJECTED,
    (Status.UNKNOWN,          Report.PART_FILLED):     Status.WORKING,
    (Status.UNKNOWN,          Report.FILLED):          Status.FILLED,
    (Status.UNKNOWN,          Report.CANCELED):        Status.CANCELED,
    (Status.UNKNOWN,          Report.EXPIRED):         Status.EXPIRED,
    (Status.UNKNOWN,          Report.ABSENT):          Status.EXPIRED,
    (Status.UNKNOWN,          Report.CANCEL_SENT):     Status.UNKNOWN,
    (Status.UNKNOWN,          Report.CANCEL_REJECTED): Status.UNKNOWN,
    (Status.UNKNOWN,          Report.TIMED_OUT):       Status.UNKNOWN,
    (Status.WORKING,          Report.ACCEPTED):        Status.WORKING,      # the ack after the fill
    (Status.WORKING,          Report.PART_FILLED):     Status.WORKING,
    (Status.WORKING,          Report.FILLED):          Status.FILLED,
    (Status.WORKING,          Report.CANCEL_SENT):     Status.CANCEL_IN_FLIGHT,
    (Status.WORKING,          Report.CANCEL_REJECTED): Status.WORKING,      # the late answer to a cancel that was found undone
    (Status.WORKING,          Report.CANCELED):        Status.CANCELED,     # the venue did it (one-cancels-other)
    (Status.WORKING,          Report.EXPIRED):         Status.EXPIRED,
    (Status.WORKING,          Report.REPLACED):        Status.WORKING,
    (Status.WORKING,          Report.REJECTED):        Status.REJECTED,
    (Status.WORKING,          Report.ABSENT):          Status.CANCELED,
    (Status.WORKING,          Report.TIMED_OUT):       Status.WORKING,      # a query or replace that got no answer
    (Status.CANCEL_IN_FLIGHT, Report.ACCEPTED):        Status.CANCEL_IN_FLIGHT,
    (Status.CANCEL_IN_FLIGHT, Report.CANCELED):        Status.CANCELED,
    (Status.CANCEL_IN_FLIGHT, Report.PART_FILLED):     Status.CANCEL_IN_FLIGHT,
    (Status.CANCEL_IN_FLIGHT, Report.FILLED):          Status.FILLED,       # the venue won the race
    (Status.CANCEL_IN_FLIGHT, Report.EXPIRED):         Status.EXPIRED,
    (Status.CANCEL_IN_FLIGHT, Report.REJECTED):        Status.REJECTED,
    (Status.CANCEL_IN_FLIGHT, Report.CANCEL_REJECTED): Status.WORKING,
    (Status.CANCEL_IN_FLIGHT, Report.REPLACED):        Status.CANCEL_IN_FLIGHT,
    (Status.CANCEL_IN_FLIGHT, Report.TIMED_OUT):       Status.CANCEL_IN_FLIGHT,
    (Status.CANCEL_IN_FLIGHT, Report.CANCEL_SENT):     Status.CANCEL_IN_FLIGHT,
    (Status.CANCEL_IN_FLIGHT, Report.ABSENT):          Status.CANCELED,
    (Status.CANCELED,         Report.PART_FILLED):     Status.CANCELED,     # late, yet it is our position
    (Status.CANCELED,         Report.FILLED):          Status.FILLED,
    (Status.CANCELED,         Report.CANCEL_REJECTED): Status.CANCELED,
    (Status.CANCELED,         Report.CANCELED):        Status.CANCELED,
    (Status.EXPIRED,          Report.PART_FILLED):     Status.EXPIRED,
    (Status.EXPIRED,          Report.FILLED):          Status.FILLED,
    (Status.EXPIRED,          Report.ACCEPTED):        Status.WORKING,      # reconciliation gave it up too early
    (Status.EXPIRED,          Report.CANCEL_REJECTED): Status.EXPIRED,
    (Status.EXPIRED,          Report.CANCELED):        Status.EXPIRED,
    (Status.EXPIRED,          Report.REJECTED):        Status.EXPIRED,      # absent, as reconciliation had said
    (Status.FILLED,           Report.ACCEPTED):        Status.FILLED,
    (Status.FILLED,           Report.CANCEL_REJECTED): Status.FILLED,
    (Status.FILLED,           Report.CANCELED):        Status.FILLED,
    (Status.FILLED,           Report.REPLACED):        Status.FILLED,
    (Status.REJECTED,         Report.CANCEL_REJECTED): Status.REJECTED,
}
# fmt: on


def advance(status: Status, report: Report) -> Status:
    """Return the next status; raise InvalidTransition for a pair the table does not list."""
    try:
        return TRANSITIONS[status, report]
    except KeyError:
        raise InvalidTransition(f"an order that is {status} cannot take {report}") from None


class Order(msgspec.Struct, kw_only=True):
    """One order of ours and what became of it; mutable, owned by the engine's order table."""

    client_order_id: str
    instrument: int
    lane: int  # -1 when no lane asked (flatten)
    purpose: Purpose
    order_type: OrderType
    side: int
    qty_lots: int
    price_ticks: int = 0  # limit price; for market orders the reference mid x 1, for the collar
    stop_ticks: int = 0
    reduce_only: bool = False
    post_only: bool = False
    decision_id: int = 0
    created_ns: int = 0
    status: Status = Status.CREATED
    filled_lots: int = 0
    venue_order_id: str = ""

    @property
    def open_lots(self) -> int:
        """Lots that may still fill; 0 once the order is over."""
        return self.qty_lots - self.filled_lots if self.status.is_open else 0


class Approved(msgspec.Struct, frozen=True, gc=False):
    """A target position that passed every rule; `code` says which limit shrank it (Code.OK: none)."""

    target_lots: int
    code: Code = Code.OK


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A target position that a rule refused, with the figures behind it."""

    target_lots: int
    code: Code
    limit: float = 0.0
    actual: float = 0.0
