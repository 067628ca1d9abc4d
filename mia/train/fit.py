"""`mia-train fit`: markets -> tapes -> three SAC policies and a trade-probability head -> a bundle that passed its gate."""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from mia.backtest.distribution import distribution, write_distribution
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import KNOWN_COLUMNS
from mia.policy.bundle import GOLDEN_TOLERANCE, Bundle, load_bundle
from mia.policy.manifest import FORMAT, REGIMES, Manifest, Training
from mia.regime.filter import RegimeParams
from mia.shipped import config_file
from mia.train.account import SUPPORTED, PlanAccount
from mia.train.alpha import AlphaReport, fit_alpha, report, with_account
from mia.train.bundle_writer import write_bundle
from mia.train.card import performance_csv, write_card
from mia.train.counting import close_fit, open_fit
from mia.train.env import F32, Tape
from mia.train.evaluate import Decide, Result, evaluate
from mia.train.graph import PolicyWeights
from mia.train.importance import rank_columns
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
from mia.train.settings import REGIME_COLUMNS, FitSettings, recorded_instruments
from mia.train.tapes import Lost, Stretch, chosen, make_tape, recorded

CHECK_ROWS: Final = 2_000
GATE_SHARES: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.85)  # of openings that a candidate of alpha_min refuses
BASELINE_COLUMN: Final = "ema_gap_20_50"  # what the rule that every policy is compared with reads
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
) -> Fitted:
    """Train, export and prove a bundle in `out`; ConfigError when the export differs from SB3's own predict by more than 1e-5.

    recordings: raw frames that the card reports on; nothing is learned or chosen from them. ranking: a feature_importance.csv
    to choose the columns by, instead of one that is made from the training part.
    """
    started = time.perf_counter()
    account = PlanAccount(SUPPORTED)
    choose = _Choice(out, settings, ranking, say)
    parts = bar_parts(settings, bar_files, choose) if bar_files else simulated_parts(settings, choose)
    counted = open_fit(settings, bar_files, ranking, parts, GATE_SHARES)
    say(f"data: {sum(len(s.ts_ns) for s in parts.train)} training rows, {time.perf_counter() - started:.1f} s")
    raw = np.concatenate([s.features for s in parts.train])
    observation = _observation(parts, account, raw)
    tapes = [make_tape(s, observation, parts.params, _lost(parts, k)) for k, s in enumerate(parts.train)]
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
    bundle = _export(out, manifest, weights, parts.params, check, check_probs)
    difference = _gate(bundle, trained, check, check_probs)
    say(f"export: largest difference to SB3's predict over {len(check)} observations {difference:.1e}")
    alpha_min, choices = choose_alpha_min(bundle, parts, account, settings)
    say(f"alpha_min: {alpha_min:.3f}, chosen on validation from {choices}")
    results = compare(bundle, parts.test, parts, account, settings, alpha_min)
    close_fit(counted, choices, results["policy"])
    seen = recorded_results(bundle, recordings, parts, account, settings, alpha_min)
    metrics = _metrics(results, alpha, difference)
    manifest = msgspec.structs.replace(manifest, alpha_min=alpha_min, metrics=metrics)
    _export(out, manifest, weights, parts.params, check, check_probs)
    write_distribution(out, distribution(parts.train[0].columns, raw, manifest.catalogue_sha256, parts.bar))
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
            plain = msgspec.structs.replace(plain, normaliser=fit_normaliser(raw, 0))
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
    return Observation(columns=columns, own=own, normaliser=fit_normaliser(raw, own), weights=weights, masks=len(parts.masks))


def _lost(parts: Parts, number: int) -> Lost | None:
    return Lost(parts.train[0].columns, parts.masks, 1_000 + number) if parts.masks else None


def _check_inputs(tapes: Sequence[Tape], raw: Any, observation: Observation) -> tuple[F32, F32]:
    """Raw observations [N, n] with made-up accounts and masks, and their probabilities [N, 3], for golden vectors and the gate."""
    rng = np.random.default_rng(7)
    rows = np.linspace(0, len(raw) - 1, CHECK_ROWS).astype(np.int64)
    made_up = rng.uniform(-1.0, 1.0, size=(len(rows), observation.own))
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


def _manifest(name: str, parts: Parts, observation: Observation, raw: Any, settings: FitSettings, command: str) -> Manifest:
    """Everything but alpha_min, metrics and hashes."""
    train, validation, test = settings.seeds() if parts.trigger == "quote" else ([], [], [])
    low, high = raw.min(axis=0), raw.max(axis=0)
    span = np.maximum(high - low, 1e-6)
    features = observation.columns[: len(observation.columns) - observation.masks]
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
        lo=[*(low - _WIDE * span).tolist(), *[-1.01] * observation.own],
        hi=[*(high + _WIDE * span).tolist(), *[1.01] * observation.own],
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
            git_commit=_git_commit(),
            versions={
                "python": platform.python_version(),
                **{p: version(p) for p in ("numpy", "torch", "stable-baselines3", "onnx", "onnxruntime")},
            },
        ),
        metrics={},
    )


def _git_commit() -> str:
    """The commit of the sources; `unknown` outside of a checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _export(out: Path, manifest: Manifest, weights: PolicyWeights, params: RegimeParams, obs: F32, probs: F32) -> Bundle:
    """Write and load as the daemon would."""
    write_bundle(out, manifest, weights, msgspec.json.encode(params), obs, probs)
    return load_bundle(
        str(out.resolve()),
        catalogue_sha256=manifest.catalogue_sha256,
        family=manifest.family,
        trigger=manifest.trigger,
        known_columns=KNOWN_COLUMNS,
    )


def _gate(bundle: Bundle, trained: Sequence[Trained], obs: F32, probs: F32) -> float:
    """The largest difference between the exported graph and SB3's deterministic predict; ConfigError above 1e-5."""
    _, actions, _ = bundle.evaluate_rows(obs, probs)
    difference = float(np.abs(actions - np.stack([t.predicted for t in trained], axis=1)).max())
    if not (difference <= GOLDEN_TOLERANCE):
        raise ConfigError(f"export: the graph differs from the trained policies by {difference:.2g} (allowed {GOLDEN_TOLERANCE:g})")
    return difference


def _decider(bundle: Bundle) -> Decide:
    def decide(obs: F32, probs: F32) -> tuple[F32, F32]:
        action, _, alpha = bundle.evaluate_rows(obs, probs)
        return action[:, 0], alpha[:, 0]

    return decide


def _rule(columns: Sequence[str], kind: str) -> Decide:
    """flat, or the crossing of two averages, as a decision function over raw observations."""
    gap = list(columns).index(BASELINE_COLUMN)

    def decide(obs: F32, probs: F32) -> tuple[F32, F32]:
        signal = np.sign(obs[:, gap]) if kind == "ema_cross" else np.zeros(len(obs), np.float32)
        return signal, np.ones(len(obs), np.float32)

    return decide


def raw_tapes(stretches: Sequence[Stretch], params: RegimeParams, masks: int) -> list[Tape]:
    """Tapes with raw columns, for a bundle that normalises by itself."""
    return [make_tape(s, msgspec.structs.replace(Observation.raw(s.columns), masks=masks), params) for s in stretches]


def choose_alpha_min(
    bundle: Bundle, parts: Parts, account: PlanAccount, settings: FitSettings
) -> tuple[float, list[tuple[float, float, float, float]]]:
    """The lowest threshold whose mean net return on validation lies within one standard error of the best one's.

    Lowest, because a gate that refuses nearly everything looks good on few trades. Candidates that trade less than
    settings.fills_per_hour_min are left out. Returns it with every candidate: (threshold, net bps per hour, its
    standard error, fills per hour).
    """
    tapes = raw_tapes(parts.validation, parts.params, len(parts.masks))
    obs = np.concatenate(
        [np.concatenate([t.features, np.zeros((len(t.ts_ns), len(account.columns)), np.float32), t.masks], axis=1) for t in tapes]
    )
    action, _, alpha = bundle.evaluate_rows(obs, np.concatenate([t.probs for t in tapes]))
    opening = np.abs(action[:, 0]) > settings.env.dead_band
    seen = alpha[opening, 0] if opening.any() else alpha[:, 0]
    choices = []
    for share in GATE_SHARES:
        threshold = round(float(np.quantile(seen, share)), 4) if share else 0.0
        results = evaluate(_decider(bundle), tapes, account, settings.env, threshold)
        net = [r.return_bps_per_hour for r in results]
        error = float(np.std(net, ddof=1)) / len(net) ** 0.5 if len(net) > 1 else 0.0
        fills = float(np.mean([r.fills_per_hour for r in results]))
        choices.append((threshold, round(float(np.mean(net)), 1), round(error, 1), round(fills, 1)))
    useful = [c for c in choices if c[3] >= settings.fills_per_hour_min] or choices[:1]
    best = max(useful, key=lambda c: c[1])
    return next(c[0] for c in useful if c[1] >= best[1] - best[2]), choices


def compare(
    bundle: Bundle, test: Sequence[Stretch], parts: Parts, account: PlanAccount, settings: FitSettings, alpha_min: float
) -> dict[str, list[Result]]:
    """The bundle with and without its gate, and the rules, on the test stretches."""
    tapes = raw_tapes(test, parts.params, len(parts.masks))
    columns = test[0].columns
    return {
        "policy": evaluate(_decider(bundle), tapes, account, settings.env, alpha_min),
        "policy without the alpha gate": evaluate(_decider(bundle), tapes, account, settings.env),
        "ema_cross(20, 50)": evaluate(_rule(columns, "ema_cross"), tapes, account, settings.env),
        "flat": evaluate(_rule(columns, "flat"), tapes, account, settings.env),
    }


def recorded_results(
    bundle: Bundle, recordings: Sequence[Path], parts: Parts, account: PlanAccount, settings: FitSettings, alpha_min: float
) -> dict[str, dict[str, list[Result]]]:
    """The same comparison on each recording, by name; empty for bundles of bar columns, which need no recording."""
    if parts.trigger != "quote":
        return {}
    out = {}
    for path in recordings:
        columns = parts.test[0].columns
        stretch = recorded(path, recorded_instruments(), columns, REGIME_COLUMNS, BarSpec.parse(parts.bar), parts.min_interval_ms)
        stretch = chosen(stretch, columns)
        out[path.name] = compare(bundle, [stretch], parts, account, settings, alpha_min)
    return out


def _metrics(results: dict[str, list[Result]], alpha: AlphaReport, difference: float) -> dict[str, float]:
    """For the manifest."""
    policy = results["policy"]
    return {
        "return_bps_per_hour": float(np.mean([r.return_bps_per_hour for r in policy])),
        "turnover_per_hour": float(np.mean([r.turnover_per_hour for r in policy])),
        "ema_cross_return_bps_per_hour": float(np.mean([r.return_bps_per_hour for r in results["ema_cross(20, 50)"]])),
        "alpha_brier": alpha.brier,
        "alpha_brier_constant": alpha.brier_constant,
        "alpha_auc": alpha.auc,
        "export_difference_max": difference,
    }
