"""`mia-train fit`: markets -> tapes -> three SAC policies and a trade-probability head -> a bundle that passed its gate."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import math
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from mia.backtest.distribution import distribution, write_distribution
from mia.commit import git_commit
from mia.domain.errors import ConfigError
from mia.engine.lane import models_of
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import KNOWN_COLUMNS, mask_input
from mia.policy.bundle import GOLDEN_TOLERANCE, Bundle, load_bundle
from mia.policy.manifest import FORMAT, REGIMES, Manifest, Training
from mia.regime.filter import RegimeParams
from mia.shipped import config_file
from mia.train.account import INV_STD, SUPPORTED, PlanAccount
from mia.train.alpha import AlphaReport, fit_alpha, report, with_account
from mia.train.bundle_writer import write_bundle
from mia.train.card import performance_csv, write_card
from mia.train.compare import BASELINE_COLUMN, GATE_SHARES, choose_alpha_min, compare, metrics_of, recorded_results
from mia.train.counting import close_fit, open_fit
from mia.train.drift_file import write_drift
from mia.train.env import F32, Tape
from mia.train.graph import PolicyWeights
from mia.train.importance import rank_columns
from mia.train.known import read_known
from mia.train.lost import Lost
from mia.train.observation import (
    RANKING_FILE,
    Observation,
    choose_columns,
    find_ranking,
    fit_normaliser,
    regime_weights,
    write_ranking,
)
from mia.train.parts import Parts, bar_parts, simulated_parts
from mia.train.sac import SacSettings, Trained, train_regime
from mia.train.settings import FitSettings
from mia.train.tapes import Stretch, make_tape

CHECK_ROWS: Final = 2_000
_WIDE: Final = 3.0  # lo and hi lie this many spans of the training values outside of them


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command prints and the card shows."""

    folder: Path
    seconds: float
    difference: float
    alpha_min: float
    alpha: AlphaReport
    metrics: dict[str, float]


def fit(
    out: Path,
    settings: FitSettings,
    bar_files: Sequence[Path],
    recordings: Sequence[Path],
    command: str,
    say: Callable[[str], None],
    ranking: Path | None = None,
    models: Path | None = None,
    references: Sequence[tuple[str, Path]] = (),
) -> Fitted:
    """Train, export and prove a bundle in `out`; ConfigError when the export differs from SB3's own predict by more than 1e-5.

    recordings: raw frames that the card reports on; nothing is learned or chosen from them. ranking: a feature_importance.csv
    to choose the columns by, instead of one that is made from the training part. models: a file of `mia-train features`, whose columns
    may be chosen, too; it goes into the bundle. references: (series, file) beside candles.
    """
    started = time.perf_counter()
    account = PlanAccount(SUPPORTED)
    choose = _Choice(out, settings, ranking, say)
    known = read_known(models, references)
    if references and not bar_files:
        raise ConfigError("--reference: simulated markets have no such series: give candle files with --bars")
    make = functools.partial(bar_parts, files=bar_files) if bar_files else simulated_parts
    parts = make(settings, choose=choose, known=known, say=say)
    counted = open_fit(settings, bar_files, ranking, parts, GATE_SHARES)
    say(f"data: {sum(len(s.ts_ns) for s in parts.train)} training rows, {time.perf_counter() - started:.1f} s")
    raw = np.concatenate([s.features for s in parts.train])
    observation = _observation(parts, account, raw)
    tapes = [make_tape(s, observation, parts.params, _lost(parts, settings, 1_000 + k)) for k, s in enumerate(parts.train)]
    check, check_probs = _check_inputs(tapes, raw, observation)
    trained = _train_all(tapes, account, settings, observation.apply(check, check_probs))
    say(f"sac: {[round(t.seconds) for t in trained]} s, last rewards {[t.log[-1]['reward'] if t.log else None for t in trained]}")
    validation = [make_tape(s, observation, parts.params) for s in parts.validation]
    head, base = fit_alpha(tapes, validation, settings.alpha_horizon_s, settings.seed)
    alpha = report(head, base, [make_tape(s, observation, parts.params) for s in parts.test], settings.alpha_horizon_s)
    say(f"alpha: base rate {alpha.base_rate:.3f}, Brier {alpha.brier:.4f} (constant {alpha.brier_constant:.4f}), AUC {alpha.auc:.3f}")
    weights = PolicyWeights(
        mean=observation.normaliser.mean,
        inv_std=observation.normaliser.inv_std,
        clip=observation.normaliser.clip,
        gate=observation.weights,
        actors=[t.layers for t in trained],
        alpha=with_account(head, observation.own),
    )
    manifest = _manifest(out.name, parts, observation, raw, settings, command)
    bundle = _export(out, manifest, weights, parts, check, check_probs)
    difference = _gate(bundle, trained, check, check_probs)
    say(f"export: largest difference to SB3's predict over {len(check)} observations {difference:.1e}")
    alpha_min, choices = choose_alpha_min(bundle, parts, account, settings)
    say(f"alpha_min: {alpha_min:.3f}, chosen on validation from {choices}")
    results = compare(bundle, parts.test, parts, account, settings, alpha_min)
    close_fit(counted, choices, results["policy"])
    seen = recorded_results(bundle, recordings, parts, account, settings, alpha_min)
    metrics = metrics_of(results, alpha, difference, parts.masks)
    manifest = msgspec.structs.replace(manifest, alpha_min=alpha_min, metrics=metrics)
    _export(out, manifest, weights, parts, check, check_probs)
    write_distribution(out, distribution(parts.train[0].columns, raw, manifest.catalogue_sha256, parts.bar))
    write_drift(out, parts.train[0].columns, raw, parts.bar)
    (out / "train_sac_performance.csv").write_text(performance_csv(trained), encoding="utf-8")
    fitted = Fitted(
        folder=out, seconds=time.perf_counter() - started, difference=difference, alpha_min=alpha_min, alpha=alpha, metrics=metrics
    )
    write_card(out / "card.md", manifest, fitted, results, seen, settings, [t.seconds for t in trained])
    return fitted


class _Choice:
    """Ranks the columns of the training part, unless a ranking was given, and takes the observation's from the top."""

    def __init__(self, out: Path, settings: FitSettings, ranking: Path | None, say: Callable[[str], None]) -> None:
        self._out, self._settings, self._ranking, self._say = out, settings, ranking, say

    def __call__(self, train: Sequence[Stretch], params: RegimeParams) -> tuple[str, ...]:
        """Names for the market part of the observation, the inputs of the filter and of the baseline among them."""
        catalogue = shipped_catalogue()
        usable = train[0].columns
        self._out.mkdir(parents=True, exist_ok=True)
        kept = self._out / RANKING_FILE
        if self._ranking is not None:
            found = find_ranking(self._ranking, kept, config_file(RANKING_FILE), catalogue)
            self._say(f"columns: by {found.source}" + (f" ({found.problem})" if found.problem else ""))
            names = found.names
        else:
            plain = Observation.raw(usable)
            raw = np.concatenate([s.features for s in train])
            plain = msgspec.structs.replace(plain, normaliser=fit_normaliser(raw, ()))
            tapes = [make_tape(s, plain, params) for s in (train if len(train) >= 4 else _quarters(train))]
            ranked = rank_columns(tapes, self._settings.alpha_horizon_s, self._settings.seed)
            write_ranking(kept, ranked)
            names = tuple(r.feature for r in ranked)
            self._say(f"columns: best of {len(usable)} usable ones: {', '.join(names[:8])}, ...")
        room = self._settings.columns - len(SUPPORTED)
        columns = choose_columns(names, catalogue, set(usable), room)
        missing = [c for c in (*params.columns, BASELINE_COLUMN) if c not in columns]
        return (*columns[: room - len(missing)], *missing)


def _quarters(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Few and long stretches as four parts each, in order of time."""
    found = []
    for s in stretches:
        edges = np.linspace(0, len(s.ts_ns), 5).astype(int)
        for start, stop in itertools.pairwise(edges.tolist()):
            cut = {name: getattr(s, name)[start:stop] for name in ("ts_ns", "features", "bid_ticks", "ask_ticks", "labels")}
            found.append(msgspec.structs.replace(s, **cut))
    return found


def _observation(parts: Parts, account: PlanAccount, raw: Any) -> Observation:
    columns = (*parts.train[0].columns, *account.columns, *parts.masks)
    own = len(account.columns) + len(parts.masks)
    weights = regime_weights(config_file("regime_weights.toml"), columns, shipped_catalogue())
    normaliser = fit_normaliser(raw, [INV_STD.get(c, 1.0) for c in columns[-own:]])
    return Observation(columns=columns, own=own, normaliser=normaliser, weights=weights, masks=len(parts.masks))


def _lost(parts: Parts, settings: FitSettings, seed: int) -> Lost:
    return Lost(parts.train[0].columns, parts.masks, seed, settings.lost_share, settings.lost_rows)


def _check_inputs(tapes: Sequence[Tape], raw: Any, observation: Observation) -> tuple[F32, F32]:
    """Raw observations [N, n] with made-up accounts and masks, and their probabilities [N, 3], for golden vectors and the gate."""
    rng = np.random.default_rng(7)
    rows = np.linspace(0, len(raw) - 1, CHECK_ROWS).astype(np.int64)
    low, high = np.array([(max(a, -1.0), min(b, 1.0)) for a, b in _own_ranges(observation)]).T
    made_up = np.clip(rng.uniform(-1.0, 1.0, size=(len(rows), observation.own)), low, high)
    probs = np.concatenate([t.probs for t in tapes])[rows]
    return np.concatenate([raw[rows], made_up], axis=1).astype(np.float32), probs.astype(np.float32)


def _train_all(tapes: Sequence[Tape], account: PlanAccount, settings: FitSettings, check: F32) -> list[Trained]:
    """The three regimes, in processes of their own; the result does not depend on how many."""
    sac = SacSettings(steps=settings.steps, hidden=settings.hidden, learning_starts=min(500, settings.steps // 4))
    jobs = [(k, tapes, account, settings.env, sac, settings.seed + k, check) for k in range(3)]
    if settings.workers <= 1:
        return [train_regime(*job) for job in jobs]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(settings.workers, mp_context=context) as pool:
        return [f.result() for f in [pool.submit(train_regime, *job) for job in jobs]]


def _own_ranges(observation: Observation) -> list[tuple[float, float]]:
    """(lowest, highest) value of the account's columns by the catalogue, then of the masks."""
    features = observation.columns[: len(observation.columns) - observation.masks]
    return [*(shipped_catalogue().get(c).range for c in features[observation.market :]), *[(0.0, 1.0)] * observation.masks]


def _manifest(name: str, parts: Parts, observation: Observation, raw: Any, settings: FitSettings, command: str) -> Manifest:
    """Everything but alpha_min, metrics and hashes."""
    train, validation, test = settings.seeds() if parts.trigger == "quote" else ([], [], [])
    low, high = raw.min(axis=0), raw.max(axis=0)
    low, high = _with_neutral(low, high, parts)
    span = np.maximum(high - low, 1e-6)
    features = observation.columns[: len(observation.columns) - observation.masks]
    own = _own_ranges(observation)
    return Manifest(
        format=FORMAT,
        name=name,
        family=parts.train[0].instrument.family,
        trigger="quote" if parts.trigger == "quote" else "bar",
        min_interval_ms=parts.min_interval_ms,
        bar=parts.bar,
        catalogue_sha256=shipped_catalogue().hash,
        features=list(features),
        masks=list(parts.masks),
        lo=[*(low - _WIDE * span).tolist(), *(bounds[0] - 0.01 for bounds in own)],
        hi=[*(high + _WIDE * span).tolist(), *(bounds[1] + 0.01 for bounds in own)],
        alpha_min=0.0,
        alpha_horizon_s=settings.alpha_horizon_s,
        algorithms=dict.fromkeys(REGIMES, "sac"),
        files={},
        training=Training(
            command=command,
            spans=parts.spans,
            seeds_train=train,
            seeds_validation=validation,
            seeds_test=test,
            steps=settings.steps,
            git_commit=git_commit(),
            versions={
                "python": platform.python_version(),
                **{p: version(p) for p in ("numpy", "torch", "stable-baselines3", "onnx", "onnxruntime")},
            },
        ),
        metrics={},
    )


def _with_neutral(low: Any, high: Any, parts: Parts) -> tuple[Any, Any]:
    """The limits of columns under a mask, widened to the value that they show when their input is lost, which must be no odd one."""
    features = [shipped_catalogue().get(name) for name in parts.train[0].columns]
    inputs = {mask_input(m) for m in parts.masks}
    stand_in = np.array([f.neutral if inputs & set(f.inputs) else math.nan for f in features])
    return np.fmin(low, stand_in), np.fmax(high, stand_in)


def _export(out: Path, manifest: Manifest, weights: PolicyWeights, parts: Parts, obs: F32, probs: F32) -> Bundle:
    """Write and load as the daemon would; ConfigError also when a lane would not take its models."""
    models = parts.known.models
    data = models.encode() if models is not None else b""
    write_bundle(out, manifest, weights, msgspec.json.encode(parts.params), obs, probs, data)
    bundle = load_bundle(
        str(out.resolve()),
        catalogue_sha256=manifest.catalogue_sha256,
        family=manifest.family,
        trigger=manifest.trigger,
        known_columns=KNOWN_COLUMNS,
    )
    models_of(bundle, str(out))
    return bundle


def _gate(bundle: Bundle, trained: Sequence[Trained], obs: F32, probs: F32) -> float:
    """The largest difference between the exported graph and SB3's deterministic predict; ConfigError above 1e-5."""
    _, actions, _ = bundle.evaluate_rows(obs, probs)
    difference = float(np.abs(actions - np.stack([t.predicted for t in trained], axis=1)).max())
    if not (difference <= GOLDEN_TOLERANCE):
        raise ConfigError(f"export: the graph differs from the trained policies by {difference:.2g} (allowed {GOLDEN_TOLERANCE:g})")
    return difference
