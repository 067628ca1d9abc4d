"""Tables of miad.db: the projection of the journal. A row's id is its place in the journal: seq * 65536 + ordinal.

ordinal is 0 for the event itself and counts the projected effects of that event from 1 on; so a row can be written
twice without harm, rows sort in journal order, and rows beyond a seq are a range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

VERSION: Final = 3
ORDINALS: Final = 65536

_PROBS: Final = "p_range REAL, p_trend REAL, p_defensive REAL"

TABLES: Final[Mapping[str, str]] = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "exports": "CREATE TABLE exports (name TEXT PRIMARY KEY, last_id INTEGER, bytes INTEGER, tail_crc INTEGER) WITHOUT ROWID",
    "counters": "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID",
    "runs": (
        "CREATE TABLE runs (id INTEGER PRIMARY KEY, run INTEGER, ts_ns INTEGER, instance TEXT, mode TEXT,"
        " versions TEXT, config TEXT, config_hash TEXT)"
    ),
    "instruments": (
        "CREATE TABLE instruments (instrument INTEGER PRIMARY KEY, venue TEXT, symbol TEXT, kind TEXT, quote_currency TEXT,"
        " tick_size TEXT, lot_size TEXT, multiplier TEXT)"  # decimal text: what turns ticks and lots into prices and sizes
    ),
    "decisions": (
        "CREATE TABLE decisions (id INTEGER PRIMARY KEY, decision_id INTEGER, ts_ns INTEGER, lane INTEGER, instrument INTEGER,"
        f" trade_id TEXT, decision TEXT, signal REAL, alpha REAL, {_PROBS}, a_range REAL, a_trend REAL, a_defensive REAL,"
        " code TEXT, limit_value REAL, actual REAL, position_lots INTEGER, target_lots INTEGER, inputs_crc INTEGER, order_ids TEXT)"
    ),
    "orders": (
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, client_order_id TEXT UNIQUE, ts_ns INTEGER, updated_ns INTEGER,"
        " instrument INTEGER, side INTEGER, order_type TEXT, purpose TEXT, qty_lots INTEGER, price_ticks INTEGER, stop_ticks INTEGER,"
        " reduce_only INTEGER, post_only INTEGER, decision_id INTEGER, order_group TEXT, status TEXT, filled_lots INTEGER,"
        " venue_order_id TEXT, reason TEXT)"
    ),
    "fills": (
        "CREATE TABLE fills (id INTEGER PRIMARY KEY, client_order_id TEXT, fill_id TEXT, ts_ns INTEGER, instrument INTEGER,"
        " side INTEGER, price_ticks INTEGER, qty_lots INTEGER, fee_e8 INTEGER, is_maker INTEGER,"
        " base_fee_e8 INTEGER DEFAULT 0, UNIQUE (client_order_id, fill_id))"
    ),
    "trades": (
        "CREATE TABLE trades (id INTEGER PRIMARY KEY, close_id INTEGER UNIQUE, trade_id TEXT UNIQUE, instrument INTEGER, side INTEGER,"
        " opened_ns INTEGER, closed_ns INTEGER, entry_price REAL, exit_price REAL, max_lots INTEGER, profit_e8 INTEGER,"
        f" fees_e8 INTEGER, fills INTEGER, {_PROBS}, flows_e8 INTEGER DEFAULT 0)"
    ),
    "flows": (  # money that moved without a fill: funding, borrow, ...
        "CREATE TABLE flows (id INTEGER PRIMARY KEY, ts_ns INTEGER, flow_id TEXT, instrument INTEGER, kind TEXT, amount_e8 INTEGER,"
        " UNIQUE (instrument, kind, flow_id))"
    ),
    "risk": (
        "CREATE TABLE risk (id INTEGER PRIMARY KEY, ts_ns INTEGER, equity_e8 INTEGER, cash_e8 INTEGER, drawdown REAL,"
        " overtrade_risk_score REAL, penalty_active INTEGER)"
    ),
    "alerts": "CREATE TABLE alerts (id INTEGER PRIMARY KEY, ts_ns INTEGER, severity TEXT, code TEXT, text TEXT)",
    "balances": "CREATE TABLE balances (currency TEXT PRIMARY KEY, cash_e8 INTEGER, ts_ns INTEGER) WITHOUT ROWID",
}

VIEWS: Final[Mapping[str, str]] = {
    # Fills are kept for ever, so their sum is the position that we know of; nothing to keep in step. Fees in the base take whole lots.
    "positions": (
        "CREATE VIEW positions AS SELECT f.instrument, SUM(f.side * f.qty_lots)"
        " - COALESCE((SUM(f.base_fee_e8) + l.lot_e8 - 1) / l.lot_e8, 0) AS position_lots, MAX(f.ts_ns) AS ts_ns"
        " FROM fills f LEFT JOIN (SELECT instrument, MAX(1, CAST(ROUND(lot_size * 100000000) AS INTEGER)) AS lot_e8 FROM instruments) l"
        " ON l.instrument = f.instrument GROUP BY f.instrument"
    ),
}

# version -> what brings a database of it to the next one; tables and views that are missing are made anew.
MIGRATIONS: Final[Mapping[int, Sequence[str]]] = {
    1: ("ALTER TABLE fills ADD COLUMN base_fee_e8 INTEGER DEFAULT 0", "DROP VIEW positions"),
    2: ("ALTER TABLE trades ADD COLUMN flows_e8 INTEGER DEFAULT 0", TABLES["flows"]),
}

BY_JOURNAL_ID: Final = ("runs", "decisions", "orders", "fills", "flows", "trades", "risk", "alerts")

# What `counters` must hold, from the rows alone: after a rebuild the running sums are replaced by these.
RECOUNT: Final = (
    "SELECT 'decisions', COUNT(*) FROM decisions UNION ALL"
    " SELECT 'decision:' || decision, COUNT(*) FROM decisions GROUP BY decision UNION ALL"
    " SELECT 'refused:' || code, COUNT(*) FROM decisions WHERE decision = 'refused' GROUP BY code UNION ALL"
    " SELECT 'orders', COUNT(*) FROM orders UNION ALL"
    " SELECT 'fills', COUNT(*) FROM fills UNION ALL"
    " SELECT 'fees_e8', COALESCE(SUM(fee_e8), 0) FROM fills UNION ALL"
    " SELECT 'flows_e8', SUM(amount_e8) FROM flows HAVING COUNT(*) > 0 UNION ALL"
    " SELECT 'trades', COUNT(*) FROM trades WHERE close_id IS NOT NULL UNION ALL"
    " SELECT 'profit_e8', COALESCE(SUM(profit_e8), 0) FROM trades WHERE close_id IS NOT NULL UNION ALL"
    " SELECT 'alerts', COUNT(*) FROM alerts"
)


def newer_schema(path: Path, version: int) -> str:
    """The refusal of a database that a later version of mia has written."""
    return f"{path}: schema version {version} is newer than this version of mia knows ({VERSION}): use the newer mia"
