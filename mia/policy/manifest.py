"""The manifest of a model bundle: what was trained, on what, and what a daemon must be to run it."""

from __future__ import annotations

import hashlib
import math
import tomllib
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.policy.strategy import Trigger

FORMAT: Final = 1
REGIMES: Final = ("range", "trend", "defensive")
POLICY_FILE: Final = "policy.onnx"
REGIME_FILE: Final = "regime.json"
GOLDEN_FILE: Final = "golden.json"
MODELS_FILE: Final = "feature_models.json"
DRIFT_FILE: Final = "drift.json"  # how the most important columns were spread in training
HASHED_FILES: Final = (POLICY_FILE, REGIME_FILE, GOLDEN_FILE)  # what a daemon reads; card and training log are for people
OPTIONAL_FILES: Final = (MODELS_FILE, DRIFT_FILE)  # read and hashed, too, where the manifest lists them


class Training(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the weights came from."""

    command: str
    spans: list[str]  # one line per source of data
    seeds_train: list[int]
    seeds_validation: list[int]
    seeds_test: list[int]
    steps: int
    git_commit: str
    versions: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """manifest.toml, checked for what can be checked without the other files.

    features: ordered names of the observation; masks: availability columns appended after them.
    lo, hi: values that a column may take before a decision is refused, wider than the training span; one per column.
    alpha_min: openings whose trade probability is lower are refused.
    """

    format: int
    name: str
    family: str
    trigger: Trigger
    min_interval_ms: int
    bar: str
    catalogue_sha256: str
    features: list[str]
    masks: list[str]
    lo: list[float]
    hi: list[float]
    alpha_min: float
    alpha_horizon_s: float
    algorithms: dict[str, str]
    files: dict[str, str]
    training: Training
    metrics: dict[str, float]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the order of the observation."""
        return (*self.features, *self.masks)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in the bytes of its file; ConfigError names `where`, the key and what is wrong."""
    try:
        manifest = msgspec.convert(tomllib.loads(data.decode()), Manifest)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{where}: not valid TOML: {e}") from None
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {e}") from None
    _check(manifest, where)
    return manifest


def sha256(data: bytes) -> str:
    """Lower-case hex digest."""
    return hashlib.sha256(data).hexdigest()


def _check(m: Manifest, where: str) -> None:
    """What types do not say."""
    if m.format != FORMAT:
        raise ConfigError(f"{where}: format {m.format} is not {FORMAT}: export the model again with this version")
    if not m.features or len(set(m.columns)) != len(m.columns):
        raise ConfigError(f"{where}: features and masks must be a non-empty list of distinct names")
    for key, values in (("lo", m.lo), ("hi", m.hi)):
        if len(values) != len(m.columns) or not all(math.isfinite(v) for v in values):
            raise ConfigError(f"{where}: {key} must hold {len(m.columns)} finite numbers, one per column")
    if not all(lo < hi for lo, hi in zip(m.lo, m.hi, strict=True)):
        raise ConfigError(f"{where}: every lo must be below its hi")
    if not (0.0 <= m.alpha_min < 1.0):
        raise ConfigError(f"{where}: alpha_min must lie in [0, 1), got {m.alpha_min}")
    if not (0 <= m.min_interval_ms <= 86_400_000):
        raise ConfigError(f"{where}: min_interval_ms must lie in 0 .. 86400000, got {m.min_interval_ms}")
    if sorted(m.algorithms) != sorted(REGIMES):
        raise ConfigError(f"{where}: algorithms must name {', '.join(REGIMES)}")
    if not set(HASHED_FILES) <= set(m.files) <= {*HASHED_FILES, *OPTIONAL_FILES}:
        optional = ", ".join(OPTIONAL_FILES)
        raise ConfigError(f"{where}: files must list the sha256 of {', '.join(HASHED_FILES)}, may list {optional}, and nothing else")
