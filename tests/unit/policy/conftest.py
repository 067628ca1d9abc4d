"""A tiny bundle of random weights, written by the exporter, for every test of the loader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia.policy.manifest import FORMAT, Manifest, Training
from mia.train.bundle_writer import write_bundle
from mia.train.graph import Layer, PolicyWeights

CATALOGUE = "c" * 64


def random_weights(columns: int = 7, hidden: int = 16, seed: int = 1) -> PolicyWeights:
    rng = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> Layer:
        return Layer(
            rng.normal(scale=1.5 / np.sqrt(inputs), size=(inputs, outputs)).astype(np.float32),
            rng.normal(scale=0.1, size=outputs).astype(np.float32),
        )

    return PolicyWeights(
        mean=rng.normal(size=columns).astype(np.float32),
        inv_std=(0.5 + rng.random(columns)).astype(np.float32),
        clip=5.0,
        gate=(0.5 + rng.random((3, columns))).astype(np.float32),
        actors=[[layer(columns, hidden), layer(hidden, hidden), layer(hidden, 1)] for _ in range(3)],
        alpha=[layer(columns + 3, 8), layer(8, 2)],
    )


def random_inputs(rows: int, columns: int = 7, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=2.0, size=(rows, columns)).astype(np.float32), rng.dirichlet([1.0, 1.0, 1.0], size=rows).astype(np.float32)


def manifest_of(columns: int = 7) -> Manifest:
    return Manifest(
        format=FORMAT,
        name="tiny",
        family="crypto",
        trigger="quote",
        min_interval_ms=100,
        bar="time:1s",
        catalogue_sha256=CATALOGUE,
        features=[f"f{k}" for k in range(columns)],
        masks=[],
        lo=[-50.0] * columns,
        hi=[50.0] * columns,
        alpha_min=0.25,
        alpha_horizon_s=10.0,
        algorithms={"range": "sac", "trend": "sac", "defensive": "sac"},
        files={},
        training=Training(
            command="test",
            spans=[],
            seeds_train=[1],
            seeds_validation=[2],
            seeds_test=[3],
            steps=0,
            git_commit="none",
            versions={"numpy": "x"},
        ),
        metrics={"return": 0.0},
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of a valid bundle of seven columns."""
    folder = tmp_path / "tiny"
    write_bundle(folder, manifest_of(), random_weights(), b"{}", *random_inputs(64))
    return folder
