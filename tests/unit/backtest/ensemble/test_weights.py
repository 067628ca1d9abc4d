"""Weights: each method against a plain search or formula, and none of them from the future."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mia.backtest.ensemble.fit import correlation, cut, figures, fit, walk
from mia.backtest.ensemble.weights import METHODS, Past, fitted
from mia.domain.errors import ConfigError, DataError

BARS = 600


def made(seed: int, k: int = 3, bars: int = BARS) -> Past:
    """Members of different risk, two of them alike; the first one's wish foretells a little of the market."""
    draw = np.random.default_rng(seed)
    wanted = draw.uniform(-1, 1, (bars, k))
    market = 0.002 * wanted[:, 0] + draw.normal(0, 0.004, bars)
    common = draw.normal(0, 0.005, bars)
    returns = draw.normal(0, 1, (bars, k)) * np.linspace(0.002, 0.01, k)
    returns[:, 0] += common
    returns[:, 1] += 0.8 * common
    return Past(returns, wanted[..., None], market[:, None])


def test_equal_weights_are_equal() -> None:
    assert fitted("equal", made(1, k=4)).tolist() == [0.25] * 4


def test_inverse_volatility_gives_each_member_the_same_risk() -> None:
    past = made(2)

    weights = fitted("inverse_volatility", past)

    assert weights.sum() == pytest.approx(1.0)
    assert weights * past.returns.std(axis=0) == pytest.approx(np.full(3, (weights * past.returns.std(axis=0))[0]))


def shrunk(x: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf (2004), section 3.2, written down: S* = b2 / d2 m I + a2 / d2 S."""
    x = x - x.mean(axis=0)
    n, p = x.shape
    s = x.T @ x / n
    m = np.trace(s) / p
    d2 = ((s - m * np.eye(p)) ** 2).sum() / p
    b2 = min(d2, sum(((np.outer(row, row) - s) ** 2).sum() / p for row in x) / n**2)
    return b2 / d2 * m * np.eye(p) + (d2 - b2) / d2 * s


@pytest.mark.parametrize("seed", range(4))
def test_no_other_weights_have_less_variance_under_the_shrunk_covariance(seed: int) -> None:
    past = made(seed, bars=80)
    covariance = shrunk(past.returns)

    weights = fitted("min_variance", past)

    least = weights @ covariance @ weights
    grid = [np.array([a, b, 100 - a - b]) / 100 for a, b in itertools.product(range(101), repeat=2) if a + b <= 100]
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    assert least <= min(w @ covariance @ w for w in grid) * (1 + 1e-9)


def test_a_member_that_only_adds_risk_gets_nothing() -> None:
    draw = np.random.default_rng(3)
    base = draw.normal(0, 0.001, BARS)
    past = Past(np.stack([base, 3 * base + draw.normal(0, 0.0002, BARS)], axis=1), np.zeros((BARS, 2, 1)), np.zeros((BARS, 1)))

    assert fitted("min_variance", past).tolist() == [1.0, 0.0]


def foretold(past: Past, forgetting: float) -> np.ndarray:
    """The same recursion of Raftery et al. (2010), one model, instrument and bar at a time, with densities as densities; a bar that an
    instrument did not have leaves its model as it was."""
    n, members, instruments = past.wanted.shape
    densities = []
    for k in range(members):
        row = [1.0] * (n - 20)
        for i in range(instruments):
            first = [y for y in past.market[:20, i] if not math.isnan(y)]
            v = sum(y * y for y in first) / len(first)
            b, c = 0.0, v
            for t, (y, x) in enumerate(zip(past.market[20:, i].tolist(), past.wanted[20:, k, i].tolist(), strict=True)):
                if math.isnan(y):
                    continue
                r = c / forgetting
                q = v + x * r * x
                row[t] *= math.exp(-((y - b * x) ** 2) / (2 * q)) / math.sqrt(2 * math.pi * q)
                b, c, v = b + r * x / q * (y - b * x), r - (r * x) ** 2 / q, forgetting * v + (1 - forgetting) * (y - b * x) ** 2
        densities.append(row)
    p = [1 / len(densities)] * len(densities)
    for each in zip(*densities, strict=True):
        raised = [q**forgetting for q in p]
        p = [q / sum(raised) * d for q, d in zip(raised, each, strict=True)]
        p = [q / sum(p) for q in p]
    return np.array(p)


@pytest.mark.parametrize("forgetting", [1.0, 0.99])
def test_likelihood_weights_are_the_recursion_of_the_paper(forgetting: float) -> None:
    past = made(5, bars=120)

    assert fitted("likelihood", past, forgetting) == pytest.approx(foretold(past, forgetting), rel=1e-9)


@pytest.mark.parametrize("forgetting", [1.0, 0.99])
def test_likelihood_weights_of_several_instruments_multiply_what_each_says_and_skip_missing_bars(forgetting: float) -> None:
    one, other = made(5, bars=120), made(6, bars=120)
    past = Past(one.returns, np.concatenate([one.wanted, other.wanted], axis=2), np.concatenate([one.market, other.market], axis=1))
    past.market[[4, 30, 31, 77], 1] = np.nan

    found = fitted("likelihood", past, forgetting)

    assert found == pytest.approx(foretold(past, forgetting), rel=1e-9)
    assert found != pytest.approx(fitted("likelihood", one, forgetting), rel=1e-3)


def test_the_member_that_foretells_the_market_gets_the_weight() -> None:
    assert fitted("likelihood", made(6), 1.0)[0] > 0.99


@pytest.mark.parametrize("method", ["inverse_volatility", "min_variance"])
def test_a_member_that_never_moved_gets_nothing(method: str) -> None:
    past = made(7)
    past.returns[:, 1] = 0.0
    still = past._replace(returns=np.zeros((BARS, 3)))

    assert fitted(method, past)[1] == 0.0
    assert fitted(method, past).sum() == pytest.approx(1.0)
    assert fitted(method, still).tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lookback", [0, 2])
def test_weights_of_a_window_do_not_change_when_that_window_or_a_later_one_does(method: str, lookback: int) -> None:
    past = made(8)
    expected = walk(past, 6, lookback)

    for k in range(1, 6):
        first = cut(BARS, 6)[k][0]
        changed = Past(*(column.copy() for column in past))
        for column in changed:
            column[first:] = np.random.default_rng(k).normal(0, 5, column[first:].shape)
        found = walk(changed, 6, lookback)
        assert [w.weights[method].tolist() for w in found[:k]] == [w.weights[method].tolist() for w in expected[:k]]
        assert method == "equal" or k == 5 or found[k].weights[method].tolist() != expected[k].weights[method].tolist()


@pytest.mark.parametrize("method", ["inverse_volatility", "min_variance", "likelihood"])
def test_a_lookback_forgets_what_lies_before_it(method: str) -> None:
    past = made(9)
    changed = Past(*(column.copy() for column in past))
    for column in (changed.returns, changed.wanted):
        column[:100] = column[:100, ::-1].copy()  # members change places, and the market runs backwards
    changed.market[:100] = changed.market[:100][::-1].copy()

    same, other = ([w.weights[method].tolist() for w in walk(p, 6, 1)] for p in (past, changed))

    assert same[0] != other[0]
    assert same[1:] == other[1:]


def test_the_report_is_of_bars_after_the_first_window_and_of_every_member() -> None:
    past = made(10)
    ts_ns = np.arange(BARS) * 3600 * 10**9

    found = fit(past, ts_ns, "inverse_volatility", windows=5)

    assert [w.first for w in found.windows] == [120, 240, 360, 480]
    growth = 1.0
    for w in found.windows:
        for t in range(w.first, w.stop):
            growth *= 1.0 + sum(x * r for x, r in zip(w.weights["inverse_volatility"], past.returns[t], strict=True))
    assert found.blends["inverse_volatility"].total == pytest.approx(growth - 1.0)
    assert found.members[1].total == pytest.approx(math.prod(1.0 + r for r in past.returns[120:, 1]) - 1.0)
    assert found.correlation[0, 1] == pytest.approx(np.corrcoef(past.returns[120:, 0], past.returns[120:, 1])[0, 1])
    two = fit(past.only([0, 2]), ts_ns, "inverse_volatility", windows=5)
    assert found.without[1] == two.blends["inverse_volatility"]
    assert found.last["min_variance"].tolist() == fitted("min_variance", past).tolist()


def test_figures_of_a_few_returns_by_hand() -> None:
    f = figures(np.array([0.1, -0.2, 0.05]), 0.5)

    mean, deviation = -0.05 / 3, math.sqrt(sum((r + 0.05 / 3) ** 2 for r in (0.1, -0.2, 0.05)) / 2)
    assert f.total == pytest.approx(1.1 * 0.8 * 1.05 - 1.0)
    assert f.drawdown == pytest.approx(0.2)
    assert f.sharpe == pytest.approx(mean / deviation * math.sqrt(6))
    assert f.volatility == pytest.approx(deviation * math.sqrt(6))
    assert figures(np.zeros(5), 1.0).sharpe is None


def test_a_member_that_did_not_move_has_no_correlation() -> None:
    returns = made(11).returns
    returns[:, 2] = 0.0

    found = correlation(returns)

    assert np.isnan(found[2]).all()
    assert not np.isnan(found[:2, :2]).any()


def test_what_cannot_be_fitted_is_refused() -> None:
    past, ts_ns = made(12), np.arange(BARS) * 10**9

    with pytest.raises(DataError, match="600 bars make no 13 windows of at least 50"):
        walk(past, 13)
    with pytest.raises(ConfigError, match="use 2 or more"):
        walk(past, 1)
    with pytest.raises(ConfigError, match="use one of equal, inverse_volatility, min_variance, likelihood"):
        fit(past, ts_ns, "magic", windows=3)
    with pytest.raises(ConfigError, match=r"--forgetting 0\.1"):
        fit(past, ts_ns, "equal", windows=3, forgetting=0.1)
