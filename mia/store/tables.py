"""From journal records to rows of miad.db. One path for live and catch-up; writing a record twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import apsw
import msgspec

from mia.domain.effects import Halt, RaiseAlert, RecordDecision, RecordRisk, RecordTrade, SubmitOrder
from mia.domain.errors import InvalidTransition
from mia.domain.events import (
    BalanceReported,
    CashFlow,
    InstrumentDefined,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReplaced,
    RequestTimedOut,
    RunStarted,
)
from mia.domain.orders import Report, Status, advance

EVENT_TYPES: Final[frozenset[type]] = frozenset(
    (
        RunStarted,
        InstrumentDefined,
        OrderAccepted,
        OrderRejected,
        OrderCanceled,
        OrderExpired,
        OrderReplaced,
        OrderFilled,
        RequestTimedOut,
        BalanceReported,
        CashFlow,
    )
)
EFFECT_TYPES: Final[frozenset[type]] = frozenset((SubmitOrder, RecordDecision, RecordTrade, RecordRisk, RaiseAlert, Halt))
PROJECTED: Final = EVENT_TYPES | EFFECT_TYPES


def _insert(table: str, columns: int) -> str:
    return f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * columns)})"


_RUN: Final = _insert("runs", 8)
_DECISION: Final = _insert("decisions", 22)
_ORDER: Final = _insert("orders", 19)
_FILL: Final = _insert("fills", 11)
_RISK: Final = _insert("risk", 7)
_ALERT: Final = _insert("alerts", 5)
_FLOW: Final = _insert("flows", 6)
_TRADE: Final = _insert("trades", 17)
_TRADE_CLOSE: Final = (
    "UPDATE trades SET close_id = ?, closed_ns = ?, entry_price = ?, exit_price = ?, max_lots = ?, profit_e8 = ?, fees_e8 = ?, fills = ?,"
    " flows_e8 = ?"
    " WHERE trade_id = ? AND close_id IS NULL"
)
_ORDER_READ: Final = (
    "SELECT status, qty_lots, (SELECT COALESCE(SUM(qty_lots), 0) FROM fills WHERE fills.client_order_id = orders.client_order_id)"
    " FROM orders WHERE client_order_id = ?"
)
_ORDER_STATUS: Final = (
    "UPDATE orders SET status = ?, updated_ns = ?, filled_lots = ?, reason = CASE WHEN ? = '' THEN reason ELSE ? END"
    " WHERE client_order_id = ?"
)


class Tables:
    """Writes records through one connection, within the caller's transaction; `counts` collects what it added."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._execute = connection.cursor().execute
        self.counts: dict[str, int] = {}
        self._handlers: dict[type, Callable[[int, int, object], None]] = {
            RunStarted: self._run_started,
            InstrumentDefined: self._instrument,
            RecordDecision: self._decision,
            SubmitOrder: self._submit,
            OrderFilled: self._filled,
            RecordTrade: self._trade,
            RecordRisk: self._risk,
            RaiseAlert: self._alert,
            Halt: self._halt,
            BalanceReported: self._balance,
            CashFlow: self._flow,
            OrderReplaced: self._replaced,
            OrderAccepted: self._accepted,
            OrderRejected: self._reported,
            OrderCanceled: self._reported,
            OrderExpired: self._reported,
            RequestTimedOut: self._reported,
        }

    def project(self, row_id: int, ts_ns: int, record: object) -> None:
        """Write one record at its journal place; types without a table are ignored."""
        handler = self._handlers.get(type(record))
        if handler is not None:
            handler(row_id, ts_ns, record)

    def write_counts(self) -> None:
        """Add what was counted since `counts` was last cleared."""
        self._connection.executemany(
            "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            list(self.counts.items()),
        )
        self.counts.clear()

    def _count(self, name: str, n: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + n

    def _added(self) -> bool:
        return self._connection.changes() > 0

    def _run_started(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, RunStarted)
        versions = msgspec.json.encode(r.versions, order="deterministic").decode()
        self._execute(_RUN, (row_id, r.run, ts_ns, r.instance, r.mode, versions, r.config, r.config_hash))

    def _instrument(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, InstrumentDefined)
        d = r.definition
        values = (r.instrument, d.venue, d.symbol, d.kind, d.quote_currency, str(d.tick_size), str(d.lot_size), str(d.multiplier))
        self._execute("INSERT OR REPLACE INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _decision(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, RecordDecision)
        values = (
            row_id, r.decision_id, r.ts_ns, r.lane, r.instrument, r.trade_id, r.decision, r.signal, r.alpha, *r.regime_probs,
            *r.actions, r.code, r.limit, r.actual, r.position_lots, r.target_lots, r.inputs_crc, " ".join(r.order_ids),
        )  # fmt: skip
        self._execute(_DECISION, values)
        if self._added():
            self._count("decisions")
            self._count(f"decision:{r.decision}")
            if r.decision == "refused":
                self._count(f"refused:{r.code}")

    def _submit(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, SubmitOrder)
        values = (
            row_id, r.client_order_id, ts_ns, ts_ns, r.instrument, r.side, r.order_type, r.purpose, r.qty_lots, r.price_ticks,
            r.stop_ticks, r.reduce_only, r.post_only, r.decision_id, r.group, Status.IN_FLIGHT.value, 0, "", "",
        )  # fmt: skip
        self._execute(_ORDER, values)
        if self._added():
            self._count("orders")

    def _filled(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, OrderFilled)
        values = (
            row_id, r.client_order_id, r.fill_id, ts_ns, r.instrument, r.side, r.price_ticks, r.qty_lots, r.fee_e8, r.is_maker,
            r.base_fee_e8,
        )  # fmt: skip
        self._execute(_FILL, values)
        if self._added():  # the venue may repeat a fill
            self._count("fills")
            self._count("fees_e8", r.fee_e8)
        self._report(r.client_order_id, Report.PART_FILLED, ts_ns, "")

    def _accepted(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, OrderAccepted)
        self._report(r.client_order_id, Report.ACCEPTED, ts_ns, "")
        self._execute("UPDATE orders SET venue_order_id = ? WHERE client_order_id = ?", (r.venue_order_id, r.client_order_id))

    def _reported(self, row_id: int, ts_ns: int, r: object) -> None:
        match r:
            case OrderRejected():
                self._report(r.client_order_id, Report.REJECTED, ts_ns, f"{r.code}: {r.reason}")
            case OrderCanceled():
                self._report(r.client_order_id, Report.CANCELED, ts_ns, r.reason)
            case OrderExpired():
                self._report(r.client_order_id, Report.EXPIRED, ts_ns, r.reason)
            case RequestTimedOut(request="submit"):
                self._report(r.client_order_id, Report.TIMED_OUT, ts_ns, "no answer")

    def _report(self, client_order_id: str, report: Report, ts_ns: int, reason: str) -> None:
        found = self._execute(_ORDER_READ, (client_order_id,)).fetchone()
        if found is None:  # an order of somebody else on the account, or of a time before the journal's first segment
            return
        status, qty, filled = str(found[0]), int(str(found[1])), int(str(found[2]))
        if report is Report.PART_FILLED and filled >= qty:
            report = Report.FILLED
        try:
            status = advance(Status(status), report)
        except InvalidTransition:
            reason = ""  # the order is over already: a late report does not reopen its row
        self._execute(_ORDER_STATUS, (str(status), ts_ns, filled, reason, reason, client_order_id))

    def _replaced(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, OrderReplaced)
        self._execute(
            "UPDATE orders SET updated_ns = ?, price_ticks = CASE ? WHEN 0 THEN price_ticks ELSE ? END,"
            " stop_ticks = CASE ? WHEN 0 THEN stop_ticks ELSE ? END, qty_lots = CASE ? WHEN 0 THEN qty_lots ELSE ? END"
            " WHERE client_order_id = ?",
            (ts_ns, r.price_ticks, r.price_ticks, r.stop_ticks, r.stop_ticks, r.qty_lots, r.qty_lots, r.client_order_id),
        )

    def _trade(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, RecordTrade)
        values = (
            row_id, None, r.trade_id, r.instrument, r.side, r.opened_ns, 0, r.entry_price, r.exit_price, r.max_lots, r.profit_e8,
            r.fees_e8, r.fills, *r.regime_probs, r.flows_e8,
        )  # fmt: skip
        self._execute(_TRADE, values)
        if not r.is_closed:
            return
        closing = (row_id, r.closed_ns, r.entry_price, r.exit_price, r.max_lots, r.profit_e8, r.fees_e8, r.fills, r.flows_e8, r.trade_id)
        self._execute(_TRADE_CLOSE, closing)
        if self._added():
            self._count("trades")
            self._count("profit_e8", r.profit_e8)

    def _flow(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, CashFlow)
        self._execute(_FLOW, (row_id, ts_ns, r.flow_id or str(row_id), r.instrument, r.kind, r.amount_e8))
        if self._added():  # the venue may repeat one
            self._count("flows_e8", r.amount_e8)

    def _risk(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, RecordRisk)
        self._execute(_RISK, (row_id, r.ts_ns, r.equity_e8, r.cash_e8, r.drawdown, r.overtrade_risk_score, r.penalty_active))

    def _alert(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, RaiseAlert)
        self._execute(_ALERT, (row_id, ts_ns, r.severity, r.code, r.text))
        if self._added():
            self._count("alerts")

    def _halt(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, Halt)
        self._alert(row_id, ts_ns, RaiseAlert("urgent", "halt", r.reason))

    def _balance(self, row_id: int, ts_ns: int, r: object) -> None:
        assert isinstance(r, BalanceReported)
        self._execute("INSERT OR REPLACE INTO balances VALUES (?, ?, ?)", (r.currency, r.cash_e8, ts_ns))
