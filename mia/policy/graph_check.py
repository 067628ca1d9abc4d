"""Looks into an ONNX file before a runtime does: only what our exporter writes may pass.

A file of protobuf wire format is walked by hand, because the daemon carries no onnx package. Refused by name: external
data (a path inside a model reads any file: CVE-2022-25882, CVE-2024-27318), functions, subgraphs, foreign operators,
a newer IR or opset, tensors that are not float32 or int64, weights that are not finite.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

IR_VERSION_MAX: Final = 10
OPSET_MAX: Final = 21
OPERATORS: Final = frozenset(
    {"Sub", "Mul", "Clip", "Gemm", "MatMul", "Add", "Relu", "Tanh", "Sigmoid", "Concat", "ReduceSum", "Abs", "Identity", "Max", "Min"}
)
_FLOAT, _INT64 = 1, 7


class GraphError(ValueError):
    """The graph is not one that we run; the text says which rule it breaks."""


def check_graph(model: bytes) -> None:
    """Return quietly when the file holds a graph that we run; GraphError says what is wrong with it."""
    graph: bytes | None = None
    for field, value in _fields(model):
        if field == 1 and isinstance(value, int):
            if not (value <= IR_VERSION_MAX):
                raise GraphError(f"IR version {value} is newer than {IR_VERSION_MAX}, the newest that is supported")
        elif field == 8 and isinstance(value, bytes):
            _check_opset(value)
        elif field == 7 and isinstance(value, bytes):
            graph = value
        elif field in (20, 25):
            raise GraphError("it carries training info or functions, which are not supported")
    if graph is None:
        raise GraphError("it holds no graph")
    for field, value in _fields(graph):
        if field == 1 and isinstance(value, bytes):
            _check_node(value)
        elif field == 5 and isinstance(value, bytes):
            _check_tensor(value)
        elif field == 15:
            raise GraphError("it holds sparse tensors, which are not supported")


def _check_opset(entry: bytes) -> None:
    domain, version = b"", 0
    for field, value in _fields(entry):
        if field == 1 and isinstance(value, bytes):
            domain = value
        elif field == 2 and isinstance(value, int):
            version = value
    if domain not in (b"", b"ai.onnx"):
        raise GraphError(f"operator set {domain.decode('ascii', 'replace')!r} is not supported")
    if not (1 <= version <= OPSET_MAX):
        raise GraphError(f"opset {version} is newer than {OPSET_MAX}, the newest that is supported")


def _check_node(node: bytes) -> None:
    for field, value in _fields(node):
        if not isinstance(value, bytes):
            continue
        if field == 4 and value.decode("ascii", "replace") not in OPERATORS:
            raise GraphError(f"operator {value.decode('ascii', 'replace')!r} is not one that we run")
        if field == 7 and value not in (b"", b"ai.onnx"):
            raise GraphError(f"operator domain {value.decode('ascii', 'replace')!r} is not supported")
        if field == 5 and any(inner in (5, 6, 10, 11, 22, 23) for inner, _ in _fields(value)):
            raise GraphError("a node carries a tensor or a subgraph, which is not supported")


def _check_tensor(tensor: bytes) -> None:
    name, kind, raw = "?", 0, b""
    for field, value in _fields(tensor):
        if field in (13, 14) and value:
            raise GraphError("it refers to external data, which is never loaded")
        if field == 2 and isinstance(value, int):
            kind = value
        elif field == 8 and isinstance(value, bytes):
            name = value.decode("ascii", "replace")
        elif field == 9 and isinstance(value, bytes):
            raw = value
        elif field in (4, 5, 6, 7, 10, 11):
            raise GraphError("a tensor is not stored as raw bytes, which is the only form that is supported")
    if kind not in (_FLOAT, _INT64):
        raise GraphError(f"tensor {name!r} is neither float32 nor int64")
    if kind == _FLOAT and not (len(raw) % 4 == 0 and bool(np.isfinite(np.frombuffer(raw, dtype="<f4")).all())):
        raise GraphError(f"tensor {name!r} holds a value that is not finite")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or bytes) of one protobuf message; GraphError where it is torn."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            number, at = _varint(data, at)
            yield field, number
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise GraphError("it is not an ONNX file, or it is damaged")
        if field == 0 or at + size > end:
            raise GraphError("it is not an ONNX file, or it is truncated")
        yield field, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """One base-128 number and where the next field starts."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise GraphError("it is not an ONNX file, or it is truncated")
