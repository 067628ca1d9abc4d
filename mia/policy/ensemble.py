"""Several strategies as one: each is asked about the same moment, and their signals are blended by fixed weights.

The file states weights and members, and the digest of each member that the weights were fitted for. Members decide on the same bars.
What a member said last is its own (`last_action`, `last_alpha`, `policy_dispersion`): the engine keeps it, over a restart, too. The
position and the other columns of the account are those of the whole.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from mia.domain.errors import ConfigError
from mia.policy.rules.base import Rule
from mia.policy.strategy import TRIGGERS, Strategy, Target, Trigger

PREFIX: Final = "ensemble:"
FORMAT: Final = 1
MEMBERS_MAX: Final = 64
OWN: Final = ("last_action", "last_alpha", "policy_dispersion")  # columns of what a member itself said last
_LOWEST: Final = (-1.0, 0.0, 0.0)  # of OWN
_SUM_OFF: Final = 1e-9
_FEW: Final = 16  # columns that are copied one by one sooner than by an array
_SIZE_MAX: Final = 4 << 20


Inputs = Mapping[str, Sequence[str]]


class Said(NamedTuple):
    """What a member said last, in the order of OWN."""

    action: float = 0.0
    alpha: float = 0.0
    dispersion: float = 0.0


class MemberFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """strategy, params: as in [[lanes]]; sha256: of the strategy that the weight was fitted for."""

    strategy: str
    weight: float
    sha256: str
    params: dict[str, bool | float] = {}


class EnsembleFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The plain file (JSON). trigger, min_interval_ms, bar: of rules among the members; models bring the same. fitted: for people."""

    format: int
    name: str
    method: str
    bar: str
    trigger: Trigger
    min_interval_ms: int
    members: list[MemberFile]
    fitted: dict[str, Any] = {}


def read_ensemble(path: Path) -> tuple[EnsembleFile, str]:
    """The checked file and its sha256; ConfigError names what is wrong."""
    where = f"ensemble {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_MAX + 1)
        found = msgspec.json.decode(data, type=EnsembleFile)
    except OSError as e:
        raise ConfigError(f"{where}: cannot be read ({e.strerror}): `mia backtest ensemble fit --out FILE` writes one") from None
    except msgspec.MsgspecError as e:
        raise ConfigError(f"{where}: is no ensemble: {e}") from None
    if found.format != FORMAT:
        raise ConfigError(f"{where}: format {found.format} is not {FORMAT}: fit it again with this version")
    if not (1 <= len(found.members) <= MEMBERS_MAX):
        raise ConfigError(f"{where}: {len(found.members)} members: use 1 to {MEMBERS_MAX}")
    if found.trigger not in TRIGGERS or not (0 <= found.min_interval_ms <= 86_400_000):
        raise ConfigError(f"{where}: trigger must be one of {', '.join(TRIGGERS)}, min_interval_ms within 0..86400000")
    for member in found.members:
        if member.strategy.startswith(PREFIX):
            raise ConfigError(f"{where}: {member.strategy}: an ensemble is no member of another: name its members")
        if not (math.isfinite(member.weight) and 0.0 <= member.weight <= 1.0):
            raise ConfigError(f"{where}: weight of {member.strategy} is {member.weight}: it must lie in 0..1")
    total = math.fsum(member.weight for member in found.members)
    if abs(total - 1.0) > _SUM_OFF:
        raise ConfigError(f"{where}: the weights add up to {total:.12g}, not to 1")
    return found, hashlib.sha256(data).hexdigest()


def load_ensemble(path: Path, load: Callable[[EnsembleFile, MemberFile], Strategy], inputs: Inputs) -> Ensemble:
    """The ensemble of a file; ConfigError names the file, the member and what does not fit.

    load: makes one member; inputs: what each column of the catalogue reads.
    """
    found, digest = read_ensemble(path)
    members = []
    for entry in found.members:
        try:
            strategy = load(found, entry)
        except ConfigError as e:
            raise ConfigError(f"ensemble {path}: {e}") from e
        if strategy.sha256 != entry.sha256:
            raise ConfigError(
                f"ensemble {path}: {strategy.name} is {strategy.sha256[:12]}..., the weights were fitted for {entry.sha256[:12]}...: "
                "fit the ensemble again, or bring the member back"
            )
        members.append(strategy)
    bar = (found.bar, found.trigger, found.min_interval_ms * 1_000_000)
    return Ensemble(found.name, digest, members, [entry.weight for entry in found.members], bar, inputs, f"ensemble {path}")


class _Member:
    """One member with its buffer, and where its columns lie among those of all."""

    __slots__ = ("buffer", "few", "obs", "own", "places", "sources", "strategy", "weight")

    def __init__(self, strategy: Strategy, weight: float, columns: Sequence[str]) -> None:
        self.strategy: Final = strategy
        self.weight: Final = weight
        width = len(strategy.columns)
        self.obs: Final = memoryview(array("f", bytes(4 * max(width, 1))))[:width]
        self.buffer: Final = _array(self.obs)  # the same memory
        self.own: Final = [(k, OWN.index(name)) for k, name in enumerate(strategy.columns) if name in OWN]
        self.places: Final = np.array([k for k, name in enumerate(strategy.columns) if name not in OWN], dtype=np.int64)
        self.sources: Final = np.array([columns.index(name) for name in strategy.columns if name not in OWN], dtype=np.int64)
        pairs = tuple(zip(self.places.tolist(), self.sources.tolist(), strict=True))
        self.few: Final = pairs if len(pairs) <= _FEW else None  # (place, source) of each column, where there are few

    def ask(self, shown: memoryview, regime_probs: Sequence[float], last: Said) -> Target:
        if self.few is None:
            self.buffer[self.places] = _array(shown)[self.sources]
        else:
            for place, source in self.few:
                self.obs[place] = shown[source]
        for k, which in self.own:
            self.buffer[k] = max(_LOWEST[which], min(1.0, last[which]))  # as the account's own columns
        return self.strategy.evaluate(self.obs, regime_probs)


class Ensemble:
    """Members and their weights as one Strategy; signal, alpha and actions are the weighted means of the members'.

    Not thread-safe: its buffers are reused by every call.
    """

    def __init__(
        self,
        name: str,
        sha256: str,
        members: Sequence[Strategy],
        weights: Sequence[float],
        bar: tuple[str, Trigger, int],
        inputs: Inputs,
        where: str,
    ) -> None:
        """bar: bars, trigger and least interval of all; weights: add up to 1. ConfigError (`where`) names members that do not fit."""
        _check_one_kind(members, bar, where)
        _check_masks(members, inputs, where)
        named = dict.fromkeys(column for member in members for column in member.columns)
        self.columns = tuple(sorted(named, key=lambda column: column.startswith("has(")))  # masks last, else in order of first use
        self.name = name
        self.sha256 = sha256
        self.bar, self.trigger, self.min_interval_ns = bar
        self.alpha_min = math.fsum(w * m.alpha_min for w, m in zip(weights, members, strict=True))
        self.lo, self.hi = _bounds(members, self.columns)
        self.regime = next((m.regime for m in members if m.regime), b"")
        self.models = next((m.models for m in members if m.models), b"")
        self.drift = _drift([m.drift for m in members if m.drift])
        self._members = [_Member(m, w, self.columns) for m, w in zip(members, weights, strict=True)]

    @property
    def members(self) -> tuple[Strategy, ...]:
        """In the order of the file."""
        return tuple(member.strategy for member in self._members)

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The target of members that have said nothing yet; see Strategy. The engine calls `blend`."""
        return self.blend(obs, regime_probs, ())[0]

    def blend(self, obs: memoryview, regime_probs: Sequence[float], said: Sequence[Said]) -> tuple[Target, tuple[Said, ...]]:
        """The target, and what each member said; said: what each said before, () when nothing.

        A member without a usable answer (not finite, signal out of [-1, 1]) makes its own answer that of all, which the engine refuses
        with its code; weights are not spread over the others.
        """
        signal = alpha = a = b = c = 0.0
        bad: Target | None = None
        after = []
        for k, member in enumerate(self._members):
            before = said[k] if said else Said()
            target = member.ask(obs, regime_probs, before)
            x, p, weight, of_three = target.signal, target.alpha, member.weight, target.actions
            if not (-1.0 <= x <= 1.0 and math.isfinite(p)):
                bad = bad or target
                after.append(before if not (math.isfinite(x) and math.isfinite(p)) else Said(x, p, _spread(of_three)))
                continue
            after.append(Said(x, p, _spread(of_three)))
            signal += weight * x
            alpha += weight * p
            a += weight * of_three[0]
            b += weight * of_three[1]
            c += weight * of_three[2]
        if bad is not None:
            return bad, tuple(after)
        # Weights add up to 1 but for rounding, which must not carry a signal of 1 out of its range.
        return Target(max(-1.0, min(1.0, signal)), max(0.0, min(1.0, alpha)), (a, b, c)), tuple(after)


def _array(obs: memoryview) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(obs, dtype=np.float32) if len(obs) else np.zeros(0, dtype=np.float32)


def _spread(actions: tuple[float, float, float]) -> float:
    """Population standard deviation, as the engine's own column has it."""
    a, b, c = actions
    mean = (a + b + c) / 3.0
    variance = ((a - mean) * (a - mean) + (b - mean) * (b - mean) + (c - mean) * (c - mean)) / 3.0
    return math.sqrt(variance) if variance > 0.0 else 0.0


def _check_one_kind(members: Sequence[Strategy], bar: tuple[str, Trigger, int], where: str) -> None:
    """Same bars, trigger and interval; one regime model and one set of feature models among those that have any."""
    for member in members:
        for what, own, common in zip(
            ("bars", "trigger", "min_interval_ns"), (member.bar, member.trigger, member.min_interval_ns), bar, strict=True
        ):
            if own != common:
                raise ConfigError(f"{where}: {member.name}: {what} {own}, the ensemble has {common}: members decide on the same bars")
    models = [m for m in members if not isinstance(m, Rule)]  # rules ask nothing of regimes
    for what, kinds in (
        ("regime.json", {m.regime: m.name for m in models}),
        ("feature_models.json", {m.models: m.name for m in models if m.models}),
    ):
        if len(kinds) > 1:
            names = " and ".join(list(kinds.values())[:2])
            raise ConfigError(f"{where}: {names} bring different {what}: a lane has one; use models that were fitted with the same")


def _drift(files: Sequence[bytes]) -> bytes:
    """How the columns of all were spread in training; of one that several watch, as the first member says. The lane checks it."""
    if len(set(files)) < 2:
        return files[0] if files else b""
    parts = [msgspec.json.decode(data, type=dict[str, Any]) for data in files]
    columns = {name: spread for part in reversed(parts) for name, spread in part["columns"].items()}
    return msgspec.json.encode({**parts[0], "columns": columns})


def _check_masks(members: Sequence[Strategy], inputs: Inputs, where: str) -> None:
    """A mask lets a decision go on without its input: a member that reads the input and not the mask would see a stand-in for a number."""
    for mask in dict.fromkeys(c for m in members for c in m.columns if c.startswith("has(")):
        with_mask = next(m for m in members if mask in m.columns)
        for member in members:
            reads = [c for c in member.columns if mask[4:-1] in inputs.get(c, ()) and c not in OWN]
            if reads and mask not in member.columns:
                raise ConfigError(
                    f"{where}: {with_mask.name} can do without {mask[4:-1]} ({mask}), {member.name} cannot ({reads[0]}): "
                    "they cannot share a lane"
                )


def _bounds(members: Sequence[Strategy], columns: Sequence[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of each column the narrowest: out of the range of one member the ensemble is not asked."""
    lo, hi = dict.fromkeys(columns, -math.inf), dict.fromkeys(columns, math.inf)
    for member in members:
        for name, low, high in zip(member.columns, member.lo, member.hi, strict=True):
            lo[name], hi[name] = max(lo[name], low), min(hi[name], high)
    return tuple(lo[name] for name in columns), tuple(hi[name] for name in columns)
