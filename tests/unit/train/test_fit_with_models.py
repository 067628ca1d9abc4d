"""`mia-train fit --feature-models`: its columns are chosen, its file goes into the bundle, and the engine decides with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.domain.errors import ConfigError
from mia.domain.events import Trade
from mia.features.bars import BarSpec
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels, Fit, parse_models
from mia.policy.bundle import Bundle, load_bundle
from mia.train.feature_models.fit import fit_models
from mia.train.feature_models.rows import from_bars
from mia.train.fit import Fitted, fit
from mia.train.known import Known, check_models, check_seeds
from mia.train.observation import Ranked, write_ranking
from mia.train.parts import simulated_candidates
from mia.train.settings import FitSettings, perpetual
from mia.train.tapes import START_NS
from tests.unit.engine.conftest import Rig
from tests.unit.train.feature_models.conftest import MINUTE_NS, QUICK, candle_file, candles
from tests.unit.train.feature_models.conftest import START_NS as CANDLES_NS

MODEL_CATEGORIES = ("regime", "latent", "memory")
BARS = 3_600
SEEN = 1_500  # bars that the models were fitted on


def models_of_candles() -> FeatureModels:
    times = CANDLES_NS + MINUTE_NS * np.arange(1, SEEN + 1)
    stretch = from_bars("candles", perpetual(), BarSpec.parse("time:1m"), times, candles(BARS, 3)[:SEEN])
    return fit_models([stretch], QUICK, "candles", "time:1m")


class Made(msgspec.Struct):
    fitted: Fitted
    said: list[str]
    bundle: Bundle
    models: bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A tiny policy on candles that the models did not see, its columns ranked so that those of models come first."""
    folder = tmp_path_factory.mktemp("fit")
    bars = candle_file(folder / "bars.csv", BARS, 3)
    (folder / "models.json").write_bytes(models_of_candles().encode())
    catalogue = shipped_catalogue()
    first = [f for f in catalogue.names if catalogue.get(f).category in MODEL_CATEGORIES]
    names = [*first, *(f for f in catalogue.names if f not in first)]
    write_ranking(folder / "ranking.csv", [Ranked(f, 1.0 / (k + 1), 0.0, 4, 1.0) for k, f in enumerate(names)])
    settings = FitSettings(steps=100, hidden=8, workers=1, columns=50)
    said: list[str] = []

    fitted = fit(folder / "made", settings, [bars], [], "x", said.append, folder / "ranking.csv", folder / "models.json")

    bundle = load_bundle(str(folder / "made"), catalogue_sha256=catalogue.hash, family="crypto", trigger="bar")
    return Made(fitted, said, bundle, (folder / "models.json").read_bytes())


def test_the_bundle_carries_the_models_hashed_and_reads_their_columns(made: Made) -> None:
    catalogue = shipped_catalogue()

    read = {c for c in made.bundle.manifest.features if catalogue.get(c).category in MODEL_CATEGORIES}

    assert made.bundle.models == made.models
    assert "feature_models.json" in made.bundle.manifest.files
    of_models = {f for f in catalogue.names if catalogue.get(f).category in MODEL_CATEGORIES}
    absent = {"pca_flow_1", "pca_flow_2", "pca_flow_3"}  # candles know no flow
    assert read == of_models - absent
    assert msgspec.json.decode(made.bundle.regime) == msgspec.to_builtins(parse_models(made.models, "").regime)
    assert any("feature models fitted on candles" in line for line in made.bundle.manifest.training.spans)


def test_bars_that_the_models_saw_are_left_out_and_counted(made: Made) -> None:
    (line,) = [line for line in made.said if "left out" in line]

    span = made.bundle.manifest.training.spans[0]
    seen_until = np.datetime64(parse_models(made.models, "").fit.last_ns, "ns")  # type: ignore[union-attr]
    assert line.startswith(f"bars.csv: {SEEN} of {BARS} bars left out")
    assert np.datetime64(span.split(": ")[1].split(" to ")[0]) == seen_until + np.timedelta64(60, "s")


def test_the_engine_decides_with_the_bundle_and_the_columns_of_its_models_are_live(made: Made) -> None:
    strategy: Any = made.bundle
    rig = Rig(strategy)
    decisions = []
    for o, h, low, c, v in candles(420, 8)[:, :5].tolist():
        for price in (o, h, low, c):
            decisions += rig.records(rig.give(Trade, 0, int(price), max(1, int(v) // 4), 1, 0, dt_ms=14_900))
        decisions += rig.records(rig.quote(int(c), int(c) + 1, dt_ms=300))
        decisions += rig.records(rig.timer(100))
    plan = rig.engine.lanes[0].plan

    there = {name for k, name in enumerate(plan.columns) if plan.is_there(k)}
    assert there == set(plan.columns)
    answered = [d for d in decisions if any(d.actions)]
    assert len(answered) > 50
    assert len({d.actions for d in answered}) > 50


def test_models_of_other_bars_are_refused(tmp_path: Path) -> None:
    bars = candle_file(tmp_path / "bars.csv", 2_000, 3)
    models = FeatureModels(fit=Fit(source="x", bar="time:5m", first_ns=0, last_ns=1, rows=1, seed=1))
    (tmp_path / "models.json").write_bytes(models.encode())

    with pytest.raises(ConfigError, match="fitted on time:5m bars, this fit is on time:1m bars"):
        fit(tmp_path / "out", FitSettings(), [bars], [], "x", lambda _: None, models=tmp_path / "models.json")


def test_a_missing_file_of_models_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--feature-models .*nosuch\.json: cannot be read"):
        fit(tmp_path / "out", FitSettings(), [], [], "x", lambda _: None, models=tmp_path / "nosuch.json")


def known(**changes: Any) -> Known:
    fields = {"source": "simulated markets 7 .. 9", "bar": "time:1s", "first_ns": 0, "last_ns": START_NS - 1, "rows": 9, "seed": 1}
    return Known(models=FeatureModels(fit=Fit(**{**fields, "seeds": [7, 8, 9], **changes})), models_path=Path("m.json"))


def test_markets_that_the_models_saw_are_refused() -> None:
    check_seeds(known(), [1, 2, 10], START_NS)

    for given, words in (
        (known(), r"1 of these markets \(seed 9\)"),
        (known(seeds=[]), "without naming their seeds"),
        (known(last_ns=START_NS), "no row is later"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_seeds(given, [9, 10], START_NS)


def test_models_that_do_not_say_what_they_saw_or_read_what_is_not_there_are_refused() -> None:
    models = models_of_candles()
    assert models.regime is not None
    flow = msgspec.structs.replace(models.regime, columns=[*models.regime.columns[:-1], "bar_toxicity_30"])

    with pytest.raises(ConfigError, match="on what rows"):
        check_models(Known(models=FeatureModels()), BarSpec.parse("time:1m"), ())
    with pytest.raises(ConfigError, match="'bar_toxicity_30', which this data does not have"):
        check_models(Known(models=msgspec.structs.replace(models, regime=flow)), BarSpec.parse("time:1m"), ("trades",))


def test_simulated_markets_offer_columns_of_models_but_no_time_since_they_were_fitted() -> None:
    given = Known(models=models_of_candles())

    offered = set(simulated_candidates(given)) - set(simulated_candidates(Known()))

    assert {"p_trend", "stress", "cluster_ret"} <= offered
    assert "days_since_cluster" not in offered
    assert {shipped_catalogue().get(name).category for name in offered} == set(MODEL_CATEGORIES)
