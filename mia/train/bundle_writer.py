"""Writes a bundle's files: graph, golden vectors, regime arrays and the manifest with their hashes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from mia.domain.errors import ConfigError
from mia.features.models import parse_models
from mia.policy.bundle import load_bundle
from mia.policy.manifest import GOLDEN_FILE, MODELS_FILE, POLICY_FILE, REGIME_FILE, Manifest, sha256
from mia.train.graph import F32, PolicyWeights, build_graph, reference

GOLDEN_ROWS = 16


def write_bundle(
    folder: Path, manifest: Manifest, weights: PolicyWeights, regime: bytes, obs: F32, probs: F32, models: bytes = b""
) -> Manifest:
    """Write the bundle, load it with the daemon's loader and return the manifest with its hashes.

    obs [N, n], probs [N, 3]: real inputs, N >= GOLDEN_ROWS; rows spread over them become the golden vectors.
    models: of the columns (FeatureModels.encode); empty: the bundle has no such file.
    ConfigError when the written bundle would not load.
    """
    rows = np.linspace(0, len(obs) - 1, GOLDEN_ROWS).astype(np.int64)
    golden_obs, golden_probs = obs[rows].astype(np.float32), probs[rows].astype(np.float32)
    outputs = reference(weights, golden_obs, golden_probs)
    golden = dict(zip(("obs", "regime_probs", "action", "actions", "alpha"), (golden_obs, golden_probs, *outputs), strict=True))
    data = {
        POLICY_FILE: build_graph(weights),
        REGIME_FILE: regime,
        GOLDEN_FILE: msgspec.json.encode({name: values.tolist() for name, values in golden.items()}),
    }
    if models:
        parse_models(models, f"model {folder / MODELS_FILE}")
        data[MODELS_FILE] = models
    manifest = msgspec.structs.replace(manifest, files={name: sha256(content) for name, content in data.items()})
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in data.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.toml").write_text(manifest_toml(manifest), encoding="utf-8")
    load_bundle(str(folder.resolve()), catalogue_sha256=manifest.catalogue_sha256, family=manifest.family, trigger=manifest.trigger)
    return manifest


def manifest_toml(manifest: Manifest) -> str:
    """The manifest as TOML: scalars and lists first, then one table per nested value."""
    builtins = msgspec.to_builtins(manifest)
    lines = ["# Written by mia-train; the daemon compares every hash below before it runs the model.\n"]
    tables = []
    for key, value in builtins.items():
        if isinstance(value, dict):
            tables.append((key, value))
        else:
            lines.append(f"{key} = {_toml(value)}\n")
    for key, table in tables:
        nested = {k: v for k, v in table.items() if isinstance(v, dict)}
        lines.append(f"\n[{key}]\n")
        lines.extend(f"{_key(k)} = {_toml(v)}\n" for k, v in table.items() if k not in nested)
        for name, inner in nested.items():
            lines.append(f"\n[{key}.{_key(name)}]\n")
            lines.extend(f"{_key(k)} = {_toml(v)}\n" for k, v in inner.items())
    return "".join(lines)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else msgspec.json.encode(name).decode()


def _toml(value: object) -> str:
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        text = repr(value)
        return text if any(c in text for c in ".en") else text + ".0"
    if isinstance(value, int):
        return str(value)
    raise ConfigError(f"manifest: cannot write a value of type {type(value).__name__}")
