"""drift.json of a bundle: which columns, how they were spread, and that the daemon's loader takes it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mia.domain.errors import ConfigError
from mia.features.catalogue import shipped_catalogue
from mia.features.distribution import Distribution, parse_drift
from mia.policy.bundle import load_bundle
from mia.train.bundle_writer import write_bundle
from mia.train.drift_file import COLUMNS, drift_columns, write_drift
from tests.unit.policy.conftest import manifest_of, random_inputs, random_weights


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle without drift.json."""
    folder = tmp_path / "tiny"
    write_bundle(folder, manifest_of(), random_weights(), b"{}", *random_inputs(64))
    return folder


def load(folder: Path) -> bytes:
    return load_bundle(str(folder), catalogue_sha256=manifest_of().catalogue_sha256).drift


def test_only_columns_of_the_market_are_watched() -> None:
    ranked = ("position", "rsi_14", "tod_sin", "queue_imb_1", "vix_z_252", "depth_imb_5", "hour_sin", "close")

    assert drift_columns(ranked) == ("rsi_14", "queue_imb_1", "depth_imb_5")


def test_the_best_twenty_are_watched_in_their_order() -> None:
    ranked = [f"ret_{n}" for n in (5, 20, 1)] + ["rsi_14", "adx_14", "rv_30"]
    found = drift_columns([*ranked, *shipped_catalogue().category("trend"), *shipped_catalogue().category("volatility")])

    assert len(found) == COLUMNS
    assert found[:3] == ("ret_5", "ret_20", "ret_1")


def test_the_file_states_the_deciles_of_training_and_is_hashed(bundle: Path) -> None:
    values = np.linspace(0.0, 1.0, 1001)
    matrix = np.stack([values, np.full(1001, np.nan), -values], axis=1)

    write_drift(bundle, ("rsi_14", "queue_imb_1", "ret_5"), matrix, "time:1s")
    data = load(bundle)

    made = msgspec.json.decode(data, type=Distribution)
    assert list(made.columns) == ["rsi_14", "ret_5"]  # a column without a value cannot be compared
    assert made.columns["rsi_14"].edges == pytest.approx([0.1 * k for k in range(1, 10)])
    assert made.columns["ret_5"].shares == pytest.approx([0.1] * 10, abs=2e-3)
    assert parse_drift(data, ("ret_5", "rsi_14"), "here").bars == "time:1s"
    (bundle / "drift.json").write_bytes(data.replace(b"rsi", b"rsx"))
    with pytest.raises(ConfigError, match=r"drift.json: sha256"):
        load(bundle)


def test_a_bundle_of_before_has_none(bundle: Path) -> None:
    assert load(bundle) == b""
