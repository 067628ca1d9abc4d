"""Writes the fused policy graph with onnx.helper from plain arrays; knows neither torch nor where the weights came from.

obs [N, n], regime_probs [N, 3] -> normalise, clip, weigh by regime -> three ReLU chains -> tanh -> actions [N, 3], blended by the
regime probabilities to action [N, 1]; two logits from one small net, P(a long trade pays) and P(a short one pays),
give alpha [N, 1] for the side of the blended action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = npt.NDArray[np.float32]
OPSET: Final = 17
IR_VERSION: Final = 9
SIDE_WIDTH: Final = 0.05  # |action| from which alpha is that of one side alone; below, both are blended


class Layer(msgspec.Struct, frozen=True):
    """y = x @ weight + bias; weight [inputs, outputs], bias [outputs], float32."""

    weight: F32
    bias: F32


class PolicyWeights(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in the graph. x = clip((obs - mean) * inv_std, +- clip) * (regime_probs @ gate); gate [3, n].

    actors: three of three layers (the last has one output, before tanh).
    alpha: two layers over [x, regime_probs]; the last has two outputs, logits for long and short.
    """

    mean: F32
    inv_std: F32
    clip: float
    gate: F32
    actors: Sequence[Sequence[Layer]]
    alpha: Sequence[Layer]


class _Writer:
    """Collects nodes and initialisers."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def tensor(self, name: str, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, dtype=dtype)), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=f"{kind}_{output}", **attributes))
        return output

    def linear(self, source: str, layer: Layer, output: str) -> str:
        return self.op("Gemm", [source, self.tensor(f"{output}_w", layer.weight), self.tensor(f"{output}_b", layer.bias)], output)


def build_graph(weights: PolicyWeights) -> bytes:
    """The serialised model, checked by onnx, without external data."""
    w = _Writer()
    w.op("Sub", ["obs", w.tensor("mean", weights.mean)], "centered")
    w.op("Mul", ["centered", w.tensor("inv_std", weights.inv_std)], "scaled")
    w.op("Clip", ["scaled", w.tensor("low", -weights.clip), w.tensor("high", weights.clip)], "clipped")
    w.linear("regime_probs", Layer(weights.gate, np.zeros(len(weights.mean), np.float32)), "gate")
    w.op("Mul", ["clipped", "gate"], "x")
    means = []
    for k, actor in enumerate(weights.actors):
        source = "x"
        for i, layer in enumerate(actor[:-1]):
            w.linear(source, layer, f"actor{k}_linear{i}")
            source = w.op("Relu", [f"actor{k}_linear{i}"], f"actor{k}_hidden{i}")
        means.append(w.linear(source, actor[-1], f"actor{k}_mu"))
    w.op("Concat", means, "mu", axis=1)
    w.op("Tanh", ["mu"], "actions")
    w.op("Mul", ["actions", "regime_probs"], "weighted")
    axis = w.tensor("axis", [1], np.int64)
    w.op("ReduceSum", ["weighted", axis], "action", keepdims=1)
    w.op("Concat", ["x", "regime_probs"], "context", axis=1)
    w.linear("context", weights.alpha[0], "alpha_linear")
    w.op("Relu", ["alpha_linear"], "alpha_hidden")
    w.linear("alpha_hidden", weights.alpha[1], "alpha_logits")
    w.op("Sigmoid", ["alpha_logits"], "alpha_sides")
    w.op("Clip", ["action", w.tensor("side_low", -SIDE_WIDTH), w.tensor("side_high", SIDE_WIDTH)], "side")
    half = 0.5 / SIDE_WIDTH
    w.linear("side", Layer(np.array([[half, -half]], np.float32), np.array([0.5, 0.5], np.float32)), "side_share")
    w.op("Mul", ["alpha_sides", "side_share"], "alpha_weighted")
    w.op("ReduceSum", ["alpha_weighted", axis], "alpha", keepdims=1)
    return _serialised(w, len(weights.mean))


def _serialised(w: _Writer, width: int) -> bytes:
    def value(name: str, columns: int) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])

    graph = helper.make_graph(
        w.nodes,
        "policy",
        [value("obs", width), value("regime_probs", 3)],
        [value("action", 1), value("actions", 3), value("alpha", 1)],
        w.tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mia")
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def reference(weights: PolicyWeights, obs: F32, probs: F32) -> tuple[F32, F32, F32]:
    """The same in numpy float64, the oracle of the export: action, actions, alpha as float32."""
    x = np.clip((obs - weights.mean) * weights.inv_std, -weights.clip, weights.clip).astype(np.float64) * (probs @ weights.gate)
    columns = []
    for actor in weights.actors:
        h = x
        for layer in actor[:-1]:
            h = np.maximum(h @ layer.weight + layer.bias, 0.0)
        columns.append(np.tanh(h @ actor[-1].weight + actor[-1].bias))
    actions = np.concatenate(columns, axis=1)
    action = (actions * probs).sum(axis=1, keepdims=True)
    h = np.maximum(np.concatenate([x, probs], axis=1) @ weights.alpha[0].weight + weights.alpha[0].bias, 0.0)
    sides = 1.0 / (1.0 + np.exp(-(h @ weights.alpha[1].weight + weights.alpha[1].bias)))
    side = np.clip(action, -SIDE_WIDTH, SIDE_WIDTH) * (0.5 / SIDE_WIDTH)
    alpha = sides[:, :1] * (0.5 + side) + sides[:, 1:] * (0.5 - side)
    return action.astype(np.float32), actions.astype(np.float32), alpha.astype(np.float32)
