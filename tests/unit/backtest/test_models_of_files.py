"""Models behind columns, on files: which columns get a value, which wait for what, and what is said of rows that the models have seen."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.assemble import calendar_files, calendars_of
from mia.backtest import feature_checks
from mia.backtest.feature_run import Given, Request, Source, in_memory, open_source, table
from mia.domain.errors import ConfigError
from mia.features.batch import compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.risk.windows import load_windows
from mia.train.feature_models.fit import fit_models
from mia.train.feature_models.rows import FeatureFitSettings, from_candles
from mia.train.settings import perpetual

BARS = 3_000
MINUTE_MS = 60_000
START_MS = int(datetime(2026, 3, 2, tzinfo=UTC).timestamp()) * 1_000
MODEL_COLUMNS = [c for k in ("regime", "latent", "memory") for c in shipped_catalogue().category(k) if c != "last_3_trades_success_rate"]
OF_FLOW = {"pca_flow_1", "pca_flow_2", "pca_flow_3"}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minutes of three kinds of an hour each: quiet, drifting, wild."""
    rng = np.random.default_rng(4)
    kind = np.repeat(rng.integers(0, 3, BARS // 60 + 1), 60)[:BARS]
    r = rng.normal(0, np.array([0.0005, 0.0006, 0.004])[kind]) + np.array([0.0, 0.0008, 0.0])[kind]
    close = np.rint(50_000 * np.exp(np.cumsum(r - r.mean())) * 10) / 10
    opens = np.concatenate([[50_000.0], close[:-1]])
    wick = rng.exponential(8.0, (2, BARS))
    high, low = np.maximum(opens, close) + wick[0], np.minimum(opens, close) - wick[1]
    columns = {"ts_ms": START_MS + MINUTE_MS * np.arange(BARS), "open": opens, "high": np.rint(high * 10) / 10}
    columns |= {"low": np.rint(low * 10) / 10, "close": close, "volume": rng.integers(1, 9_000, BARS) / 1_000}
    path = tmp_path_factory.mktemp("models") / "bars.parquet"
    pl.DataFrame(columns).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def models(bars: Path) -> FeatureModels:
    """Fitted on the first 60 % of the bars."""
    stretch, bar = from_candles(bars, perpetual())
    settings = FeatureFitSettings(steps=60, starts=2, iterations=12, clusters=4, contexts=40)
    return fit_models([stretch.cut(0, int(0.6 * len(stretch.ts_ns)))], settings, bars.name, bar)


def opened(bars: Path, models: FeatureModels) -> Source:
    return open_source([bars], Request(models=Given(name="models.json", sha256="0" * 64, models=models)))


def test_columns_of_models_have_values_and_those_of_trades_wait_for_trades(bars: Path, models: FeatureModels) -> None:
    _, matrix = table(opened(bars, models), MODEL_COLUMNS)

    there = {name for j, name in enumerate(MODEL_COLUMNS) if np.isfinite(matrix[-500:, j]).all()}
    assert there == set(MODEL_COLUMNS) - OF_FLOW
    assert np.isnan(matrix[:, [MODEL_COLUMNS.index(name) for name in OF_FLOW]]).all()
    assert not np.isinf(matrix).any()


def test_without_models_their_columns_are_empty_and_say_so(bars: Path) -> None:
    source = open_source([bars], Request())

    _, matrix = table(source, MODEL_COLUMNS)

    assert np.isnan(matrix).all()
    assert {"model", "memory"} <= set(source.lacks)


def test_the_regime_of_a_file_is_that_of_a_plan_fed_bar_by_bar(bars: Path, models: FeatureModels) -> None:
    source = opened(bars, models)
    piece = next(source.pieces())
    arena = Arena(64 << 20)
    plan = build_plan(("p_trend",), source.instrument, source.bars, arena, Book(arena, 64), models=models, neutral=math.nan)
    one_by_one = []
    assert piece.close_ns is not None and piece.bars is not None  # noqa: PT018

    for ts, bar in zip(piece.close_ns.tolist(), piece.bars, strict=True):
        plan.on_bar(ts, np.ascontiguousarray(bar).data)
        plan.observe(ts)
        one_by_one.append(plan.values[0])

    assert table(source, ("p_trend",))[1][:, 0].tobytes() == np.array(one_by_one).tobytes()


def test_no_column_of_a_model_knows_the_future_and_each_settles(bars: Path, models: FeatureModels) -> None:
    source, _ = in_memory(opened(bars, models), BARS)

    found = feature_checks.lookahead(source, MODEL_COLUMNS, 4)
    settled, silent = feature_checks.recursive(source, None, ("p_range", "pca_price_1", "cluster_distance", "stress"), 2)

    assert found.leaks == []
    assert found.compared > BARS
    assert silent == []
    assert [m.column for m in settled if m.settles is None] == []


def test_it_is_said_which_rows_the_models_have_seen_and_that_other_bars_are_other_inputs(bars: Path, models: FeatureModels) -> None:
    assert models.fit is not None
    hours = msgspec.structs.replace(models, fit=msgspec.structs.replace(models.fit, bar="time:1h"))

    source, other = opened(bars, models), opened(bars, hours)

    seen = models.fit.rows + 60  # the rows before it was warm, too
    assert any(f"{seen} rows of this data are no test" in note for note in source.notes)
    assert any("fitted on time:1h bars" in note for note in other.notes)
    assert source.facts["models"]["sha256"] == "0" * 64


def test_with_candles_a_calendar_an_account_and_models_most_of_the_350_columns_have_a_value(bars: Path, models: FeatureModels) -> None:
    windows = load_windows(*calendar_files())
    source = opened(bars, models)
    piece = next(source.pieces())
    names = shipped_catalogue().names
    arena = Arena(256 << 20)
    calendar = calendars_of(windows, {"crypto"})["crypto"]
    plan = build_plan(names, source.instrument, source.bars, arena, Book(arena, 64), calendar, models=models)
    assert piece.close_ns is not None and piece.bars is not None  # noqa: PT018

    compute_bars(plan, piece.close_ns, piece.bars, with_cold=True)
    last = int(piece.close_ns[-1])
    plan.set_account(0.5, 500_000.0, last - 10**12, 0.1, 0.0, 0.1, 0.5, 0.1, 0.6)
    plan.set_record(last - 10**12, 3, 2, 0.1)
    plan.observe(last)

    catalogue = shipped_catalogue()
    waiting = Counter(" + ".join(catalogue.get(name).inputs) for j, name in enumerate(names) if not plan.is_there(j))
    count = len(names) - waiting.total()
    assert count >= 200, f"{count} of {len(names)} have a value; the others read {dict(waiting.most_common())}"
    outside = {"trades", "quotes", "depth", "reference", "funding", "news", "predicted"}
    strays = [n for j, n in enumerate(names) if not plan.is_there(j) and not outside & set(catalogue.get(n).inputs)]
    of_futures, of_weeks = {"closure_ahead", "is_expiry_day", "days_to_roll"}, {"rel_volume_20", "volume_pace_20"}
    assert set(strays) <= OF_FLOW | of_futures | of_weeks, f"{count} have a value; without one beside those of other inputs: {strays}"


def test_a_bundle_or_file_without_the_model_of_a_column_names_the_column(models: FeatureModels) -> None:
    assert models.lacks(("rv_30", "p_trend", "pca_flow_2", "stress")) == "pca_flow_2"
    assert models.lacks(("p_trend", "latent_shift", "novelty", "cluster_ret", "model_drift_score")) == ""
    assert FeatureModels().lacks(("rv_30", "cluster_ret")) == "cluster_ret"
    assert models.behind("rv_30") is None


def test_predictions_need_the_closes_that_they_read(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--reference vix="):
        open_source([bars], Request(predictions=(("vix", tmp_path / "m.json"),)))
    with pytest.raises(ConfigError, match="only vix"):
        open_source([bars], Request(predictions=(("short", tmp_path / "m.json"),)))
