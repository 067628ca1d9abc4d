"""Writes drift.json of a bundle: how its most important columns were spread in training, for the daemon to measure their drift."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mia.backtest.distribution import F64, distribution
from mia.features.catalogue import shipped_catalogue
from mia.policy.bundle import load_bundle
from mia.policy.manifest import DRIFT_FILE, parse_manifest, sha256
from mia.train.bundle_writer import manifest_toml

COLUMNS: Final = 20
_STREAMS: Final = frozenset(("bars", "quotes", "trades", "depth"))


def drift_columns(ranked: Sequence[str]) -> tuple[str, ...]:
    """The first of the ranked names that a few thousand decisions can be compared by: those of the market itself.

    Not the calendar's, which hold one hour of the day then, nor slow series, models and the account.
    """
    known = shipped_catalogue().by_name
    wanted = [name for name in ranked if name in known and set(known[name].inputs) <= _STREAMS and known[name].category != "calendar"]
    return tuple(wanted[:COLUMNS])


def write_drift(folder: Path, ranked: Sequence[str], matrix: F64, bar: str) -> None:
    """Add drift.json to the bundle in `folder` and its hash to the manifest; nothing when no column has a value.

    ranked: columns of matrix float64[rows, columns], the most important first. ConfigError when the bundle would not load.
    """
    matrix = np.asarray(matrix, np.float64)
    at = [list(ranked).index(name) for name in drift_columns(ranked)]
    path = folder / "manifest.toml"
    manifest = parse_manifest(path.read_bytes(), f"model {path}")
    made = distribution([ranked[j] for j in at], matrix[:, at], manifest.catalogue_sha256, bar)
    made = msgspec.structs.replace(made, columns={name: spread for name, spread in made.columns.items() if spread.edges})
    if not made.columns:
        return
    data = msgspec.json.encode(made) + b"\n"
    (folder / DRIFT_FILE).write_bytes(data)
    manifest = msgspec.structs.replace(manifest, files={**manifest.files, DRIFT_FILE: sha256(data)})
    path.write_text(manifest_toml(manifest), encoding="utf-8")
    load_bundle(str(folder.resolve()), catalogue_sha256=manifest.catalogue_sha256, family=manifest.family, trigger=manifest.trigger)
