"""`mia history`: the newest decisions, orders, fills, cash flows, trades, risk records or alerts of a state directory."""

from __future__ import annotations

import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

Row = dict[str, Any]


class Kind(enum.StrEnum):
    """What can be listed."""

    decisions = "decisions"
    orders = "orders"
    fills = "fills"
    flows = "flows"
    trades = "trades"
    risk = "risk"
    alerts = "alerts"


def history(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.trades,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=1_000_000, help="How many, the newest.")] = 20,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the newest decisions, orders, fills, cash flows (funding, borrow), trades, risk records or alerts; the newest comes last."""
    from mia.cli.output import print_json, print_note, print_table
    from mia.cli.places import missing, state_dir
    from mia.domain.errors import DataError
    from mia.store.queries import read_history, read_instruments

    path = state_dir(state, config)
    if not path.is_dir():
        raise DataError(missing(path))
    rows: list[Row] = read_history(path, kind.value, limit)[::-1]
    if as_json:
        print_json(rows)
        return
    if not rows:
        print_note(f"no {kind.value} yet in {path}")
        return
    head, cells, right = _SHAPES[kind]
    units = _Units(read_instruments(path))
    print_table(head, [cells(row, units) for row in rows], right)


class _Units:
    """Turns lots and ticks into what people read."""

    def __init__(self, instruments: dict[int, Row]) -> None:
        self._known = instruments

    def symbol(self, row: Row) -> str:
        known = self._known.get(row["instrument"])
        return str(known["symbol"]) if known else str(row["instrument"])

    def quantity(self, row: Row, lots: int) -> str:
        known = self._known.get(row["instrument"])
        return str(lots * Decimal(str(known["lot_size"]))) if known else f"{lots} lots"

    def price(self, row: Row, ticks: int) -> str:
        known = self._known.get(row["instrument"])
        return "" if not ticks else str(ticks * Decimal(str(known["tick_size"]))) if known else f"{ticks} ticks"


def _side(side: int) -> str:
    return "buy" if side > 0 else "sell"


def _float(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _time(ts_ns: int) -> str:
    """To the millisecond; the full time is in --json and in the exports."""
    from mia.domain.text import iso_time

    return iso_time(ts_ns)[:-4].replace("T", " ")


def _money(value_e8: int) -> str:
    return f"{value_e8 / 1e8:+.2f}"


def _decision(r: Row, u: _Units) -> list[str]:
    probs = "/".join(_float(r[k], 2) for k in ("p_range", "p_trend", "p_defensive")) if r["p_range"] is not None else ""
    return [
        _time(r["ts_ns"]), u.symbol(r), r["decision"], r["code"], _float(r["signal"]), _float(r["alpha"]), probs,
        u.quantity(r, r["position_lots"]), u.quantity(r, r["target_lots"]), r["order_ids"],
    ]  # fmt: skip


def _order(r: Row, u: _Units) -> list[str]:
    price = u.price(r, r["price_ticks"]) or u.price(r, r["stop_ticks"]) or "market"
    return [
        _time(r["ts_ns"]), u.symbol(r), _side(r["side"]), u.quantity(r, r["qty_lots"]), price, r["order_type"], r["purpose"],
        r["status"], u.quantity(r, r["filled_lots"]), r["client_order_id"], r["reason"],
    ]  # fmt: skip


def _fill(r: Row, u: _Units) -> list[str]:
    return [
        _time(r["ts_ns"]), u.symbol(r), _side(r["side"]), u.quantity(r, r["qty_lots"]), u.price(r, r["price_ticks"]),
        f"{r['fee_e8'] / 1e8:.4f}", "maker" if r["is_maker"] else "taker", r["client_order_id"],
    ]  # fmt: skip


def _flow(r: Row, u: _Units) -> list[str]:
    return [_time(r["ts_ns"]), u.symbol(r) if r["instrument"] >= 0 else "account", r["kind"], f"{r['amount_e8'] / 1e8:+.4f}"]


def _trade(r: Row, u: _Units) -> list[str]:
    is_closed = r["close_id"] is not None
    return [
        r["trade_id"], _time(r["opened_ns"]), _time(r["closed_ns"]) if is_closed else "open", u.symbol(r), _side(r["side"]),
        u.quantity(r, r["max_lots"]) if is_closed else "", _float(r["entry_price"], 2), _float(r["exit_price"], 2) if is_closed else "",
        _money(r["profit_e8"]) if is_closed else "", f"{r['fees_e8'] / 1e8:.2f}" if is_closed else "",
    ]  # fmt: skip


def _risk(r: Row, u: _Units) -> list[str]:
    from mia.cli.output import amount

    return [
        _time(r["ts_ns"]), amount(r["equity_e8"]), amount(r["cash_e8"]), f"{r['drawdown']:.2%}",
        _float(r["overtrade_risk_score"]), "yes" if r["penalty_active"] else "no",
    ]  # fmt: skip


def _alert(r: Row, u: _Units) -> list[str]:
    return [_time(r["ts_ns"]), r["severity"], r["code"], r["text"]]


_Shape = tuple[tuple[str, ...], Callable[[Row, _Units], list[str]], tuple[str, ...]]
_SHAPES: dict[Kind, _Shape] = {
    Kind.decisions: (
        ("time (UTC)", "symbol", "decision", "code", "signal", "alpha", "range/trend/def", "position", "target", "orders"),
        _decision,
        ("signal", "alpha", "position", "target"),
    ),
    Kind.orders: (
        ("time (UTC)", "symbol", "side", "size", "price", "type", "purpose", "status", "filled", "order", "reason"),
        _order,
        ("size", "price", "filled"),
    ),
    Kind.fills: (
        ("time (UTC)", "symbol", "side", "size", "price", "fee", "role", "order"),
        _fill,
        ("size", "price", "fee"),
    ),
    Kind.flows: (("time (UTC)", "symbol", "kind", "amount"), _flow, ("amount",)),
    Kind.trades: (
        ("trade", "opened (UTC)", "closed (UTC)", "symbol", "side", "size", "entry", "exit", "profit", "fees"),
        _trade,
        ("size", "entry", "exit", "profit", "fees"),
    ),
    Kind.risk: (
        ("time (UTC)", "equity", "cash", "drawdown", "overtrade", "penalty"),
        _risk,
        ("equity", "cash", "drawdown", "overtrade"),
    ),
    Kind.alerts: (("time (UTC)", "severity", "code", "text"), _alert, ()),
}
