"""`mia models` finds bundles, the user's own first, and says which would be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.features.blocks import BLOCK_OF
from mia.features.catalogue import shipped_catalogue
from mia.policy.manifest import FORMAT, Manifest, Training
from mia.train.bundle_writer import write_bundle
from mia.train.graph import Layer, PolicyWeights

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny valid bundle named `tiny` in the user's folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    columns = list(BLOCK_OF)[:5]
    rng = np.random.default_rng(1)

    def layer(inputs: int, outputs: int) -> Layer:
        return Layer(rng.normal(size=(inputs, outputs)).astype(np.float32), rng.normal(size=outputs).astype(np.float32))

    weights = PolicyWeights(
        mean=np.zeros(5, dtype=np.float32),
        inv_std=np.ones(5, dtype=np.float32),
        clip=5.0,
        gate=np.ones((3, 5), dtype=np.float32),
        actors=[[layer(5, 8), layer(8, 8), layer(8, 1)] for _ in range(3)],
        alpha=[layer(8, 8), layer(8, 2)],
    )
    training = Training(
        command="test", spans=["none"], seeds_train=[1], seeds_validation=[2], seeds_test=[3], steps=7, git_commit="none", versions={}
    )
    manifest = Manifest(
        format=FORMAT, name="tiny", family="crypto", trigger="quote", min_interval_ms=100, bar="time:1s",
        catalogue_sha256=shipped_catalogue().hash, features=columns, masks=[], lo=[-50.0] * 5, hi=[50.0] * 5, alpha_min=0.25,
        alpha_horizon_s=10.0, algorithms=dict.fromkeys(("range", "trend", "defensive"), "sac"), files={}, training=training, metrics={},
    )  # fmt: skip
    folder = tmp_path / "mia" / "models" / "tiny"
    inputs = rng.normal(size=(64, 5)).astype(np.float32), rng.dirichlet([1.0, 1.0, 1.0], size=64).astype(np.float32)
    write_bundle(folder, manifest, weights, b"{}", *inputs)
    (folder / "card.md").write_text("# tiny\nFor tests.\n")
    return folder


def damage(folder: Path) -> None:
    """Flip one bit of the weights."""
    data = bytearray((folder / "policy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "policy.onnx").write_bytes(data)


def test_a_bundle_is_listed_with_its_verdict(bundle: Path, mia: Mia) -> None:
    found = {m["name"]: m for m in json.loads(mia("models", "list", "--json").out)}

    assert {"check": "ok", "columns": 5, "trigger": "quote", "folder": str(bundle)}.items() <= found["tiny"].items()


def test_without_a_verb_the_list_is_shown(bundle: Path, mia: Mia) -> None:
    assert "tiny" in mia("models").out


def test_one_flipped_bit_is_refused_by_name(bundle: Path, mia: Mia) -> None:
    damage(bundle)

    checked, listed = mia("models", "check", "tiny"), mia("models", "list")

    assert (checked.code, checked.out) == (4, "")
    assert str(bundle / "policy.onnx") in checked.err
    assert checked.err.count("\n") == 1
    assert listed.code == 1
    assert "fail" in listed.out


def test_a_sound_bundle_passes_by_name_and_by_path(bundle: Path, mia: Mia) -> None:
    assert mia("models", "check", "tiny").code == 0
    assert json.loads(mia("models", "check", bundle, "--json").out)["check"] == "ok"


def test_manifest_and_card_are_shown(bundle: Path, mia: Mia) -> None:
    text, found = mia("models", "show", "tiny").out, json.loads(mia("models", "show", "tiny", "--json").out)

    assert "For tests." in text
    assert "7 steps by `test`" in text
    assert msgspec.convert(found["manifest"], Manifest).name == "tiny"


def test_an_unknown_name_exits_4(bundle: Path, mia: Mia) -> None:
    result = mia("models", "show", "unknown")

    assert (result.code, result.out) == (4, "")
    assert "'unknown' was not found" in result.err
