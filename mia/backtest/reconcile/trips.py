"""Round trips of one account as the money of their orders: what the matching compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mia.domain.events import CashFlow, OrderFilled
from mia.domain.sizing import Terms, base_fee_lots
from mia.execution.attribution import FillCosts, Moments, costs_of

_FREE = FillCosts(0, 0, 0, 0)


class Leg(msgspec.Struct):
    """What one order did within one trip, e8. gross_e8: its lots at the mid of its decision; cash and costs add up to it.

    rest_e8: worth of the coins that a fee in the base took out of the position.
    """

    order: str
    side: int
    first_ns: int
    lots: int = 0
    gross_e8: int = 0
    fees_e8: int = 0
    latency_e8: int = 0  # the mid moved between decision and fill
    slippage_e8: int = 0  # price against the mid at the fill
    rest_e8: int = 0
    is_maker: bool = False

    @property
    def cash_e8(self) -> int:
        """What it brought, above 0, or cost."""
        return self.gross_e8 - self.fees_e8 - self.latency_e8 - self.slippage_e8 + self.rest_e8

    def share(self, lots: int) -> Leg:
        """The part of it that is of so many lots, 0 to all; what is left over by rounding stays with the rest."""
        if lots == self.lots:
            return self
        part = {name: getattr(self, name) * lots // self.lots for name in _MONEY}
        return msgspec.structs.replace(self, lots=lots, **part)


_MONEY = ("gross_e8", "fees_e8", "latency_e8", "slippage_e8", "rest_e8")


class RoundTrip(msgspec.Struct):
    """Flat to flat; closed_ns 0: open at the end, and mark_e8 is what it was worth there."""

    instrument: int
    side: int
    opened_ns: int
    closed_ns: int = 0
    legs: dict[str, Leg] = {}
    flows_e8: int = 0
    mark_e8: int = 0

    @property
    def net_e8(self) -> int:
        """Profit after everything."""
        return sum(leg.cash_e8 for leg in self.legs.values()) + self.flows_e8 + self.mark_e8


class _Desk(msgspec.Struct):
    terms: Terms
    lots: int = 0
    dust_e8: int = 0
    trip: RoundTrip | None = None


def round_trips(
    terms: Sequence[Terms],
    money: Sequence[OrderFilled | CashFlow],
    moments: Mapping[str, Moments],
    held: Sequence[tuple[int, int]],
    begin_ns: int,
    mids2: Sequence[int],
) -> tuple[list[RoundTrip], int]:
    """(trips by their opening, flows of the account as a whole in e8).

    held: by instrument, the lots at the beginning and the doubled mid that they are counted at; mids2: doubled, at the end.
    """
    desks = [_Desk(t) for t in terms]
    done: list[RoundTrip] = []
    apart_e8 = 0
    for desk, (lots, mid2) in zip(desks, held, strict=True):
        if lots:
            value = -(lots * mid2 * desk.terms.unit_e8 // 2)
            _add(desk, done, Leg("", 1 if lots > 0 else -1, begin_ns, abs(lots), value), lots, begin_ns)
    for event in money:
        if isinstance(event, CashFlow):
            trip = desks[event.instrument].trip if 0 <= event.instrument < len(desks) else None
            if trip is None:
                apart_e8 += event.amount_e8
            else:
                trip.flows_e8 += event.amount_e8
            continue
        _fill(desks[event.instrument], done, event, moments.get(event.fill_id, Moments()))
    for desk, mid2 in zip(desks, mids2, strict=True):
        if desk.trip is not None:
            desk.trip.mark_e8 = desk.lots * mid2 * desk.terms.unit_e8 // 2
            done.append(desk.trip)
    return sorted(done, key=lambda trip: (trip.opened_ns, trip.instrument)), apart_e8


def _fill(desk: _Desk, done: list[RoundTrip], fill: OrderFilled, moments: Moments) -> None:
    terms, ts = desk.terms, fill.ts_recv_ns
    fee_lots = 0
    if fill.base_fee_e8 > 0:
        held = max(0, desk.lots + fill.side * fill.qty_lots)
        fee_lots, desk.dust_e8 = base_fee_lots(desk.dust_e8, fill.base_fee_e8, terms.lot_e8, held)
        fill = msgspec.structs.replace(fill, fee_e8=fee_lots * fill.price_ticks * terms.unit_e8)
    costs = costs_of(fill, terms, moments)
    closing = min(fill.qty_lots, abs(desk.lots)) if desk.lots * fill.side < 0 else 0
    ending, opening = costs.split(closing, fill.qty_lots) if closing else (_FREE, costs)
    for lots, part in ((closing, ending), (fill.qty_lots - closing, opening)):
        if lots:
            _add(desk, done, _leg(fill, lots, part, terms), fill.side * lots, ts)
    if fee_lots and desk.trip is not None:
        desk.trip.legs[fill.client_order_id].rest_e8 += fee_lots * fill.price_ticks * terms.unit_e8
        _move(desk, done, -fee_lots, ts)


def _leg(fill: OrderFilled, lots: int, costs: FillCosts, terms: Terms) -> Leg:
    cash = -fill.side * lots * fill.price_ticks * terms.unit_e8 - costs.fees_e8
    slippage = costs.spread_e8 + costs.impact_e8
    gross = cash + costs.fees_e8 + costs.slippage_e8 + slippage
    return Leg(
        fill.client_order_id, fill.side, fill.ts_recv_ns, lots, gross, costs.fees_e8, costs.slippage_e8, slippage, is_maker=fill.is_maker
    )


def _add(desk: _Desk, done: list[RoundTrip], leg: Leg, lots: int, ts_ns: int) -> None:
    if desk.trip is None:
        desk.trip = RoundTrip(desk.terms.instrument, leg.side, ts_ns, legs={})
    known = desk.trip.legs.get(leg.order)
    if known is None:
        desk.trip.legs[leg.order] = leg
    else:
        known.lots += leg.lots
        known.is_maker = known.is_maker or leg.is_maker
        for name in _MONEY:
            setattr(known, name, getattr(known, name) + getattr(leg, name))
    _move(desk, done, lots, ts_ns)


def _move(desk: _Desk, done: list[RoundTrip], lots: int, ts_ns: int) -> None:
    desk.lots += lots
    if not desk.lots and desk.trip is not None:
        desk.trip.closed_ns = ts_ns
        done.append(desk.trip)
        desk.trip = None
