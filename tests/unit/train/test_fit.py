"""`mia-train fit` from end to end, short, and its refusals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mia.backtest.distribution import read_distribution
from mia.backtest.trials import Registry
from mia.domain.errors import ConfigError, DataError
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import KNOWN_COLUMNS
from mia.policy.bundle import load_bundle
from mia.train.card import PERFORMANCE_COLUMNS
from mia.train.fit import GATE_SHARES, fit
from mia.train.main import app
from mia.train.settings import FitSettings

SMALL = FitSettings(steps=300, workers=1, train_markets=4, validation_markets=1, test_markets=2, market_s=900.0)


@pytest.mark.slow
def test_a_short_fit_gives_a_bundle_that_the_daemon_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    lines: list[str] = []

    fitted = fit(tmp_path / "small", SMALL, [], [], "mia-train fit --out small", lines.append)

    bundle = load_bundle(
        str(tmp_path / "small"),
        catalogue_sha256=shipped_catalogue().hash,
        family="crypto",
        trigger="quote",
        known_columns=KNOWN_COLUMNS,
    )
    assert (bundle.min_interval_ns, bundle.bar, bundle.alpha_min) == (100_000_000, "time:1s", fitted.alpha_min)
    assert fitted.difference <= 1e-5
    warm = set(shipped_catalogue().warm_within(60.0, 1.0))
    assert warm.issuperset(bundle.manifest.features)
    assert bundle.manifest.masks == ["has(depth)"]
    limits = zip(bundle.columns, bundle.lo, bundle.hi, strict=True)
    depth = [(f.neutral, lo, hi) for name, lo, hi in limits if (f := shipped_catalogue().by_name.get(name)) and "depth" in f.inputs]
    assert len(depth) >= 10
    assert all(lo < neutral < hi for neutral, lo, hi in depth)  # what a lost book shows is no reason to refuse a decision
    assert "without_depth_return_bps_per_hour" in bundle.manifest.metrics
    card = (tmp_path / "small" / "card.md").read_text()
    for words in (
        "mia-train fit --out small",
        "policy without depth",
        "lost on its own in 5%",
        "of the account's 14 among them",
        "ema_cross",
        "flat",
        "Brier",
        "95 % interval",
    ):
        assert words in card
    with (tmp_path / "small" / "train_sac_performance.csv").open() as f:
        assert tuple(next(csv.reader(f))) == PERFORMANCE_COLUMNS
    with Registry() as registry:
        assert registry.count("mia-train fit")[:4] == (1 + len(GATE_SHARES), 1 + len(GATE_SHARES), 0, 1)


@pytest.mark.slow
def test_a_fit_on_bars_decides_on_bars(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    n = 4_000
    close = 60_000.0 * np.exp(np.cumsum(rng.normal(scale=1e-3, size=n)))
    opens = np.concatenate([[60_000.0], close[:-1]])
    wick = np.abs(rng.normal(scale=5e-4, size=(2, n)))
    frame = pl.DataFrame(
        {
            "ts_ms": np.arange(n) * 300_000 + 1_700_000_000_000,
            "open": opens,
            "high": np.maximum(opens, close) * (1 + wick[0]),
            "low": np.minimum(opens, close) * (1 - wick[1]),
            "close": close,
            "volume": rng.random(n) * 10 + 1,
        }
    )
    frame.write_ipc(tmp_path / "bars.feather")

    fit(tmp_path / "bars", SMALL, [tmp_path / "bars.feather"], [], "x", lambda _: None)

    bundle = load_bundle(str(tmp_path / "bars"), catalogue_sha256=shipped_catalogue().hash, trigger="bar")
    assert bundle.bar == "time:5m"
    assert bundle.manifest.training.seeds_train == []
    seen = read_distribution(tmp_path / "bars")
    assert (list(seen.columns), seen.bars) == (bundle.manifest.features[: len(seen.columns)], "time:5m")
    assert len(seen.columns) >= 100
    assert all(sum(s.shares) == pytest.approx(1.0) for s in seen.columns.values())


def test_a_missing_bar_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nosuch\.feather"):
        fit(tmp_path / "x", SMALL, [tmp_path / "nosuch.feather"], [], "x", lambda _: None)


def test_too_few_bars_are_refused(tmp_path: Path) -> None:
    columns = {c: np.linspace(100.0, 101.0, 500) for c in ("open", "high", "low", "close", "volume")}
    pl.DataFrame({"ts_ms": np.arange(500) * 60_000, **columns}).write_parquet(tmp_path / "short.parquet")

    with pytest.raises(ConfigError, match=r"short\.parquet"):
        fit(tmp_path / "x", SMALL, [tmp_path / "short.parquet"], [], "x", lambda _: None)


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(app, ["fit", "--help"])

    assert result.exit_code == 0
    assert "--bars" in result.output
