"""What `mia status` says of columns without a value."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from miad.status import masked

NOW = 1_750_000_000_000_000_000


def test_columns_without_a_value_are_listed_by_reason_and_whether_anything_waits_for_them() -> None:
    instrument = Instrument(
        venue="sim", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal("0.001"),
    )  # fmt: skip
    arena = Arena(8_000_000)
    columns = ("queue_imb_1", "ret_5", "ret_20", "vix_term_slope", "depth_imb_5", "has(depth)")
    plan = build_plan(columns, instrument, BarSpec.parse("time:1s"), arena, Book(arena))
    plan.on_quote(NOW, 0, 99, 101, 6, 2)
    plan.on_trade(NOW, 0, 100, 5, 1)
    plan.on_time(NOW + 2_000_000_000)
    plan.observe(NOW + 2_000_000_000)

    found = masked(cast(Any, SimpleNamespace(plan=plan)))

    assert [(g.columns, g.is_warming, g.is_waited_for) for g in found] == [
        (["vix_term_slope"], False, True),
        (["ret_5", "ret_20"], True, True),
        (["depth_imb_5"], True, False),
    ]
    assert [g.why for g in found] == [
        "absent while either is stale",
        "warms up, about 19 s left (ret_20: 2 of 21 bars)",
        "warms up, depth_imb_5: 0 of 1 books",
    ]
