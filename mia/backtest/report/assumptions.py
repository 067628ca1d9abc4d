"""What a run took for granted, in words; whatever run.json says that has no words here is printed by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from mia.backtest.compare import flattened
from mia.domain.errors import ConfigError
from mia.sim.cost_settings import Costs

SIMULATED: Final = "The market is simulated: it shows that the parts work together and what costs do, not that money can be made."
_FILLS: Final = {
    "next_open": "A market order decided at a bar's close fills at the next bar's open.",
    "close": "A market order decided at a bar's close fills at that same close: a price that was already over when it was decided.",
}
# Of run.json: told elsewhere on the page, or by the sentences below.
_TOLD: Final = frozenset({
    "format", "id", "strategies", "versions", "data", "span", "fill_at", "costs", "seed", "cash_e8", "currency", "counters",
    "attribution_e8", "start_equity_e8", "end_equity_e8", "notes", "lanes", "instruments", "calendar",
    "git_commit",
})  # fmt: skip


def sentences(facts: Mapping[str, Any]) -> list[str]:
    """Fills, spread, fees, size, calendar."""
    kinds = {str(d["kind"]) for d in facts["data"]} - {"signals"}  # which are no market
    found = []
    if "simulated" in kinds:
        found.append(SIMULATED)
    if kinds == {"bars"}:
        found.append(_FILLS.get(str(facts.get("fill_at")), f"Market orders fill at: {facts.get('fill_at')}."))
        found.append("When stop and take lie within one bar, the worse of the two happens; a gap beyond a stop fills at the gap.")
    else:
        found.append("Orders meet the book of quotes and depth as it stands when they arrive; without depth, the touch.")
    for i in facts["instruments"]:
        name = f"{i['venue']}:{i['symbol']} ({i['kind']})"
        found.append(
            f"{name} charges makers {_share(i['maker_fee'])}, takers {_share(i['taker_fee'])} of notional; price "
            f"step {i['tick_size']}, size step {i['lot_size']}; smallest order {i['min_notional']} {i['quote_currency']}, "
            f"initial margin {_share(i['initial_margin'])}."
        )
    costs = _costs(facts)
    if costs is not None:
        found += [f"{line[:1].upper()}{line[1:]}." for line in costs.words()]
    found.append(
        f"The account starts with {facts['cash_e8'] / 1e8:,.2f} {facts['currency']}; open positions are valued at the last "
        "mid, also at the end."
    )
    found.append("Risk limits, dead-band, stops and trade windows are those of the live daemon; what they refused is listed above.")
    found.append(f"Sessions and events are those of calendar {facts['calendar']}; whatever is drawn comes from seed {facts['seed']}.")
    return found


def _costs(facts: Mapping[str, Any]) -> Costs | None:
    """The run's costs; None when it has none, or some that only another version knows."""
    try:
        return msgspec.json.decode(msgspec.json.encode(facts["costs"]), type=Costs) if "costs" in facts else None
    except (msgspec.ValidationError, ConfigError):
        return None


def _share(value: object) -> str:
    return f"{float(str(value)) * 100:.6g} %"


def settings(facts: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Every other fact that decided the run, by its name: {"costs": {"fees.on": "yes"}}; the order is that of run.json."""
    shown = {key: flattened(value) for key, value in facts.items() if key not in _TOLD or (key == "costs" and _costs(facts) is None)}
    for k, lane in enumerate(facts["lanes"]):
        shown[f"lane {k}"] = flattened(lane)
    return shown
