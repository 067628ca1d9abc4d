"""docs/files.md, from the export definitions: columns and example rows come out of the writers themselves, fed one small day."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

_HEAD: Final = """# Files of a state directory

Generated from the export definitions by `mia docs build`; do not edit.

One directory per instance and mode: `--state DIR`, else `$STATE_DIRECTORY/<instance>-<mode>` (under systemd), else
`$XDG_STATE_HOME/miad/<instance>-<mode>`, usually `~/.local/state/miad/mia-paper`. Only its owner may look into it. The journal is the
record; everything else can be made again from it. CSV and JSON files are for people and other programs: the daemon never reads them.
Times are UTC, ISO 8601, engine time (receive time). New columns come at the end. A CSV that somebody edited is set aside as `.bak` and
written anew.
"""
_TIME: Final = "time"
# What a column is, wherever it stands: type and meaning. A column without an entry fails the test.
COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "alpha_score": ("number, [0, 1]", "probability of a profit after costs; empty before inference"),
    "code": ("text", "why refused, held or shrunk ([refusal codes](refusal_codes.md))"),
    "cpu_percent": ("number", "of one core, this process"),
    "decision": ("text", "buy, sell, reduce, flat, hold or refused"),
    "entry_price": ("number", "average, quote currency"),
    "exit_price": ("number", "average, quote currency; null while open"),
    "failures": ("integer", "of the interval"),
    "fees": ("decimal", "account currency"),
    "fills": ("integer", "executions that made the trade"),
    "instrument": ("integer", "number in `instruments` of miad.db"),
    "lane": ("integer", "which of [[lanes]], from 0"),
    "latency": ("number, ms", "mean of the interval"),
    "max": ("number, ms", "the slowest"),
    "max_lots": ("integer", "largest position of the trade, in lots"),
    "memory_usage_mb": ("number", "resident memory of the process"),
    "n": ("integer", "operations of the interval"),
    "opened": (_TIME, "first fill"),
    "operation": ("text", "what was timed"),
    "overtrade_risk_score": ("number, [0, 1]", "1: as many trades an hour as [risk] overtrade_trades_per_hour"),
    "p50": ("number, ms", "median"),
    "p95": ("number, ms", "95 of 100 were faster"),
    "p99": ("number, ms", "99 of 100 were faster"),
    "penalty_active": ("0 or 1", "a cool-down or penalty holds openings back"),
    "position_lots": ("integer", "before the decision, signed"),
    "profit": ("decimal", "after fees and funding, account currency"),
    "regime_probs": ("JSON text", "probabilities of range, trend and defensive; empty before they are known"),
    "side": ("text", "buy (long) or sell (short)"),
    "signal_score": ("number, [-1, 1]", "the target that the policies blend to; empty before inference"),
    "success": ("0 or 1", "1 when nothing of the interval failed"),
    "target_lots": ("integer", "after risk and windows, signed"),
    "timestamp": (_TIME, "of the row; of a trade: its close"),
    "trade_id": ("text", "instance and counter; empty when flat"),
    "cash": ("decimal", "account currency"),
    "drawdown": ("number, [0, 1]", "fall of equity from its peak"),
    "equity": ("decimal", "cash and open positions at the mid, account currency"),
    "status": ("text", "open or closed"),
    # alerts
    "id": ("text", "unique in the instance, sorts by time"),
    "ts": (_TIME, "the newest occurrence"),
    "severity": ("text", "info, warning, error or urgent"),
    "priority": ("integer, 1 to 5", "5: somebody has to act at once"),
    "title": ("text", "a few words"),
    "text": ("text", "the whole story in one sentence"),
    "dedup_key": ("text", "repeats with the same key are merged"),
    "count": ("integer", "occurrences in this message"),
    "first_ts": (_TIME, "the first of them"),
}
_BY_FILE: Final = {("alerts", "instance"): ("text", "name of the daemon"), ("alerts", "code"): ("text", "what happened, for machines")}
_JSON_TYPES: Final = {
    "penalty_active": "true or false",
    "regime_probs": "object",
    "profit": "number",
    "fees": "number",
    "cash": "number",
    "equity": "number",
}
_OTHERS: Final = (
    ("lock", "miad", "who holds the directory, while it runs: pid, start, run, mode, venue"),
    ("run", "miad", "number of the last run"),
    ("control.sock", "miad", "where `mia status`, `pause`, `kill` ... talk to the daemon; for the owner only"),
    (
        "journal/journal-*.seg",
        "miad",
        "every event and effect with a checksum: the record (`mia replay` runs it again); a closed one is compressed to .zst",
    ),
    ("snapshots/", "miad", "the engine's state every 20 s, so that recovery is short; the first of each of the last 8 days is kept"),
    (
        "reconciled.json",
        "mia",
        "live and backtest by day: `mia backtest reconcile --record` writes it, `mia status` and metrics show its last day",
    ),
    ("calendars/", "miad", "the trade windows and macro events that each run used"),
    ("miad.db", "projection", "SQLite: what `mia history` and `mia db` read; tables below"),
    ("logs/miad.log", "miad", "one JSON object a line; `mia logs -f` reads it; rotated"),
    ("alerts/alerts.jsonl", "miad", "every alert; `mia alerts tail` reads it; columns below"),
)
_T0: Final = 1_767_603_600_000_000_000  # 2026-01-05 09:00 UTC
_PROBS: Final = (0.7, 0.2, 0.1)


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    parts = [_HEAD, "\n| path | writer | what |\n|---|---|---|\n"]
    parts += [f"| `{path}` | {writer} | {text} |\n" for path, writer, text in _OTHERS]
    for path, writer, text, columns, example in described():
        parts.append(f"\n## {path}\n{text} Writer: {writer}.\n\n| column | type | meaning | example |\n|---|---|---|---|\n")
        kind = "alerts" if path.startswith("alerts") else ""
        for name, value in zip(columns, example, strict=True):
            parts.append(_column(name, value, kind, is_json=path.endswith(".json")))
    parts.append(
        "\n## Tables of miad.db\n`mia db tables` counts their rows; `mia db query` asks them. A row's id is its place in the journal.\n"
    )
    parts.append("Columns ending in `_ns` are Unix nanoseconds, `_e8` 1e-8 of the account currency, `_lots` and `_ticks` counts\nof the ")
    parts.append("instrument's grid (`instruments`).\n\n| table | columns |\n|---|---|\n")
    parts += [f"| `{name}` | {', '.join(columns)} |\n" for name, columns in _tables()]
    return "".join(parts)


def _column(name: str, value: str, kind: str, *, is_json: bool) -> str:
    type_, meaning = _BY_FILE.get((kind, name)) or COLUMNS[name]
    if is_json:
        type_ = _JSON_TYPES.get(name, type_)
    shown = f"`{value}`" if value else ""
    return f"| `{name}` | {type_} | {meaning} | {shown} |\n"


def described() -> Iterator[tuple[str, str, str, Sequence[str], Sequence[str]]]:
    """(path, writer, text, columns, example row) of each export."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_a_small_day(folder)
        for path, text in (
            ("trades/trades_simulated.csv", "One line per closed round trip; `trades_real.csv` when live."),
            ("logs/trading/decision_log.csv", "One line per decision, taken or not."),
            ("logs/trading/alpha_scores.csv", "One line per decision: how likely the policy thought a profit."),
            ("logs/trading/penalty_log.csv", "One line a minute."),
        ):
            head, row = list(csv.reader(io.StringIO((folder / path).read_text())))[:2]
            yield path, "projection", text, head, row
        for pattern, text in (
            ("trade_snapshots/trade_*.json", "One file per trade, written at its open and again at its close."),
            ("risk_snapshots/risk_*.json", "One file a minute, a day of them."),
        ):
            value = json.loads(next(iter(folder.glob(pattern))).read_text())
            yield pattern, "projection", text, list(value), [json.dumps(v) for v in value.values()]
    yield _performance()
    yield _alerts()


def _performance() -> tuple[str, str, str, Sequence[str], Sequence[str]]:
    from mia.telemetry.histogram import Distribution
    from mia.telemetry.performance_csv import PERFORMANCE_COLUMNS, PERFORMANCE_NAMES, performance_rows

    taken = Distribution(n=97, mean_ms=0.031, p50_ms=0.029, p95_ms=0.041, p99_ms=0.055, max_ms=0.06)
    [line] = performance_rows(_T0 + 10_000_000_000, {"inference.evaluate": taken}, 104.2, 8.5)["inference"]
    text = f"One line per operation and interval ([metrics] performance_interval_s), for {', '.join(PERFORMANCE_NAMES)}."
    return "logs/<name>_performance.csv", "miad", text, PERFORMANCE_COLUMNS, next(csv.reader([line.decode()]))


def _alerts() -> tuple[str, str, str, Sequence[str], Sequence[str]]:
    from mia.alerts.message import Alert

    alert = Alert(
        id="00000001", ts="2026-01-05T09:00:00.000000Z", severity="warning", priority=2, code="feed_stale", title="No quotes",
        text="sim:SIMUSD: no quote for 2.0 s; nothing is opened until one comes", instance="mia", dedup_key="feed_stale sim:SIMUSD",
        first_ts="2026-01-05T09:00:00.000000Z",
    )  # fmt: skip
    value = msgspec.to_builtins(alert)
    return "alerts/alerts.jsonl", "miad", "One JSON object a line.", list(value), [json.dumps(v) for v in value.values()]


def _write_a_small_day(folder: Path) -> None:
    """A decision, a trade that opens and closes, and a minute of risk, through the projection's own code."""
    from mia.domain.effects import RecordDecision, RecordRisk, RecordTrade
    from mia.store.database import Database
    from mia.store.exports import Exports
    from mia.store.schema import ORDINALS
    from mia.store.tables import Tables

    closed_ns = _T0 + 90_000_000_000
    opening: Callable[..., RecordTrade] = lambda is_closed: RecordTrade(  # noqa: E731
        "mia-1", 0, is_closed, 1, _T0, closed_ns if is_closed else 0, 60067.4, 60197.4, 171, 1_708_560_000, 514_440_000, 2, _PROBS
    )
    records = (
        RecordDecision(1, _T0, 0, 0, "", "buy", 0.62, 0.58, _PROBS, (0.7, 0.5, 0.1), "ok", 0.0, 0.0, 0, 171, 123, ("mia1300010000j80",)),
        opening(False),
        RecordRisk(_T0 + 60_000_000_000, 1_001_708_560_000, 1_000_000_000_000, 0.0012, 0.1, False),
        opening(True),
    )
    database = Database(folder / "miad.db")
    try:
        tables = Tables(database.connection)
        exports = Exports(folder, "paper", database.connection, lambda code, line: None)
        for name in ("trades", "trade_snapshots", "risk_snapshots", "logs/trading"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with database.connection:
            for i, record in enumerate(records, 1):
                tables.project(i * ORDINALS, _T0, record)
            exports.trade_changed("mia-1")
            exports.risk_changed(3 * ORDINALS)
            exports.write()
    finally:
        database.close()


def _tables() -> Iterator[tuple[str, list[str]]]:
    """(table or view, its columns), as a new database has them."""
    from mia.store.database import Database
    from mia.store.schema import TABLES, VIEWS

    with tempfile.TemporaryDirectory() as name:
        database = Database(Path(name) / "miad.db")
        try:
            for table in (*TABLES, *VIEWS):
                rows: list[Any] = list(database.connection.execute(f"SELECT name FROM pragma_table_info('{table}')"))
                yield table, [str(row[0]) for row in rows]
        finally:
            database.close()
