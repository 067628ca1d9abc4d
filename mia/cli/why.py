"""`mia why`: one recorded decision in plain words, from what the regime filter thought to what became of its orders."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

Row = dict[str, Any]
_REGIMES: Final = ("range", "trend", "defensive")
_VERBS: Final = {
    "buy": "buy",
    "sell": "sell",
    "reduce": "make the position smaller",
    "flat": "close the position",
    "hold": "leave the position as it is",
    "refused": "do nothing, because a rule or the alpha gate said no",
}
# Units of a rule's limit and of what was found; a code that is not here records no figures.
_FIGURES: Final[dict[str, Callable[[float], str]]] = {
    "quote_stale": lambda v: f"{v:,.0f} ms",
    "daily_loss": lambda v: f"{v:,.2f}",
    "drawdown_stop": lambda v: f"{v:.2%}",
    "order_rate": lambda v: f"{v:.0f} a minute",
    "price_collar": lambda v: f"{v:.1f} bps",
}

_CLOSED_BY: Final = {"entry": "a decision's order", "exit": "an exit order", "stop": "its protective stop", "take": "its protective take"}


def why(
    what: Annotated[str, typer.Argument(metavar="[DECISION|ORDER|TRADE]", help="A decision's number, an order id or a trade id.")] = "",
    last_order: Annotated[bool, typer.Option("--last-order", help="The newest decision that sent an order.")] = False,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a recorded decision, the last one unless another is named; needs no running daemon."""
    from mia.cli.output import print_json, print_pairs
    from mia.cli.panel import printable
    from mia.cli.places import missing, state_dir
    from mia.domain.errors import DataError
    from mia.store.whys import read_why

    if what and last_order:
        raise typer.BadParameter("name a decision, order or trade, or ask for --last-order, not both")
    path = state_dir(state, config)
    if not path.is_dir():
        raise DataError(missing(path))
    found = read_why(path, what, acted=last_order)
    found["alpha_min"] = _alpha_min(found)
    if as_json:
        print_json(found)
    else:
        print_pairs((label, printable(text)) for label, text in explain(found))


def explain(found: Row) -> list[tuple[str, str]]:
    """Label and sentence of each step, in the order in which it was decided."""
    d, unit = found["decision"], _Units(found["instrument"])
    lines = _asked(found["asked"], unit)
    lines += [
        ("decision", f"{d['decision_id']} at {_time(d['ts_ns'])} for {unit.symbol}: {_VERBS.get(d['decision'], d['decision'])}"),
        ("regime", _regime(d)),
        ("policies", _policies(d)),
        ("signal", _signal(d)),
        ("alpha", _alpha(d, found["alpha_min"])),
        ("rules", _rules(d)),
        ("position", _position(d, unit)),
    ]
    lines += _orders(found, unit)
    if found["trade"]:
        lines.append(("trade", _trade(found["trade"], found["closed_by"], unit)))
    return lines


class _Units:
    """Turns ticks and lots into prices and sizes."""

    def __init__(self, instrument: Row | None) -> None:
        known = instrument or {"symbol": "an instrument that is not known", "tick_size": "1", "lot_size": "1", "quote_currency": ""}
        self.symbol = str(known["symbol"])
        self.currency = str(known["quote_currency"])
        self._tick, self._lot = Decimal(str(known["tick_size"])), Decimal(str(known["lot_size"]))

    def price(self, ticks: float) -> str:
        return f"{(Decimal(ticks) * self._tick).quantize(self._tick):,}"

    def average(self, price: float) -> str:
        return f"{Decimal(price).quantize(self._tick):,}"

    def size(self, lots: int) -> str:
        return str(lots * self._lot)

    def held(self, lots: int) -> str:
        return "flat" if not lots else f"{'long' if lots > 0 else 'short'} {self.size(abs(lots))}"


def _asked(asked: Row, unit: _Units) -> list[tuple[str, str]]:
    order = asked.get("order")
    if order and order["purpose"] in ("stop", "take"):
        text = f"{_order(order, [], unit)}; placed by the daemon to protect the position that this decision opened"
        return [("order", text)]
    if order:
        return [("order", f"{order['client_order_id']} came from the decision below")]
    return [("trade", f"{asked['trade']['trade_id']} was opened by the decision below")] if asked.get("trade") else []


def _regime(d: Row) -> str:
    if d["p_range"] is None:
        return "not asked"
    probs = sorted(zip((d["p_range"], d["p_trend"], d["p_defensive"]), _REGIMES, strict=True), reverse=True)
    told = ", ".join(f"{name} {p:.0%}" for p, name in probs)
    return f"{told}: the {probs[0][1]} policy weighs most" if probs[0][0] > probs[1][0] else f"{told}: undecided"


def _policies(d: Row) -> str:
    wanted = [(name, d[f"a_{name}"]) for name in _REGIMES]
    if any(value is None for _, value in wanted):
        return "not asked"
    return ", ".join(f"{name} {_leaning(value)}" for name, value in wanted)


def _leaning(value: float) -> str:
    side = "long" if value > 0 else "short"
    return "flat (0.00)" if abs(value) < 0.005 else f"{side} ({value:+.2f})"


def _signal(d: Row) -> str:
    if d["signal"] is None:
        return "none: the policies were not asked"
    if abs(d["signal"]) < 0.005:
        return f"{d['signal']:+.3f}, the policies blended by regime: wants to be flat"
    size = f"{abs(d['signal']):.0%} of the largest position the limits allow"
    return f"{d['signal']:+.3f}, the policies blended by regime: wants to be {'long' if d['signal'] > 0 else 'short'}, {size}"


def _alpha(d: Row, alpha_min: float | None) -> str:
    if d["alpha"] is None:
        return "none: the policies were not asked"
    text = f"{d['alpha']:.3f} is the model's probability of a net profit"
    if d["code"] == "alpha_below_min":
        gate = f" ({alpha_min:g} in the model as installed now)" if alpha_min is not None else ""
        return f"{text}; below the gate{gate}, so nothing may be opened"
    if alpha_min is None:
        return text
    return f"{text}; the gate for openings is {alpha_min:g} in the model as installed now"


def _rules(d: Row) -> str:
    from mia.cli.panel import explain as meaning

    code = d["code"]
    if code == "ok":
        return "nothing stood in the way"
    if d["decision"] == "refused":
        text = f"refused by {code}"
    elif code in ("dead_band", "below_lot", "min_notional"):
        text = f"not worth an order ({code})"
    elif d["decision"] in ("hold", "flat"):
        text = f"no opening ({code})"
    else:
        text = f"shrunk ({code})"
    text += f": {meaning(code)}" if meaning(code) else ""
    shown = _FIGURES.get(code)
    if shown is not None and (d["limit_value"] or d["actual"]):
        text += f" Limit {shown(d['limit_value'])}, found {shown(d['actual'])}."
    return text


def _position(d: Row, unit: _Units) -> str:
    before, target = d["position_lots"], d["target_lots"]
    if before == target:
        return f"{unit.held(before)} before, to stay so"
    return f"{unit.held(before)} before, target {unit.held(target)}"


def _orders(found: Row, unit: _Units) -> list[tuple[str, str]]:
    lines = [("order", _order(order, found["fills"], unit)) for order in found["orders"]] or [("orders", "none sent")]
    if found["orders"] and found["trade"]:
        alive = [f"{o['purpose']} at {unit.price(o['stop_ticks'])}" for o in found["protection"] if o["status"] == "working"]
        lines += [("protected", "now by " + " and ".join(alive))] if alive else []
    return lines


def _order(order: Row, fills: list[Row], unit: _Units) -> str:
    ticks = order["price_ticks"] or order["stop_ticks"]
    how = f"{order['order_type']} at {unit.price(ticks)}" if ticks else "at market"
    side = "buy" if order["side"] > 0 else "sell"
    text = f"{order['client_order_id']}: {side} {unit.size(order['qty_lots'])} {how}, sent {_time(order['ts_ns'])}; {order['status']}"
    own = [f for f in fills if f["client_order_id"] == order["client_order_id"]]
    lots = sum(f["qty_lots"] for f in own)
    if lots:
        average = sum(f["price_ticks"] * f["qty_lots"] for f in own) / lots
        fees = sum(f["fee_e8"] for f in own) / 1e8
        after_ms = (own[-1]["ts_ns"] - order["ts_ns"]) / 1e6
        text += f" {unit.size(lots)} at {unit.price(average)}, fee {fees:.4f} {unit.currency}, {after_ms:,.0f} ms later"
    return text + (f" ({order['reason']})" if order["reason"] else "")


def _trade(t: Row, closed_by: Row | None, unit: _Units) -> str:
    side = "long" if t["side"] > 0 else "short"
    text = f"{t['trade_id']}: {side}, opened {_time(t['opened_ns'])} at {unit.average(t['entry_price'])}"
    if t["close_id"] is None:
        return f"{text}, open"
    by = f" by {_CLOSED_BY.get(closed_by['purpose'], 'order')} {closed_by['client_order_id']}" if closed_by else ""
    profit = f"profit {t['profit_e8'] / 1e8:+,.2f} {unit.currency} after {t['fees_e8'] / 1e8:,.2f} of fees"
    if t["flows_e8"]:
        profit += f" and {t['flows_e8'] / 1e8:+,.2f} of funding and other flows"
    return (
        f"{text}; largest size {unit.size(t['max_lots'])}; closed {_time(t['closed_ns'])} at {unit.average(t['exit_price'])}{by}: {profit}"
    )


def _alpha_min(found: Row) -> float | None:
    """The gate of the model that the lane was set to use, as the model is now; None for rules, or when it is not found."""
    from mia.assemble import model_folders
    from mia.domain.errors import MiaError
    from mia.policy.bundle import find_bundle
    from mia.policy.manifest import parse_manifest
    from mia.settings import settings_from_json

    run, instrument = found["run"], found["instrument"]
    if run is None or instrument is None:
        return None
    name = f"{instrument['venue']}:{instrument['symbol']}"
    try:
        lanes = [lane for lane in settings_from_json(run["config"]).lanes if lane.instrument == name]
        if not lanes or lanes[0].strategy.startswith(("rule:", "ensemble:")) or len({lane.strategy for lane in lanes}) > 1:
            return None
        folder = find_bundle(lanes[0].strategy, model_folders())
        return parse_manifest((folder / "manifest.toml").read_bytes(), str(folder)).alpha_min
    except (MiaError, OSError):
        return None


def _time(ts_ns: int) -> str:
    from mia.domain.text import iso_time

    return iso_time(ts_ns)[:-4].replace("T", " ") + " UTC"
