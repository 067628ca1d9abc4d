"""Exposure over instruments: what everything but one instrument could come to, for the review of that one."""

from __future__ import annotations

from mia.execution.portfolio import Mids, Portfolio
from mia.execution.table import OrderTable


def others_notional_e8(portfolio: Portfolio, table: OrderTable, mids: Mids, instrument: int) -> int:
    """Worst-case notional of all other instruments at their mids (the last fill's price where none is known), rounded up.

    Every instrument needs its (flat) position in the portfolio from its definition on; KeyError otherwise.
    """
    doubled = 0
    for other, exposure in table.exposures.items():
        if other != instrument:
            position = portfolio.positions[other]
            doubled += exposure.worst_lots(position.lots) * (mids[other] or 2 * position.last_fill_ticks) * position.unit_e8
    return -(-doubled // 2)
