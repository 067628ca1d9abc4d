"""The account columns that come with closed trades and with the drift of a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.features.catalogue import shipped_catalogue

NAMES = ("model_drift_score", "since_last_trade", "last_3_trades_success_rate")
SEC = 1_000_000_000
T0 = 1_700_000_000 * SEC


def test_there_are_fourteen_columns_of_the_account_in_the_catalogue() -> None:
    assert len(shipped_catalogue().category("account_self")) == 14


def test_before_anything_is_known_a_policy_still_gets_an_answer_but_for_the_drift(bench: Callable[..., Any]) -> None:
    b = bench(NAMES)

    assert b.row(T0) == [0.0, 1.0, 0.5]
    assert b.plan.first_cold() == 0
    assert b.plan.is_warm(0)


@pytest.mark.parametrize(
    ("closed", "won", "rate"), [(0, 0, 0.5), (1, 0, 1 / 3), (1, 1, 2 / 3), (2, 1, 0.5), (3, 0, 0.0), (3, 2, 2 / 3), (3, 3, 1.0)]
)
def test_trades_that_are_not_there_count_as_half_won(closed: int, won: int, rate: float, bench: Callable[..., Any]) -> None:
    b = bench(NAMES)

    b.plan.set_record(T0, closed, won, 0.25)

    row = b.row(T0 + 90 * SEC)
    assert row[0] == 0.25
    assert row[1] == pytest.approx(math.log(91) / math.log(86_401) if closed else 1.0, rel=1e-6)
    assert row[2] == pytest.approx(rate)
    assert b.plan.first_cold() == -1


def test_a_drift_that_is_no_longer_known_is_absent_again(bench: Callable[..., Any]) -> None:
    b = bench(NAMES[:1])
    b.plan.set_record(0, 0, 0, 0.4)
    known = (b.row(T0), b.plan.first_cold())

    b.plan.set_record(0, 0, 0, -1.0)

    assert known == ([0.4], -1)
    assert (b.row(T0), b.plan.first_cold()) == ([0.0], 0)


def test_a_plan_without_account_columns_takes_the_record_and_ignores_it(bench: Callable[..., Any]) -> None:
    assert bench(["ret_1"]).plan.set_record(T0, 3, 3, 0.1) == 0


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62), st.integers(-5, 9), st.integers(-5, 9), st.floats(allow_nan=True, allow_infinity=True))
def test_wild_records_leave_finite_columns_in_range(closed_ns: int, closed: int, won: int, drift: float) -> None:
    from mia.features.bars import BarSpec
    from mia.features.plan import build_plan
    from mia.kernels.arena import Arena
    from mia.kernels.book import Book
    from mia.train.settings import perpetual

    arena = Arena(1 << 20)
    plan = build_plan(NAMES, perpetual(), BarSpec.parse("time:1s"), arena, Book(arena, 16))

    plan.set_record(closed_ns, closed, won, drift)
    plan.observe(T0)

    for name, value in zip(NAMES, list(plan.values), strict=True):
        low, high = shipped_catalogue().get(name).range
        assert low <= value <= high, name


OWN = ("drawdown_ratio", "day_pnl_ratio", "trades_60m_ratio", "position", "last_action", "policy_dispersion", "last_alpha")


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        (-1e300, (0.0, -10.0, 0.0, -1.0, -1.0, 0.0, 0.0)),
        (-10.5, (0.0, -10.0, 0.0, -1.0, -1.0, 0.0, 0.0)),
        (0.25, (0.25,) * 7),
        (10.5, (10.0, 10.5, 1.0, 1.0, 1.0, 1.0, 1.0)),
        (math.inf, (10.0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_what_the_account_says_of_itself_stays_in_the_ranges_of_the_catalogue(
    told: float, seen: tuple[float, ...], bench: Callable[..., Any]
) -> None:
    b = bench(OWN)

    b.plan.set_account(told, 0.0, 0, told, told, told, told, told, told)

    assert b.row(T0) == list(seen)
    for name, value in zip(OWN, seen, strict=True):
        low, high = shipped_catalogue().get(name).range
        assert low <= value <= high, name


def test_a_number_of_the_account_that_is_none_is_not_hidden_in_a_range(bench: Callable[..., Any]) -> None:
    b = bench(OWN)

    b.plan.set_account(*[math.nan] * 2, 0, *[math.nan] * 6)

    assert all(math.isnan(value) for value in b.row(T0))
