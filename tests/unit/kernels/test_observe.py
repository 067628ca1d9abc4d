"""The last check before a policy sees the columns."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from mia.kernels.observe import to_float32

N = 4
LO, HI = np.full(N, -10.0), np.full(N, 10.0)


def test_good_values_are_copied_as_float32() -> None:
    out = memoryview(array("f", bytes(4 * N)))

    code = to_float32(np.array([0.1, -10.0, 10.0, 1e-300, 99.0]), N, LO, HI, out)

    assert code == -1
    assert list(out) == [float(np.float32(x)) for x in (0.1, -10.0, 10.0, 1e-300)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", range(N))
def test_a_value_that_is_not_finite_names_its_column(bad: float, at: int) -> None:
    values = np.zeros(N)
    values[at] = bad

    assert to_float32(values, N, LO, HI, np.zeros(N, dtype=np.float32)) == at


@pytest.mark.parametrize("bad", [10.000001, -10.000001, 1e308, -1e308])
@pytest.mark.parametrize("at", range(N))
def test_a_value_out_of_range_names_its_column_plus_n(bad: float, at: int) -> None:
    values = np.zeros(N)
    values[at] = bad

    assert to_float32(values, N, LO, HI, np.zeros(N, dtype=np.float32)) == N + at


def test_a_bound_that_is_not_a_number_lets_nothing_pass() -> None:
    assert to_float32(np.zeros(N), N, np.full(N, np.nan), HI, np.zeros(N, dtype=np.float32)) == N


def test_an_array_that_is_too_short_is_refused() -> None:
    with pytest.raises(IndexError):
        to_float32(np.zeros(N), N, LO, HI, np.zeros(N - 1, dtype=np.float32))
