"""Bars: where they are cut, what is in them, what a silence does."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.kernels.arena import Arena
from mia.kernels.bars import FILL_BARS_MAX, BarBuilder

SEC = 1_000_000_000


class Bars:
    """A builder driven like the plan drives it; closed bars as lists."""

    def __init__(self, kind: int, size: float, fill: bool = True) -> None:
        self.builder = BarBuilder(Arena(10_000), kind, size, fill)
        self.closed: list[list[float]] = []

    def time(self, ts: int) -> int:
        due = self.builder.due(ts)
        for _ in range(due):
            if self.builder.close():
                self.closed.append(list(self.builder.closed))
        if due:
            self.builder.settle(ts)
        return due

    def trade(self, ts: int, price: float, qty: float, side: int) -> None:
        self.time(ts)
        if self.builder.add(ts, price, qty, side):
            self.builder.close()
            self.closed.append(list(self.builder.closed))


def test_time_bar_closes_at_the_first_event_at_or_past_its_boundary() -> None:
    b = Bars(0, SEC)
    b.trade(10 * SEC + 1, 100, 2, 1)
    b.trade(10 * SEC + 2, 103, 1, -1)
    b.trade(11 * SEC - 1, 99, 4, 0)
    assert b.closed == []

    b.time(11 * SEC)

    assert b.closed == [[100, 103, 99, 99, 7, 2, 1, 2 * 100 + 103 + 4 * 99, 3, 1, 1]]


def test_no_bar_exists_before_the_first_trade() -> None:
    b = Bars(0, SEC)

    b.time(100 * SEC)
    b.trade(105 * SEC + 5, 50, 1, 1)
    b.time(106 * SEC)

    assert len(b.closed) == 1


def test_an_interval_without_trades_closes_with_volume_0_and_the_last_price_or_not_at_all() -> None:
    filled, skipped = Bars(0, SEC), Bars(0, SEC, fill=False)

    for b in (filled, skipped):
        b.trade(10 * SEC, 100, 1, 1)
        b.trade(13 * SEC + 5, 101, 1, -1)
        b.time(14 * SEC)

    assert [bar[:5] for bar in filled.closed] == [[100, 100, 100, 100, 1], [100] * 4 + [0], [100] * 4 + [0], [101, 101, 101, 101, 1]]
    assert [bar[:5] for bar in skipped.closed] == [[100, 100, 100, 100, 1], [101, 101, 101, 101, 1]]


def test_a_late_trade_goes_to_the_open_bar_and_is_counted() -> None:
    b = Bars(0, SEC)
    b.trade(10 * SEC, 100, 1, 1)
    b.time(11 * SEC + 5)

    b.trade(11 * SEC - 5, 90, 3, -1)
    b.time(12 * SEC)

    assert b.builder.late_count() == 1
    assert b.closed[-1][:5] == [90, 90, 90, 90, 3]


def test_a_long_silence_makes_a_bounded_number_of_bars_and_counts_the_rest() -> None:
    b = Bars(0, SEC)
    b.trade(10 * SEC, 100, 1, 1)

    due = b.time(10 * SEC + 100_000 * SEC + 7)
    b.trade(10 * SEC + 100_000 * SEC + 8, 101, 1, 1)
    b.time(11 * SEC + 100_000 * SEC)

    assert due == FILL_BARS_MAX + 1
    assert len(b.closed) == FILL_BARS_MAX + 2
    assert b.builder.skipped_count() == 100_000 - 1 - FILL_BARS_MAX
    assert b.closed[-1][:5] == [101, 101, 101, 101, 1]


@pytest.mark.parametrize(("kind", "size", "expected"), [(1, 3, [6, 15]), (2, 6, [6, 9, 6]), (3, 600, [6, 9, 6])])
def test_tick_volume_and_dollar_bars_close_with_the_trade_that_fills_them(kind: int, size: float, expected: list[int]) -> None:
    b = Bars(kind, size)

    for i, qty in enumerate((1, 2, 3, 4, 5, 6)):
        b.trade(SEC * i + 1, 100, qty, 1)
    b.time(1000 * SEC)

    assert [bar[4] for bar in b.closed] == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * SEC), st.integers(1, 1000), st.integers(1, 1000), st.sampled_from((-1, 0, 1))), min_size=1, max_size=60
    )
)
def test_no_trade_is_lost_whatever_the_times(steps: list[tuple[int, int, int, int]]) -> None:
    b = Bars(0, SEC)
    ts = 5 * SEC

    for dt, price, qty, side in steps:
        ts += dt
        b.trade(ts, price, qty, side)
    b.time(ts + SEC)

    assert sum(bar[4] for bar in b.closed) == sum(s[2] for s in steps)
    assert sum(bar[8] for bar in b.closed) == len(steps)
    assert all(bar[2] <= min(bar[0], bar[3]) <= max(bar[0], bar[3]) <= bar[1] for bar in b.closed)
    assert all(later[0] == before[3] for before, later in zip(b.closed, b.closed[1:], strict=False) if later[8] == 0)


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        ("time:1s", "time", SEC),
        ("time:250ms", "time", 250_000_000),
        ("time:5m", "time", 300 * SEC),
        ("tick:100", "tick", 100),
        ("volume:10.5", "volume", "10.5"),
        ("dollar:100000", "dollar", 100_000),
    ],
)
def test_bar_spec_reads_and_writes_its_text(text: str, kind: str, size: object) -> None:
    spec = BarSpec.parse(text)

    assert (spec.kind, spec.size) == (kind, Decimal(str(size)))
    assert BarSpec.parse(spec.text) == spec


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time",
        "time:1",
        "time:0s",
        "time:1.0000000001s",
        "tick:1.5",
        "tick:-3",
        "volume:nan",
        "dollar:inf",
        "renko:5",
        "time:xs",
        "volume:1e30",
    ],
)
def test_unusable_bars_are_one_clear_error(text: str) -> None:
    with pytest.raises(ConfigError, match="bars"):
        BarSpec.parse(text)
