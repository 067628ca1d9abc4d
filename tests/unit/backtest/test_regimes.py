"""The regime report: its numbers against plain versions, and a page that is small, escaped and loads nothing."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from mia.backtest.feature_run import Given, Request, Source, open_source, table
from mia.backtest.regime_page import POINTS_MAX, page, picture
from mia.backtest.regimes import Regimes, densities, label_stats, labels, regimes
from mia.domain.errors import ConfigError
from mia.domain.regime import RegimeParams
from mia.features.models import FeatureModels, Fit
from tests.unit.backtest.test_feature_run import candles

PARAMS = RegimeParams(
    columns=["rv_30", "linreg_r2_20"], center=[0.005, 0.4], scale=[0.001, 0.3], mean=[[-0.5, -0.5], [-0.2, 1.0], [1.0, 0.2]],
    var=[[0.5, 0.6], [0.6, 0.7], [0.8, 0.9]], transition=[[0.96, 0.02, 0.02], [0.03, 0.95, 0.02], [0.02, 0.04, 0.94]], clip=4.0,
    warm_bars=10,
)  # fmt: skip
MINUTE_NS = 60_000_000_000


def source_of(path: Path, fit: Fit | None = None) -> Source:
    models = FeatureModels(regime=PARAMS, fit=fit)
    return open_source([path], Request(models=Given(name="m.json", sha256="0" * 64, models=models)))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candles(tmp_path_factory.mktemp("regimes") / "a<b>&c.parquet", n=2_600)


@pytest.fixture(scope="module")
def half(bars: Path) -> Regimes:
    """Fitted, it says, on the first half of the file."""
    first, last = 1_700_000_040_000 * 10**6, 1_700_000_040_000 * 10**6 + 1_300 * MINUTE_NS
    return regimes(source_of(bars, Fit(source="it", bar="time:1m", first_ns=first, last_ns=last, rows=1_300, seed=1)))


def test_labels_are_entered_above_and_left_below() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.61, 0.2, 0.19], [0.45, 0.5, 0.05], [0.39, 0.59, 0.02], [0.3, 0.65, 0.05], [0.1, 0.2, 0.7]])

    assert labels(probs).tolist() == [3, 0, 0, 3, 1, 2]


def test_labels_are_those_whose_age_the_plan_counts(bars: Path) -> None:
    _, matrix = table(source_of(bars), ("p_range", "p_trend", "p_defensive", "regime_age"))
    matrix = matrix[np.isfinite(matrix).all(axis=1)]

    label = labels(matrix[:, :3])

    begun = int(np.flatnonzero(np.diff(label) != 0)[0]) + 1  # the first spell began before there were probabilities
    age = 0
    for k in range(begun, len(label)):
        age = age + 1 if label[k] == label[k - 1] and label[k] < 3 and k > begun else 0
        assert math.expm1(matrix[k, 3]) == pytest.approx(age, abs=1e-6)


def test_the_numbers_of_a_label_are_those_of_its_bars() -> None:
    rng = np.random.default_rng(2)
    r = rng.normal(0, 0.01, 600)
    r[0] = np.nan
    label = np.repeat(np.array([-1, 0, 1, 0, 2, 3], np.int8), 100)

    stats = {s.label: s for s in label_stats(r, label)}

    calm = np.r_[100:200, 300:400]
    own = r[calm]
    assert (stats["range"].bars, stats["range"].share, stats["range"].spells, stats["range"].dwell) == (200, 0.4, 2, 100.0)
    assert stats["range"].abs_r == pytest.approx(np.abs(own).mean())
    assert stats["range"].volatility == pytest.approx(own.std())
    pairs = np.r_[101:200, 301:400]
    assert stats["range"].autocorrelation == pytest.approx(np.corrcoef(r[pairs], r[pairs - 1])[0, 1])
    assert stats["range"].next_volatility == pytest.approx(r[calm + 1].std())
    assert stats["all"].bars == 500
    assert stats["undecided"].next_volatility == pytest.approx(r[501:].std())


def test_the_likelihood_is_that_of_the_forward_algorithm_and_of_one_gaussian() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal([0.005, 0.4], [0.001, 0.3], (300, 2))

    found = densities(PARAMS, x)

    z = np.clip((x - PARAMS.center) / PARAMS.scale, -4, 4)
    mean, var, a = np.array(PARAMS.mean), np.array(PARAMS.var), np.array(PARAMS.transition)
    p, expected = np.full(3, 1 / 3), []
    for row in z:
        b = np.exp(-0.5 * (np.log(2 * np.pi * var) + (row - mean) ** 2 / var).sum(axis=1))
        p = (p @ a) * b
        expected.append(np.log(p.sum()))
        p /= p.sum()
    weight = np.linalg.matrix_power(a, 2_000)[0]
    center = weight @ mean
    spread = weight @ (var + mean**2) - center**2
    one = -0.5 * (np.log(2 * np.pi * spread) + (z - center) ** 2 / spread).sum(axis=1)
    warm = np.isfinite(found[:, 0])
    assert warm.sum() == 300 - PARAMS.warm_bars + 1
    assert found[warm, 0] == pytest.approx(np.array(expected)[warm], rel=1e-8)
    assert found[warm, 1] == pytest.approx(one[warm], rel=1e-8)


def test_rows_of_the_fit_and_later_ones_are_told_apart(half: Regimes) -> None:
    assert [part.is_later for part in half.parts] == [False, True]
    assert all(part.likelihood is not None for part in half.parts)
    assert half.fit is not None
    assert half.parts[0].last_ns <= half.fit.last_ns < half.parts[1].first_ns
    assert sum(part.labels[-1].bars for part in half.parts) == len(half.ts_ns)


def test_the_page_is_small_escaped_and_loads_nothing(half: Regimes) -> None:
    text = page(half)

    assert len(text) < 600_000
    assert "a<b>" not in text
    assert "a&lt;b&gt;&amp;c.parquet" in text
    assert "<script" not in text
    assert not re.search(r'(href|src)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg")', text)
    assert "Forward filter only" in text
    assert "Held-out log likelihood" in text
    assert "Bars up to the end of the fit: no test of the model" in text
    for name in ("range", "trend", "defensive", "undecided"):
        assert f">{name}</text>" in text
    assert "The newest 500 bars" in text


def test_other_bars_than_those_of_the_fit_are_named(half: Regimes) -> None:
    assert "fitted on other bars" not in page(half)
    assert "fitted on other bars" in page(msgspec.structs.replace(half, is_of_other_bars=True))


def test_a_long_history_is_thinned_and_every_share_kept(half: Regimes) -> None:
    times = 40
    n = len(half.ts_ns)
    long = msgspec.structs.replace(
        half,
        ts_ns=half.ts_ns[0] + MINUTE_NS * np.arange(n * times),
        close=np.tile(half.close, times),
        probs=np.tile(half.probs, (times, 1)),
        label=np.tile(half.label, times),
    )

    text = picture(long)

    root = ET.fromstring(text.encode())  # what we have just written
    line = next(p for p in root.iter("{http://www.w3.org/2000/svg}path") if p.get("fill") == "none" and p.get("stroke-linejoin"))
    assert line.get("d", "").count("L") == POINTS_MAX - 1
    assert len(text) < 300_000
    assert "Forward filter only" in text


def test_a_file_without_a_regime_model_is_refused(bars: Path) -> None:
    with pytest.raises(ConfigError, match="no regime model"):
        regimes(open_source([bars], Request()))
