"""Whole products and quotients beyond a word, against Python's integers of any size."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from mia.kernels.bar_market import line2
from mia.kernels.exact import TOO_MUCH, mul_div

WORDS = st.integers(0, 62).flatmap(lambda bits: st.integers(0, 1 << bits))
DIVISORS = st.integers(0, 61).flatmap(lambda bits: st.integers(1, 1 << bits))


@given(WORDS, WORDS, DIVISORS, st.booleans())
@example(1 << 62, 1 << 62, 1 << 61, True)
@example((1 << 61) - 1, (1 << 62) - 1, 1 << 61, True)
@example(5_764_607_523_034_234, 100_000, 1, False)
@example((1 << 31) - 1, (1 << 31) - 1, (1 << 61) - 1, True)
def test_a_product_is_divided_exactly_and_rounded_as_asked(a: int, b: int, c: int, up: bool) -> None:
    plus = c - 1 if up else 0
    exact = (a * b + plus) // c

    found = mul_div(a, b, c, plus)

    if exact < 4_590_000_000_000_000_000:
        assert found == exact
    else:
        assert found in (exact, TOO_MUCH)


@given(st.sampled_from([1, -1]), st.integers(1, 1 << 57), st.integers(1, 1 << 57), st.integers(1, 1 << 50), st.data())
def test_the_line_of_a_bar_is_rounded_against_the_side(side: int, opened: int, close: int, span: int, data: st.DataObject) -> None:
    passed = data.draw(st.integers(0, span))
    top = 2 * (close - opened) * passed

    found = line2(side, opened, close, passed, span)

    assert found == 2 * opened + (-(-top // span) if side > 0 else top // span)
