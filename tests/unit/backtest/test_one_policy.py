"""The bundle of one policy that the bench measures: it is the network that it claims to be, and the loader takes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from mia.assemble import load_strategy
from mia.backtest.one_policy import write_one_policy
from mia.domain.errors import ConfigError
from mia.engine.settings import LaneSettings
from mia.policy.bundle import Bundle
from mia.shipped import shipped

DEMO = shipped("models") / "demo"


def loaded(folder: Path) -> Bundle:
    found = load_strategy(LaneSettings(instrument="sim:BTCUSDT", strategy=str(folder)), "crypto")
    assert isinstance(found, Bundle)
    return found


def test_one_policy_wants_what_the_first_of_three_wants_bit_by_bit(tmp_path: Path) -> None:
    write_one_policy(DEMO, tmp_path)
    one, three = loaded(tmp_path), loaded(DEMO)
    draw = np.random.default_rng(5)
    rows = draw.normal(0.0, 2.0, (64, len(three.columns))).astype(np.float32)
    probs = draw.dirichlet((1.0, 1.0, 1.0), len(rows))

    wanted = [three.evaluate(memoryview(row), tuple(p)).actions[0] for row, p in zip(rows, probs, strict=True)]
    found = [one.evaluate(memoryview(row), tuple(p)) for row, p in zip(rows, probs, strict=True)]

    assert [target.signal for target in found] == wanted
    assert [target.actions for target in found] == [(action, action, action) for action in wanted]
    assert len(set(wanted)) > 32
    assert all(0.999999 <= target.alpha <= 1.0 for target in found)
    assert one.sha256 != three.sha256


def test_a_graph_without_such_a_network_is_named(tmp_path: Path) -> None:
    source = tmp_path / "other"
    shutil.copytree(DEMO, source)
    graph = (DEMO / "policy.onnx").read_bytes()
    (source / "policy.onnx").write_bytes(graph.replace(b"actor0_mu", b"actor9_mu"))

    with pytest.raises(ConfigError, match=r"other/policy\.onnx: no policy can be cut out of it"):
        write_one_policy(source, tmp_path)
