"""Model bundles: checked on loading, then one inference per call. The only module that knows onnxruntime.

Everything is read as bytes and compared with the manifest before the runtime sees it; one flipped weight bit loads
fine and can turn -0.998 into +1.000. The session runs on one thread with pinned options: the same bits each time,
in every process and batch size. Three chains of Gemm were kept over a batched MatMul because only they give the same
bits for N = 1 and N = 64, at the same speed; preallocated bound buffers save 6 of 31 us against `run` (2 cores, EPYC).
Of a call of 25 us, 0.5 are spent here, 4.5 by the runtime before its first operator, the rest by 25 operators (Xeon, 2.8 GHz).
One wide first layer for all networks gives the same bits and saves 1 us, static shapes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]  # ships no stubs

from mia.domain.errors import ConfigError
from mia.policy.graph_check import GraphError, check_graph
from mia.policy.manifest import DRIFT_FILE, GOLDEN_FILE, MODELS_FILE, POLICY_FILE, REGIME_FILE, Manifest, parse_manifest, sha256
from mia.policy.strategy import Target, Trigger
from mia.shipped import shipped

GOLDEN_TOLERANCE: Final = 1e-5
_SIZE_MAX: Final = {
    "manifest.toml": 1 << 20, POLICY_FILE: 64 << 20, REGIME_FILE: 1 << 20, GOLDEN_FILE: 4 << 20, MODELS_FILE: 4 << 20, DRIFT_FILE: 1 << 20,
}  # fmt: skip
_INPUTS: Final = ("obs", "regime_probs")
_OUTPUTS: Final = ("action", "actions", "alpha")


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inputs with the outputs that the exporter saw; rows of float32."""

    obs: list[list[float]]
    regime_probs: list[list[float]]
    action: list[list[float]]
    actions: list[list[float]]
    alpha: list[list[float]]


def session_options() -> ort.SessionOptions:
    """Pinned: results must not depend on the machine's load, and the hot path must not wake other threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.enable_mem_pattern = True  # with the arena 25 us per call, without either 36-39
    options.enable_cpu_mem_arena = True
    options.log_severity_level = 4  # what goes wrong is raised; the daemon words it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_prepacking", "0")  # off changes the bits
    return options


class Bundle:
    """A verified policy graph as a Strategy. Not thread-safe: its buffers are reused by every call."""

    def __init__(
        self,
        manifest: Manifest,
        bundle_sha256: str,
        session: ort.InferenceSession,
        regime: bytes,
        models: bytes = b"",
        drift: bytes = b"",
    ) -> None:
        """Use load_bundle; here nothing is checked any more."""
        self.manifest = manifest
        self.name = manifest.name
        self.sha256 = bundle_sha256
        self.columns = manifest.columns
        self.trigger: Trigger = manifest.trigger
        self.min_interval_ns = manifest.min_interval_ms * 1_000_000
        self.bar = manifest.bar
        self.alpha_min = manifest.alpha_min
        self.lo = tuple(manifest.lo)
        self.hi = tuple(manifest.hi)
        self.regime = regime
        self.models = models
        self.drift = drift
        self._session = session
        self._binding = session.io_binding()
        self._buffers: dict[str, tuple[np.ndarray[Any, np.dtype[np.float32]], ort.OrtValue]] = {}
        for name, width in zip((*_INPUTS, *_OUTPUTS), (len(self.columns), 3, 1, 3, 1), strict=True):
            array = np.zeros((1, width), dtype=np.float32)
            value = ort.OrtValue.ortvalue_from_numpy(array)  # shares the array's memory on the CPU
            self._buffers[name] = (array, value)
            (self._binding.bind_ortvalue_input if name in _INPUTS else self._binding.bind_ortvalue_output)(name, value)
        self._obs, self._probs, self._action, self._actions, self._alpha = (
            self._buffers[name][0].data.cast("B").cast("f") for name in (*_INPUTS, *_OUTPUTS)
        )

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """One inference. obs: float32 [n], contiguous. ValueError when its width or type differs."""
        self._obs[:] = obs
        probs = self._probs
        probs[0], probs[1], probs[2] = regime_probs
        self._session.run_with_iobinding(self._binding)
        actions = self._actions
        return Target(self._action[0], self._alpha[0], (actions[0], actions[1], actions[2]))

    def evaluate_rows(
        self, obs: np.ndarray[Any, np.dtype[np.float32]], regime_probs: np.ndarray[Any, np.dtype[np.float32]]
    ) -> tuple[np.ndarray[Any, np.dtype[np.float32]], ...]:
        """Many observations at once, for offline use: action [N, 1], actions [N, 3], alpha [N, 1]; the bits of `evaluate`."""
        return tuple(self._session.run(list(_OUTPUTS), {"obs": obs, "regime_probs": regime_probs}))


def find_bundle(name_or_path: str, folders: Sequence[Path] | None = None) -> Path:
    """The folder of a bundle, by path (it holds a separator) or by name: first match in folders (default: what ships with us)."""
    if "/" in name_or_path or name_or_path.startswith("."):
        candidates = [Path(name_or_path)]
    else:
        candidates = [folder / name_or_path for folder in (folders if folders is not None else [shipped("models")])]
    for candidate in candidates:
        if (candidate / "manifest.toml").is_file():
            return candidate
    looked = ", ".join(str(c) for c in candidates)
    raise ConfigError(f"model {name_or_path!r} was not found (looked for manifest.toml in {looked}): check the name or give a path")


def load_bundle(
    name_or_path: str,
    *,
    catalogue_sha256: str,
    family: str | None = None,
    trigger: Trigger | None = None,
    known_columns: Container[str] | None = None,
    folders: Sequence[Path] | None = None,
) -> Bundle:
    """The bundle, after every check; ConfigError (one line) names the file, what does not match and what to do.

    catalogue_sha256, family, trigger, known_columns: of the daemon that will run it; None skips a check.
    """
    folder = find_bundle(name_or_path, folders)
    manifest_bytes = _read(folder, "manifest.toml")
    manifest = parse_manifest(manifest_bytes, f"model {folder / 'manifest.toml'}")
    _check_fit(folder, manifest, catalogue_sha256, family, trigger, known_columns)
    data = {name: _read(folder, name) for name in manifest.files}
    for name, content in data.items():
        if sha256(content) != manifest.files[name]:
            raise ConfigError(
                f"model {folder / name}: sha256 is {sha256(content)[:12]}..., the manifest says {manifest.files[name][:12]}...: "
                "the file changed after export; install or export the model again"
            )
    session = _session(folder, data[POLICY_FILE], len(manifest.columns))
    optional = [data.get(name, b"") for name in (MODELS_FILE, DRIFT_FILE)]
    bundle = Bundle(manifest, sha256(manifest_bytes), session, data[REGIME_FILE], *optional)
    _check_golden(folder, bundle, data[GOLDEN_FILE])
    return bundle


def _read(folder: Path, name: str) -> bytes:
    """The file's bytes, of a size that makes sense."""
    path = folder / name
    try:
        with path.open("rb") as f:
            data = f.read(_SIZE_MAX[name] + 1)
    except OSError as e:
        raise ConfigError(f"model {path}: cannot be read ({e.strerror}): install or export the model again") from None
    if len(data) > _SIZE_MAX[name]:
        raise ConfigError(f"model {path}: larger than the {_SIZE_MAX[name]} bytes that are accepted")
    return data


def _check_fit(
    folder: Path, manifest: Manifest, catalogue_sha256: str, family: str | None, trigger: str | None, known_columns: Container[str] | None
) -> None:
    """Does the bundle belong to this daemon, instrument and lane?"""
    where = f"model {folder / 'manifest.toml'}"
    if manifest.catalogue_sha256 != catalogue_sha256:
        raise ConfigError(
            f"{where}: made for feature catalogue {manifest.catalogue_sha256[:12]}..., this version has {catalogue_sha256[:12]}...: "
            "train or export the model again"
        )
    if known_columns is not None and (unknown := [c for c in manifest.columns if c not in known_columns]):
        raise ConfigError(f"{where}: features: unknown column {unknown[0]!r}")
    if family is not None and manifest.family != family:
        raise ConfigError(f"{where}: family is {manifest.family!r}, the instrument's is {family!r}: choose a model of that family")
    if trigger is not None and manifest.trigger != trigger:
        raise ConfigError(f"{where}: trigger is {manifest.trigger!r}, the lane asks for {trigger!r}: leave the lane's trigger out")


def _session(folder: Path, model: bytes, width: int) -> ort.InferenceSession:
    """The runtime's session over a graph of the expected shape."""
    path = folder / POLICY_FILE
    try:
        check_graph(model)
        session = ort.InferenceSession(model, session_options(), providers=["CPUExecutionProvider"])
    except GraphError as e:
        raise ConfigError(f"model {path}: {e}") from None
    except Exception as e:  # the runtime raises its own types, and plain RuntimeError
        raise ConfigError(f"model {path}: the runtime refused it: {' '.join(str(e).split())[:200]}") from None
    expected = dict(zip((*_INPUTS, *_OUTPUTS), (width, 3, 1, 3, 1), strict=True))
    given = {node.name: node for node in (*session.get_inputs(), *session.get_outputs())}
    if set(given) != set(expected):
        raise ConfigError(f"model {path}: inputs and outputs are {sorted(given)}, expected {sorted(expected)}")
    for name, node in given.items():
        if node.type != "tensor(float)":
            raise ConfigError(f"model {path}: {name} is {node.type}, expected tensor(float)")
        if len(node.shape) != 2 or node.shape[1] != expected[name] or isinstance(node.shape[0], int):
            raise ConfigError(f"model {path}: {name} has shape {node.shape}, the manifest asks for [N, {expected[name]}]")
    return session


def _check_golden(folder: Path, bundle: Bundle, data: bytes) -> None:
    """The graph must still say what it said when it was exported."""
    path = folder / GOLDEN_FILE
    try:
        golden = msgspec.json.decode(data, type=Golden)
        obs = np.array(golden.obs, dtype=np.float32)
        probs = np.array(golden.regime_probs, dtype=np.float32)
        expected = [np.array(getattr(golden, name), dtype=np.float32) for name in _OUTPUTS]
    except (msgspec.DecodeError, ValueError) as e:
        raise ConfigError(f"model {path}: {e}") from None
    rows = len(obs)
    shapes = [a.shape for a in (obs, probs, *expected)]
    if rows == 0 or shapes != [(rows, len(bundle.columns)), (rows, 3), (rows, 1), (rows, 3), (rows, 1)]:
        raise ConfigError(f"model {path}: shapes {shapes} do not fit the manifest's {len(bundle.columns)} columns")
    for row in range(rows):
        target = bundle.evaluate(memoryview(obs[row]), (float(probs[row, 0]), float(probs[row, 1]), float(probs[row, 2])))
        for name, got in (("action", [target.signal]), ("actions", target.actions), ("alpha", [target.alpha])):
            difference = float(np.abs(np.array(got, dtype=np.float64) - expected[_OUTPUTS.index(name)][row]).max())
            if not (difference <= GOLDEN_TOLERANCE):
                raise ConfigError(
                    f"model {path}: golden vector {row}: {name} differs by {difference:.2g} (allowed {GOLDEN_TOLERANCE:g}): "
                    "the weights or the runtime are not those of the export"
                )
