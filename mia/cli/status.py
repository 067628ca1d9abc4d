"""`mia status`: what a state directory says about its daemon. Reads the lock file and the database only."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

_NOT_RUNNING = 3


def status(state: StateOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what the daemon is doing: state, decisions, orders, money. Exit 3 when it is not running."""
    from mia.cli.output import print_json, print_note, print_pairs
    from mia.cli.places import missing, state_dir
    from mia.store.queries import read_status

    path = state_dir(state, config)
    if not (path / "miad.db").is_file():
        print_note(f"not running: {missing(path)}" if not path.is_dir() else f"{path}: holds no database yet: start `miad` with it first")
        raise typer.Exit(_NOT_RUNNING)
    found: dict[str, Any] = read_status(path)
    found["state"] = state_word(found)
    found["age_s"] = round(time.time() - found["last_ns"] / 1e9, 3) if found["last_ns"] else None
    found["is_live_data"] = bool(found["is_running"])
    if as_json:
        print_json(found)
    else:
        print_pairs(_lines(found))
    if not found["is_running"]:
        print_note(f"miad is not running with {path}: this is what it left behind, not live data")
        raise typer.Exit(_NOT_RUNNING)


def state_word(found: dict[str, Any]) -> str:
    """The daemon's state as far as the database tells: a stop stays in force over a restart until it is reset."""
    if not found["is_running"]:
        return "not running"
    stops = {row["code"]: row["text"] for row in found["stops"]}
    if "killed" in stops:
        return f"KILLED({stops['killed']})"
    if "halt" in stops:
        return f"HALTED({stops['halt']})"
    if "drawdown_stop" in stops:
        return "NO_NEW(drawdown_stop)"
    return "READY" if found["run"] and found["run"]["has_decided"] else "STARTING"


def _lines(s: dict[str, Any]) -> list[tuple[str, str]]:
    from mia.cli.output import size
    from mia.domain.text import iso_time

    run, counters = s["run"], s["counters"]
    lines = [("state", s["state"] + (f", pid {s['lock'].get('pid')}" if s["is_running"] else ""))]
    if run:
        lines.append(
            ("run", f"{run['run']} of {run['instance']}, {run['mode']}, began {iso_time(run['ts_ns'])}, settings {run['config_hash'][:12]}")
        )
    if s["last_ns"]:
        lines.append(("last record", f"{iso_time(s['last_ns'])}, {_ago(s['age_s'])}, event {s['applied_seq']}"))
    verbs = {name.removeprefix("decision:"): n for name, n in counters.items() if name.startswith("decision:")}
    lines.append(("decisions", f"{counters.get('decisions', 0)}" + _listed(verbs)))
    lines.append(
        ("refusals", _listed({n.removeprefix("refused:"): c for n, c in counters.items() if n.startswith("refused:")})[2:] or "none")
    )
    lines.append(("last decision", _decision(s["last_decision"], _symbols(s)) if s["last_decision"] else "none"))
    lines.append(("orders", f"{counters.get('orders', 0)}, {s['open_orders']} open, {counters.get('fills', 0)} fills"))
    lines += _money(s, counters)
    lines += _positions(s)
    if s["last_alert"]:
        alert = s["last_alert"]
        lines.append(("last alert", f"{iso_time(alert['ts_ns'])} {alert['severity']}: {alert['text']}"))
    journal, database = s["journal"], s["database"]
    lines.append(("journal", f"{journal['segments']} segment{'s' * (journal['segments'] != 1)}, {size(journal['bytes'])}"))
    lines.append(("database", f"{size(database['bytes'])}, WAL {size(database['wal_bytes'])}"))
    lines.append(("directory", s["state_dir"]))
    return lines


def _ago(age_s: float) -> str:
    from mia.cli.output import age

    return f"{age(age_s)} ago" if age_s >= 0 else f"{age(-age_s)} ahead of the clock (run faster than real time)"


def _money(s: dict[str, Any], counters: dict[str, int]) -> list[tuple[str, str]]:
    from mia.cli.output import amount
    from mia.domain.text import iso_time

    currency = next((str(i["quote_currency"]) for i in s["instruments"]), "")
    profit = f"profit {amount(counters.get('profit_e8', 0))} {currency} after fees; fees of all fills {amount(counters.get('fees_e8', 0))}"
    lines = [("trades", f"{counters.get('trades', 0)} closed" + (f", {profit}" if counters.get("trades") else ""))]
    risk, run = s["risk"], s["run"]
    if risk:
        start = f" from {Decimal(run['cash_start']):,.2f}" if run and run["cash_start"] is not None else ""
        text = f"{amount(risk['equity_e8'])} {currency}{start}, drawdown {risk['drawdown']:.2%}, at {iso_time(risk['ts_ns'])}"
        lines.append(("equity", text))
    return lines


def _positions(s: dict[str, Any]) -> list[tuple[str, str]]:
    by_id = {i["instrument"]: i for i in s["instruments"]}
    held = []
    for position in s["positions"]:
        lots, known = position["position_lots"], by_id.get(position["instrument"])
        if lots and known:
            held.append(("position", f"{lots * Decimal(str(known['lot_size'])):+} {known['symbol']} at {known['venue']}"))
        elif lots:
            held.append(("position", f"{lots:+} lots of instrument {position['instrument']}"))
    return held or [("position", "flat")]


def _symbols(s: dict[str, Any]) -> dict[int, str]:
    return {i["instrument"]: str(i["symbol"]) for i in s["instruments"]}


def _decision(d: dict[str, Any], symbols: dict[int, str]) -> str:
    from mia.domain.text import iso_time

    signal = f", signal {d['signal']:+.3f}" if d["signal"] is not None else ""
    alpha = f", alpha {d['alpha']:.3f}" if d["alpha"] is not None else ""
    code = "" if d["code"] == "ok" else f" ({d['code']})"
    return f"{d['decision']}{code} {symbols.get(d['instrument'], d['instrument'])}{signal}{alpha}, at {iso_time(d['ts_ns'])}"


def _listed(counts: dict[str, int]) -> str:
    """`: name 3, other 2`, the most frequent first."""
    return ": " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))) if counts else ""
