"""All models at once: no look ahead, columns that live, and the command: the same seed the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.models import is_readable, parse_models
from mia.features.plan import build_plan
from mia.kernels import latent_block, memory_block, regime_block
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.train.feature_models.fit import fit_models, walk_forward
from mia.train.feature_models.rows import READ, Stretch
from mia.train.main import app
from mia.train.settings import perpetual
from tests.unit.train.feature_models.conftest import MINUTE_NS, QUICK, START_NS, candle_file, candles, stretch


def test_every_column_that_a_fit_reads_may_be_read_by_a_model() -> None:
    assert all(is_readable(name) for name in READ)


def test_nothing_after_the_fitted_rows_changes_a_model(made_up: Stretch) -> None:
    other = stretch(seed=2)
    changed = Stretch(
        name="made up",
        ts_ns=made_up.ts_ns,
        close=np.concatenate([made_up.close[:1500], other.close[1500:]]),
        rows=np.concatenate([made_up.rows[:1500], other.rows[1500:]]),
    )

    folds = [(m.encode(), first, stop) for m, first, stop in walk_forward(made_up, QUICK, 2, "time:1m")]
    others = [(m.encode(), first, stop) for m, first, stop in walk_forward(changed, QUICK, 2, "time:1m")]

    assert len(folds) == 1
    data, first, stop = folds[0]
    models = parse_models(data, "fold")
    assert (first, stop) == (len(made_up.ts_ns) // 2, len(made_up.ts_ns))
    assert models.fit is not None
    assert models.fit.last_ns == made_up.ts_ns[first - 1]
    assert others[0][0] == data


def test_what_is_fitted_makes_columns_that_live_within_their_ranges(made_up: Stretch) -> None:
    models = fit_models([made_up.cut(0, 1800)], QUICK, "made up", "time:1m")
    arena = Arena(32_000_000)
    names = (*regime_block.SLOTS, *latent_block.SLOTS, *memory_block.SLOTS)
    plan = build_plan(names, perpetual(), BarSpec.parse("time:1m"), arena, Book(arena, 64), neutral=float("nan"), models=models)

    _, matrix = compute_bars(plan, START_NS + MINUTE_NS * np.arange(3_000), candles(3_000, 1), with_cold=True)

    later = matrix[2_000:]
    absent = {name for name, column in zip(names, later.T, strict=True) if np.isnan(column).any()}
    assert absent == {"pca_flow_1", "pca_flow_2", "pca_flow_3"}  # candles know no flow
    moving = [name for name, column in zip(names, later.T, strict=True) if name not in absent and column.std() > 0]
    assert len(moving) == len(names) - 3
    known = later[:, [k for k, name in enumerate(names) if name not in absent]]
    correlation = np.corrcoef(known.T) - np.eye(known.shape[1])
    assert np.abs(correlation).max() < 0.9999


def test_too_few_bars_are_refused(made_up: Stretch) -> None:
    with pytest.raises(ConfigError, match="1000"):
        fit_models([made_up.cut(0, 900)], QUICK, "x", "time:1m")


def test_the_command_writes_models_that_load_and_say_what_they_saw(tmp_path: Path) -> None:
    bars = candle_file(tmp_path / "bars.csv", 2_400, 5)

    done = CliRunner().invoke(app, ["features", "--out", str(tmp_path / "m.json"), "--bars", str(bars), "--share", "0.9", "--seed", "3"])

    assert done.exit_code == 0, done.output
    models = parse_models((tmp_path / "m.json").read_bytes(), "m.json")
    assert models.fit is not None
    assert (models.fit.seed, models.fit.bar, models.fit.seeds) == (3, "time:60s", [])
    assert models.fit.rows == int(len(stretch(2_400).ts_ns) * 0.9)


@pytest.mark.data
@pytest.mark.slow
def test_the_forecast_of_vix_sees_no_close_from_after_the_bars_of_the_fit(tmp_path: Path, market_data: Path) -> None:
    bars = candle_file(tmp_path / "bars.csv", 2_400, 5)
    vix = market_data / "vix_daily_1990_2026.csv"

    given = ["--out", str(tmp_path / "m.json"), "--bars", str(bars), "--share", "0.9", "--vix", str(vix)]
    done = CliRunner().invoke(app, ["features", *given])

    assert done.exit_code == 0, done.output
    models = parse_models((tmp_path / "m.json").read_bytes(), "m.json")
    assert models.fit is not None
    assert models.predicted_vix is not None
    day_ns = 86_400 * 10**9
    assert models.fit.last_ns - 5 * day_ns < models.predicted_vix.last_ns <= models.fit.last_ns
    assert 0.5 < models.predicted_vix.errors["share_nearer"] < 1.0
