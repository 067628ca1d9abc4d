"""Reconciliation: what we believe against what the venue reports, as a pure difference. The venue outranks us.

Nothing is changed here. The caller applies: `table.absent(id)`, `table.take_external(order)`, `table.drop_external(id)`,
`portfolio.adopt(...)`, and sends the effects. A report that did not come is not a flat position and not an empty list.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from mia.domain.effects import AnyEffect, Halt, QueryOrder, RaiseAlert
from mia.domain.events import BalanceReported, OpenOrder, OpenOrdersReported, PositionReported
from mia.domain.ids import run_of
from mia.domain.instruments import Instrument
from mia.domain.orders import Status
from mia.execution.portfolio import Portfolio
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable

_SETTLED: Final = (Status.CANCELED, Status.REJECTED, Status.EXPIRED, Status.FILLED)


class OrderDifferences(msgspec.Struct, frozen=True):
    """What a report of open orders says against our table."""

    found: tuple[OpenOrder, ...] = ()  # ours, at the venue, in another state than we thought: apply as OrderAccepted
    absent: tuple[str, ...] = ()  # ours, open for us, unknown to the venue: Report.ABSENT
    external: tuple[OpenOrder, ...] = ()  # on our account, never made by us
    external_gone: tuple[str, ...] = ()
    effects: tuple[AnyEffect, ...] = ()


class PositionDifference(msgspec.Struct, frozen=True):
    """The venue's position where it is not ours."""

    instrument: int
    ours_lots: int
    venue_lots: int
    effects: tuple[AnyEffect, ...] = ()
    is_adopted: bool = False  # the venue's word is to be taken


def order_differences(
    table: OrderTable, report: OpenOrdersReported, instruments: Iterable[int], settings: ExecutionSettings, *, is_recovery: bool
) -> OrderDifferences:
    """Compare the table with the venue's list of open orders.

    instruments: those that the report covers (all of report.venue). An order younger than absent_grace_ms may have
    crossed the report and is left alone; in recovery nothing is young. Lots that filled unseen come back as queries.
    """
    at_venue = {order.client_order_id: order for order in report.orders}
    covered = tuple(instruments)
    found: list[OpenOrder] = []
    absent: list[str] = []
    external: list[OpenOrder] = []
    effects: list[AnyEffect] = []
    oldest_young_ns = report.ts_recv_ns - settings.absent_grace_ms * 1_000_000
    for instrument in covered:
        for order in table.open_orders(instrument):
            theirs = at_venue.get(order.client_order_id)
            if theirs is None:
                if is_recovery or order.created_ns <= oldest_young_ns:
                    absent.append(order.client_order_id)
                    effects.append(QueryOrder(order.client_order_id, instrument))  # its fills, if it had any
            else:
                if order.status in (Status.IN_FLIGHT, Status.UNKNOWN):
                    found.append(theirs)
                if theirs.filled_lots > order.filled_lots:
                    effects.append(QueryOrder(order.client_order_id, instrument))
    for theirs in report.orders:
        ours = table.find(theirs.client_order_id)
        if ours is None:
            external.append(theirs)
            if theirs.client_order_id not in table.external:
                whose = "of an earlier run" if run_of(theirs.client_order_id) is not None else "not ours"
                text = f"open order {theirs.client_order_id!r} ({whose}): counted in the limits, not touched"
                effects.append(RaiseAlert("error", "external_order", text))
        elif ours.status is Status.EXPIRED:
            found.append(theirs)  # we gave it up too early
        elif ours.status in _SETTLED:
            effects.append(QueryOrder(ours.client_order_id, ours.instrument))
            text = f"{ours.client_order_id} is {ours.status} for us and open at the venue"
            effects.append(RaiseAlert("warning", "order_still_open", text))
    gone = tuple(i for i, order in table.external.items() if order.instrument in covered and i not in at_venue)
    return OrderDifferences(tuple(found), tuple(absent), tuple(external), gone, tuple(effects))


def position_difference(
    portfolio: Portfolio, report: PositionReported, definition: Instrument | None = None, *, adopts: bool, is_spot: bool = False
) -> PositionDifference | None:
    """Compare one position; None when they agree. adopts: take the venue's word (recovery), else halt. definition: for the text."""
    ours = portfolio.lots(report.instrument)
    if ours == report.position_lots:
        return None
    if definition is not None:
        held, said = definition.quantity(ours), definition.quantity(report.position_lots)
        text = f"{definition.symbol}: we hold {held}, the venue says {said}" + (": the venue's word is taken" if adopts else "")
    else:
        text = f"instrument {report.instrument}: we hold {ours} lots, the venue says {report.position_lots}"
    if is_spot and abs(ours - report.position_lots) == 1:  # fractions of a lot, theirs from before us: nobody traded
        return PositionDifference(report.instrument, ours, report.position_lots, (RaiseAlert("info", "position_adopted", text),), True)
    if adopts:
        return PositionDifference(report.instrument, ours, report.position_lots, (RaiseAlert("error", "position_adopted", text),), True)
    effects = (Halt(text), RaiseAlert("urgent", "position_mismatch", text))
    return PositionDifference(report.instrument, ours, report.position_lots, effects)


def balance_difference_e8(portfolio: Portfolio, report: BalanceReported) -> int:
    """Venue cash minus ours, in our currency; 0 for other currencies."""
    return report.cash_e8 - portfolio.cash_e8 if report.currency == portfolio.currency else 0
