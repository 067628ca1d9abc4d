"""Exposure over instruments counts everything in flight."""

from __future__ import annotations

from mia.domain.effects import SubmitOrder
from mia.domain.events import OrderFilled
from mia.domain.sizing import Terms
from mia.execution.exposure import others_notional_e8
from mia.execution.portfolio import Portfolio
from mia.execution.table import OrderTable


def test_worst_case_of_the_others_is_counted_at_their_mids() -> None:
    portfolio, table = Portfolio("t", "USDT", 0), OrderTable()
    terms = [Terms(i, 1000, True, 10**9, 0, 1, 10) for i in range(3)]
    for one in terms:
        portfolio.position(one)
    for instrument, lots in ((0, 5), (1, 4), (2, 3)):
        table.note(SubmitOrder(f"o{instrument}", instrument, -1, "market", lots, 0, 0, False, False, "entry", 1, ""), 0, 1)
    portfolio.apply_fill(terms[2], OrderFilled(0, 0, 0, "x", "f", 2, -1, 50, 10, 0, False), 1)

    found = others_notional_e8(portfolio, table, [2001, 200, 0], 0)

    assert found == 4 * 100 * 1000 + 13 * 50 * 1000
    assert others_notional_e8(portfolio, table, [2001, 0, 0], 1) == (5 * 2001 * 1000 + 13 * 100 * 1000) // 2
