"""The random numbers: published values of the generator, moments, and all state in the arena."""

from __future__ import annotations

import numpy as np
import pytest

from mia.kernels.arena import Arena
from mia.kernels.rng import Rng, uniform_at


def make(seed: int) -> tuple[Rng, Arena]:
    arena = Arena(1024)
    return Rng(arena, seed), arena


def test_uniform_is_mrg32k3a() -> None:
    rng, arena = make(0)
    arena.restore(np.full(6, 12345, dtype=np.int64).tobytes() + bytes(16))

    first = [rng.uniform() for _ in range(2)]
    assert first == pytest.approx([0.127011122046577, 0.318527565396794], abs=1e-14)  # L'Ecuyer's RngStreams from its default seed


def test_streams_have_the_moments_they_promise() -> None:
    rng, _ = make(7)
    n = 100_000

    uniform = np.array([rng.uniform() for _ in range(n)])
    normal = np.array([rng.normal() for _ in range(n)])
    exponential = np.array([rng.exponential() for _ in range(n)])
    few = np.array([rng.poisson(3.0) for _ in range(n)])
    many = np.array([rng.poisson(200.0) for _ in range(n)])
    geometric = np.array([rng.geometric(0.25) for _ in range(n)])
    below = np.array([rng.below(7) for _ in range(n)])

    assert uniform.min() > 0.0
    assert uniform.max() < 1.0
    assert uniform.mean() == pytest.approx(0.5, abs=0.005)
    assert (normal.mean(), normal.std()) == pytest.approx((0.0, 1.0), abs=0.015)
    assert (normal**4).mean() == pytest.approx(3.0, abs=0.15)
    assert (exponential.mean(), exponential.std()) == pytest.approx((1.0, 1.0), abs=0.03)
    assert (few.mean(), few.var()) == pytest.approx((3.0, 3.0), abs=0.08)
    assert (many.mean(), many.std()) == pytest.approx((200.0, 200.0**0.5), rel=0.02)
    assert geometric.mean() == pytest.approx(3.0, abs=0.06)
    assert np.bincount(below, minlength=7).min() > 0.95 * n / 7
    assert below.max() == 6


def test_seeds_give_different_streams_and_the_same_seed_the_same() -> None:
    streams = {seed: tuple(make(seed)[0].uniform() for _ in range(1)) for seed in (-1, 0, 1, 2, 2**31, 2**40, 2**63 - 1, -(2**63))}

    assert len(set(streams.values())) == len(streams)
    again = make(2)[0]
    assert (again.uniform(),) == streams[2]


def test_all_state_is_in_the_arena() -> None:
    rng, arena = make(3)
    rng.normal()  # leaves a spare normal behind
    saved = arena.snapshot()
    first = [rng.normal(), rng.uniform(), rng.normal()]
    arena.restore(saved)

    assert [rng.normal(), rng.uniform(), rng.normal()] == first


@pytest.mark.parametrize("mean", [0.0, -1.0, float("nan")])
def test_a_poisson_without_a_mean_is_zero(mean: float) -> None:
    assert make(1)[0].poisson(mean) == 0
    assert make(1)[0].below(0) == 0
    assert make(1)[0].geometric(1.0) == 0


def mixed(*words: int) -> float:
    """Wellons' lowbias32 over 32-bit words, in unbounded integers."""
    h = 1
    for word in words:
        h = (h + word) % 2**32
        h = (h ^ (h >> 16)) * 0x7FEB352D % 2**32
        h = (h ^ (h >> 15)) * 0x846CA68B % 2**32
        h ^= h >> 16
    return (h + 0.5) / 2**32


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**62, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("counter", [0, 1, 2**32 - 1, 2**32, -5, 2**63 - 1])
def test_a_number_by_counter_is_the_hash_of_both_and_lies_within_the_bounds(seed: int, counter: int) -> None:
    found = uniform_at(seed, counter >> 32, counter)

    assert found == mixed(seed, counter >> 32, counter)
    assert 0.0 < found < 1.0


def test_numbers_by_counter_look_drawn_along_counters_and_along_seeds() -> None:
    n = 50_000
    along = (np.array([uniform_at(7, 0, i) for i in range(n)]), np.array([uniform_at(i, 0, 7) for i in range(n)]))

    for u in along:
        assert u.mean() == pytest.approx(0.5, abs=0.005)
        assert u.std() == pytest.approx(12**-0.5, abs=0.005)
        assert np.corrcoef(u[:-1], u[1:])[0, 1] == pytest.approx(0.0, abs=0.02)
        assert np.corrcoef(u[:-2], u[2:])[0, 1] == pytest.approx(0.0, abs=0.02)
        chi2 = ((np.histogram(u, 100, (0, 1))[0] - n / 100) ** 2 / (n / 100)).sum()
        assert 60 < chi2 < 150  # 99 degrees of freedom
    assert len(set(along[0].tolist())) == n
