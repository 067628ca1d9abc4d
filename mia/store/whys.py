"""All that miad.db knows about one decision: found by its number, by one of its orders, or by the trade it opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import apsw

from mia.domain.errors import DataError
from mia.store.queries import open_read_only
from mia.store.schema import ORDINALS

Row = dict[str, Any]
_NEWEST: Final = "SELECT * FROM decisions {} ORDER BY id DESC LIMIT 1"


def read_why(state_dir: Path, wanted: str = "", *, acted: bool = False) -> Row:
    """The decision with its run, instrument, orders, their fills and the trade; what was asked for is under `asked`.

    wanted: "" (the newest decision; with `acted` the newest that sent an order), a decision's number, an order id or a trade id.
    DataError when there is no such thing.
    """
    with open_read_only(state_dir) as connection:
        asked, decision = _found(connection, state_dir, wanted, acted)
        ids = decision["order_ids"].split()
        marks = ", ".join("?" * len(ids))
        orders = _rows(connection, f"SELECT * FROM orders WHERE client_order_id IN ({marks}) ORDER BY id", *ids)
        fills = _rows(connection, f"SELECT * FROM fills WHERE client_order_id IN ({marks}) ORDER BY id", *ids)
        trade = asked.get("trade") or _trade(connection, decision, fills)
        return {
            "asked": asked,
            "decision": decision,
            "run": _first(connection, "SELECT * FROM runs WHERE id < ? ORDER BY id DESC LIMIT 1", decision["id"]),
            "instrument": _first(connection, "SELECT * FROM instruments WHERE instrument = ?", decision["instrument"]),
            "orders": orders,
            "fills": fills,
            "trade": trade,
            "protection": _protection(connection, trade),
            "closed_by": _closing_order(connection, trade),
        }


def _found(connection: apsw.Connection, state_dir: Path, wanted: str, acted: bool) -> tuple[Row, Row]:
    """(what was asked for, its decision)."""
    if not wanted:
        decision = _first(connection, _NEWEST.format("WHERE order_ids <> ''" if acted else ""))
        if decision is None:
            raise DataError(f"{state_dir}: holds no decision{' that sent an order' if acted else ''} yet")
        return {}, decision
    if wanted.isdecimal() and len(wanted) < 19:
        decision = _first(connection, _NEWEST.format("WHERE decision_id = ?"), int(wanted))
        if decision is None:
            raise DataError(
                f"{state_dir}: no decision {wanted}: numbers are in `mia history decisions --json` (some belong to protective orders)"
            )
        return {}, decision
    order = _first(connection, "SELECT * FROM orders WHERE client_order_id = ?", wanted)
    trade = _first(connection, "SELECT * FROM trades WHERE trade_id = ?", order["order_group"] if order else wanted)
    if order is None and trade is None:
        raise DataError(
            f"{state_dir}: {wanted!r} is no decision number, order id or trade id of it; `mia history orders` and `trades` list them"
        )
    asked: Row = {"order": order, "trade": None} if order else {"trade": trade}
    decision = None
    if order is not None:
        decision = _first(connection, _NEWEST.format("WHERE instr(' ' || order_ids || ' ', ' ' || ? || ' ')"), wanted)
    if decision is None and trade is not None:  # of a protective order: the decision that opened what it protects
        asked["trade"] = trade
        decision = _first(
            connection, _NEWEST.format("WHERE id < ? AND instrument = ? AND order_ids <> ''"), trade["id"], trade["instrument"]
        )
    if decision is None:
        raise DataError(f"{state_dir}: no decision stands behind {wanted}: the daemon sent it by itself (recovery, flatten or protection)")
    return asked, decision


def _trade(connection: apsw.Connection, decision: Row, fills: list[Row]) -> Row | None:
    """The trade that was open when it decided, else the one that its orders opened."""
    if decision["trade_id"]:
        return _first(connection, "SELECT * FROM trades WHERE trade_id = ?", decision["trade_id"])
    for fill in fills:  # a trade is recorded in the event of its first fill
        seq = fill["id"] // ORDINALS * ORDINALS
        found = _first(connection, "SELECT * FROM trades WHERE id >= ? AND id < ?", seq, seq + ORDINALS)
        if found is not None:
            return found
    return None


def _protection(connection: apsw.Connection, trade: Row | None) -> list[Row]:
    if trade is None:
        return []
    return _rows(connection, "SELECT * FROM orders WHERE order_group = ? AND purpose IN ('stop', 'take') ORDER BY id", trade["trade_id"])


def _closing_order(connection: apsw.Connection, trade: Row | None) -> Row | None:
    """The order whose fill closed the trade."""
    if trade is None or trade["close_id"] is None:
        return None
    seq = trade["close_id"] // ORDINALS * ORDINALS
    return _first(
        connection,
        "SELECT orders.* FROM fills JOIN orders USING (client_order_id) WHERE fills.id >= ? AND fills.id < ? LIMIT 1",
        seq,
        seq + ORDINALS,
    )


def _rows(connection: apsw.Connection, sql: str, *values: str | int) -> list[Row]:
    cursor = connection.execute(sql, values)
    return [dict(zip((d[0] for d in cursor.get_description()), row, strict=True)) for row in cursor]


def _first(connection: apsw.Connection, sql: str, *values: str | int) -> Row | None:
    rows = _rows(connection, sql, *values)
    return rows[0] if rows else None
