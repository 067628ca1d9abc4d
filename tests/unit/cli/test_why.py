"""`mia why`: the words agree with the rows, whatever names the decision."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mia.cli.why import explain

Mia = Callable[..., Any]


@pytest.fixture
def rows(recorded: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    with closing(sqlite3.connect(f"file:{recorded / 'miad.db'}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        yield lambda sql: [dict(row) for row in connection.execute(sql)]


def told(result: Any) -> dict[str, str]:
    assert result.code == 0, result.err
    return {label: text.strip() for label, _, text in (line.partition(" ") for line in result.out.splitlines())}


def test_the_last_decision_is_the_default(recorded: Path, mia: Mia, rows: Any) -> None:
    newest = rows("SELECT * FROM decisions ORDER BY id DESC LIMIT 1")[0]

    found = told(mia("why", "--state", recorded))

    assert found["decision"].startswith(f"{newest['decision_id']} at ")
    assert list(found)[:7] == ["decision", "regime", "policies", "signal", "alpha", "rules", "position"]


def test_the_last_one_that_acted_comes_with_its_order_and_price(recorded: Path, mia: Mia, rows: Any) -> None:
    decision = rows("SELECT * FROM decisions WHERE order_ids <> '' ORDER BY id DESC LIMIT 1")[0]
    fill = rows(f"SELECT * FROM fills WHERE client_order_id = '{decision['order_ids'].split()[0]}'")[0]

    found = told(mia("why", "--last-order", "--state", recorded))

    assert found["decision"].startswith(f"{decision['decision_id']} at ")
    assert decision["order_ids"].split()[0] in found["order"]
    assert f"at {fill['price_ticks'] / 10:,.2f}" in found["order"]


def test_a_trade_is_explained_by_the_decision_that_opened_it(recorded: Path, mia: Mia, rows: Any) -> None:
    trade = rows("SELECT * FROM trades WHERE close_id IS NOT NULL ORDER BY id LIMIT 1")[0]

    found = json.loads(mia("why", trade["trade_id"], "--state", recorded, "--json").out)
    text = mia("why", trade["trade_id"], "--state", recorded).out

    assert found["decision"]["position_lots"] == 0
    assert found["decision"]["id"] < trade["id"]
    assert [f["client_order_id"] for f in found["fills"]] == found["decision"]["order_ids"].split()
    assert f"profit {trade['profit_e8'] / 1e8:+,.2f} USDT" in text
    assert found["closed_by"]["client_order_id"] in text


@pytest.mark.parametrize("purpose", ["entry", "stop"])
def test_an_order_leads_to_its_decision(recorded: Path, mia: Mia, rows: Any, purpose: str) -> None:
    order = rows(f"SELECT * FROM orders WHERE purpose = '{purpose}' ORDER BY id DESC LIMIT 1")[0]

    found = json.loads(mia("why", order["client_order_id"], "--state", recorded, "--json").out)

    assert found["asked"]["order"]["client_order_id"] == order["client_order_id"]
    assert (order["client_order_id"] in found["decision"]["order_ids"].split()) == (purpose == "entry")
    assert found["decision"]["id"] < order["id"]
    assert found["decision"]["order_ids"]


def test_a_number_names_a_decision(recorded: Path, mia: Mia, rows: Any) -> None:
    first = rows("SELECT * FROM decisions ORDER BY id LIMIT 1")[0]

    assert json.loads(mia("why", first["decision_id"], "--state", recorded, "--json").out)["decision"]["id"] == first["id"]


@pytest.mark.parametrize("what", ["99999999", "9" * 40, "nonsense", "' OR 1=1 --", "mia-99999"])
def test_what_is_not_there_is_one_line_and_exit_1(recorded: Path, mia: Mia, what: str) -> None:
    result = mia("why", "--state", recorded, "--", what)

    assert (result.code, result.out) == (1, "")
    assert result.err.count("\n") == 1


def test_two_ways_of_asking_at_once_are_refused(recorded: Path, mia: Mia) -> None:
    assert mia("why", "1", "--last-order", "--state", recorded).code == 2


def test_a_directory_without_decisions_says_so(session: Path, mia: Mia) -> None:
    with closing(sqlite3.connect(session / "miad.db")) as connection, connection:
        connection.execute("DELETE FROM decisions")

    result = mia("why", "--state", session)

    assert result.code == 1
    assert "no decision yet" in result.err


DECISION = {
    "id": 65537, "decision_id": 7, "ts_ns": 1_723_075_200_000_000_000, "decision": "refused", "signal": -0.5, "alpha": 0.31, "p_range": 0.7,
    "p_trend": 0.2, "p_defensive": 0.1, "a_range": -0.5, "a_trend": 0.001, "a_defensive": 0.4, "code": "alpha_below_min",
    "limit_value": 0.0, "actual": 0.0, "position_lots": 0, "target_lots": 0, "order_ids": "",
}  # fmt: skip
INSTRUMENT = {"symbol": "BTCUSDT", "tick_size": "0.01", "lot_size": "0.00001", "quote_currency": "USDT"}


def words(alpha_min: float | None = None, **changed: Any) -> dict[str, str]:
    nothing = {"asked": {}, "orders": [], "fills": [], "trade": None, "protection": [], "closed_by": None, "run": None}
    return dict(explain({"decision": {**DECISION, **changed}, "instrument": INSTRUMENT, "alpha_min": alpha_min, **nothing}))


def test_the_alpha_gate_is_told_with_its_figure() -> None:
    found = words(0.43)

    assert (
        found["alpha"]
        == "0.310 is the model's probability of a net profit; below the gate (0.43 in the model as installed now), so nothing may be opened"
    )
    assert found["rules"].startswith("refused by alpha_below_min: The trade probability is below")
    assert found["policies"] == "range short (-0.50), trend flat (0.00), defensive long (+0.40)"
    assert found["regime"] == "range 70%, trend 20%, defensive 10%: the range policy weighs most"


def test_a_rule_with_figures_tells_limit_and_actual() -> None:
    assert words(code="quote_stale", limit_value=2000.0, actual=7345.0)["rules"].endswith("Limit 2,000 ms, found 7,345 ms.")
    assert words(code="drawdown_stop", limit_value=0.1, actual=0.1234)["rules"].endswith("Limit 10.00%, found 12.34%.")


def test_a_decision_without_inference_says_that_nobody_was_asked() -> None:
    found = words(code="warm_up", signal=None, alpha=None, a_range=None, p_range=None)

    assert {found["regime"], found["policies"]} == {"not asked"}
    assert found["signal"] == found["alpha"] == "none: the policies were not asked"


def test_an_order_that_was_shrunk_and_one_of_an_unknown_code_are_told() -> None:
    shrunk = words(decision="buy", code="order_lots_max", target_lots=100)

    assert shrunk["rules"] == "shrunk (order_lots_max): Shrunk to the largest single order in lots."
    assert shrunk["position"] == "flat before, target long 0.00100"
    assert words(code="of_tomorrow")["rules"] == "refused by of_tomorrow"
