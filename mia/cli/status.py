"""`mia status`: the running daemon's own words over its control socket; else what its state directory holds, marked as not live."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

_NOT_RUNNING: Final = 3
_NO_ANSWER: Final = 5


def status(
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing it until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option("--interval", metavar="S", min=0.1, max=3600, help="Seconds between looks of --watch.")] = 1.0,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, max=60, help="How long to wait for an answer.")] = 2.0,
) -> None:
    """Show what the daemon is doing and why: state, money, position, last decision, links. Exit 3 when it is not running."""
    import msgspec

    from mia.cli.output import print_json, print_pairs
    from mia.cli.panel import panel, plain
    from mia.cli.places import state_dir
    from mia.control.client import ask_status
    from mia.domain.errors import NotRunning

    path = state_dir(state, config)
    if watch:
        from mia.cli.watch import watch as show

        show(path, interval_s=interval, timeout_s=timeout, as_json=as_json)
        return
    try:
        found = ask_status(path, timeout)
    except NotRunning:
        _left_behind(path, as_json)
    except TimeoutError as e:
        _left_behind(path, as_json, str(e))
    else:
        if as_json:
            print_json({"is_live": True, **msgspec.to_builtins(found)})
        else:
            print_pairs(plain(panel(found)))


def _left_behind(path: Path, as_json: bool, why: str = "") -> None:
    """What the directory holds; exit 3, or 5 when somebody runs with it and does not answer."""
    from mia.cli.output import print_json, print_note, print_pairs
    from mia.cli.places import missing
    from mia.store.queries import read_status
    from mia.store.state_dir import is_running

    if is_running(path):
        why = (
            why or f"miad runs with {path} but its control socket is not open: it is starting, or its file was removed (then restart miad)"
        )
    code = _NO_ANSWER if why else _NOT_RUNNING
    if not (path / "miad.db").is_file():
        holds_nothing = missing(path) if not path.is_dir() else f"{path}: holds no database yet: start `miad` with it first"
        print_note(why or f"not running: {holds_nothing}")
        raise typer.Exit(code)
    found: dict[str, Any] = read_status(path)
    found["state"] = "does not answer" if why else "not running"
    found["age_s"] = round(time.time() - found["last_ns"] / 1e9, 3) if found["last_ns"] else None
    found["is_live"] = False
    if as_json:
        print_json(found)
    else:
        print_pairs(_lines(found))
    print_note((why or f"miad is not running with {path}") + "; this is what it left behind, not live data")
    raise typer.Exit(code)


def _lines(s: dict[str, Any]) -> list[tuple[str, str]]:
    from mia.cli.output import size
    from mia.domain.text import iso_time

    run, counters = s["run"], s["counters"]
    lines = [("state", f"{s['state']}; below is what was recorded, not live")]
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
