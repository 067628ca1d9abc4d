"""A bundle with one policy, cut out of one that blends three: what a single network costs at each event. Measured, never traded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import onnx
from onnx import helper, numpy_helper, utils

from mia.domain.errors import ConfigError
from mia.policy.bundle import Golden
from mia.policy.manifest import GOLDEN_FILE, POLICY_FILE, parse_manifest, sha256

_INPUTS: Final = ["obs", "regime_probs"]
_LAST: Final = "actor0_mu"  # before tanh, as the exporter names it


def write_one_policy(source: Path, folder: Path) -> None:
    """A loadable bundle in `folder` that wants what the range policy of the one in `source` wants, with the same bits.

    Its three actions are that one, and alpha is 1, as of a rule. ConfigError: source is no bundle of our exporter.
    """
    text = (source / "manifest.toml").read_text()
    manifest = parse_manifest(text.encode(), f"model {source / 'manifest.toml'}")
    files = {name: (source / name).read_bytes() for name in manifest.files}
    try:
        utils.extract_model(source / POLICY_FILE, folder / POLICY_FILE, _INPUTS, [_LAST])
    except ValueError as e:
        raise ConfigError(f"model {source / POLICY_FILE}: no policy can be cut out of it: {e}") from None
    files[POLICY_FILE] = _finished((folder / POLICY_FILE).read_bytes())
    files[GOLDEN_FILE] = _golden(files[GOLDEN_FILE])
    for name, data in files.items():
        (folder / name).write_bytes(data)
        text = text.replace(manifest.files[name], sha256(data))
    (folder / "manifest.toml").write_text(text)


def _finished(part: bytes) -> bytes:
    """The cut graph with the outputs that a bundle must have."""
    model = onnx.load_from_string(part)
    graph = model.graph
    graph.node.extend(
        [
            helper.make_node("Tanh", [_LAST], ["action"]),
            helper.make_node("Concat", ["action"] * 3, ["actions"], axis=1),
            helper.make_node("ReduceSum", ["regime_probs", "axis"], ["total"], keepdims=1),
            helper.make_node("Min", ["total", "one"], ["alpha"]),  # rounding must not carry it over 1
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    graph.initializer.append(numpy_helper.from_array(np.array([1.0], np.float32), "one"))
    del graph.output[:]
    for name, width in (("action", 1), ("actions", 3), ("alpha", 1)):
        graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", width]))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _golden(data: bytes) -> bytes:
    """What the exporter saw of the one policy: the loader compares the cut graph with it."""
    golden = msgspec.json.decode(data, type=Golden)
    first = [[row[0]] for row in golden.actions]
    return msgspec.json.encode(
        msgspec.structs.replace(golden, action=first, actions=[row * 3 for row in first], alpha=[[1.0]] * len(first))
    )
