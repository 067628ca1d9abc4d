"""`mia-train fit`: markets -> tapes -> three SAC policies and a trade-probability head -> a bundle that passed its gate."""

from __future__ import annotations

import concurrent.futures
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
from mia.policy.bundle import GOLDEN_TOLERANCE, Bundle, load_bundle
from mia.policy.manifest import FORMAT, REGIMES, Manifest, Training
from mia.regime.filter import RegimeParams
from mia.train.account import SUPPORTED, PlanAccount
from mia.train.alpha import AlphaReport, fit_alpha, report, with_account
from mia.train.bundle_writer import write_bundle
from mia.train.card import performance_csv, write_card
from mia.train.env import F32, Tape
from mia.train.evaluate import Decide, Result, evaluate
from mia.train.graph import PolicyWeights
from mia.train.regime_fit import fit_by_moments, fit_regime
from mia.train.sac import SacSettings, Trained, train_regime
from mia.train.settings import (
    BAR_COLUMNS,
    BAR_REGIME_COLUMNS,
    MARKET_COLUMNS,
    REGIME_COLUMNS,
    FitSettings,
    perpetual,
    recorded_instruments,
)
from mia.train.tapes import Normaliser, Stretch, fit_normaliser, from_bar_file, make_tape, recorded, simulated

CHECK_ROWS: Final = 2_000
_BAR_1S: Final = "time:1s"
_WIDE: Final = 3.0  # lo and hi lie this many spans of the training values outside of them


class Parts(msgspec.Struct):
    """What one fit works on. train is sampled at the training cadence; validation and test at that of live."""

    bar: str
    trigger: str
    min_interval_ms: int
    train: list[Stretch]
    validation: list[Stretch]
    test: list[Stretch]
    spans: list[str]
    params: RegimeParams


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command prints and the card shows."""

    folder: Path
    seconds: float
    difference: float
    alpha_min: float
    alpha: AlphaReport
    metrics: dict[str, float]


def fit(
    out: Path, settings: FitSettings, bar_files: Sequence[Path], recordings: Sequence[Path], command: str, say: Callable[[str], None]
) -> Fitted:
    """Train, export and prove a bundle in `out`; ConfigError when the export differs from SB3's own predict by more than 1e-5.

    recordings: raw frames that the card reports on; nothing is learned or chosen from them.
    """
    started = time.perf_counter()
    parts = bar_parts(settings, bar_files) if bar_files else simulated_parts(settings)
    say(f"data: {sum(len(s.ts_ns) for s in parts.train)} training rows, {time.perf_counter() - started:.1f} s")
    account = PlanAccount(SUPPORTED)
    columns = parts.train[0].columns
    raw = np.concatenate([s.features for s in parts.train])
    normaliser = fit_normaliser(raw, len(account.columns))
    tapes = [make_tape(s, normaliser, parts.params) for s in parts.train]
    check, check_probs = _check_inputs(tapes, raw, account, normaliser)
    trained = _train_all(tapes, account, settings, normaliser.apply(check))
    say(f"sac: {[round(t.seconds) for t in trained]} s, last rewards {[t.log[-1]['reward'] if t.log else None for t in trained]}")
    validation = [make_tape(s, normaliser, parts.params) for s in parts.validation]
    head, base = fit_alpha(tapes, validation, settings.alpha_horizon_s, settings.seed)
    alpha = report(head, base, [make_tape(s, normaliser, parts.params) for s in parts.test], settings.alpha_horizon_s)
    say(f"alpha: base rate {alpha.base_rate:.3f}, Brier {alpha.brier:.4f} (constant {alpha.brier_constant:.4f}), AUC {alpha.auc:.3f}")
    weights = PolicyWeights(
        mean=normaliser.mean,
        inv_std=normaliser.inv_std,
        clip=normaliser.clip,
        actors=[t.layers for t in trained],
        alpha=with_account(head, len(account.columns)),
    )
    manifest = _manifest(out.name, parts, (*columns, *account.columns), raw, settings, command)
    bundle = _export(out, manifest, weights, parts.params, check, check_probs)
    difference = _gate(bundle, trained, check, check_probs)
    say(f"export: largest difference to SB3's predict over {len(check)} observations {difference:.1e}")
    alpha_min, choices = choose_alpha_min(bundle, parts, account, settings)
    say(f"alpha_min: {alpha_min:.3f}, chosen on validation from {choices}")
    results = compare(bundle, parts.test, parts, account, settings, alpha_min)
    seen = recorded_results(bundle, recordings, parts, account, settings, alpha_min)
    metrics = _metrics(results, alpha, difference)
    manifest = msgspec.structs.replace(manifest, alpha_min=alpha_min, metrics=metrics)
    _export(out, manifest, weights, parts.params, check, check_probs)
    write_distribution(out, distribution(columns, raw, manifest.catalogue_sha256, parts.bar))
    (out / "train_sac_performance.csv").write_text(performance_csv(trained), encoding="utf-8")
    fitted = Fitted(
        folder=out, seconds=time.perf_counter() - started, difference=difference, alpha_min=alpha_min, alpha=alpha, metrics=metrics
    )
    write_card(out / "card.md", manifest, fitted, results, seen, settings, [t.seconds for t in trained])
    return fitted


def simulated_parts(settings: FitSettings) -> Parts:
    """Simulated markets from three disjoint ranges of seeds."""
    instrument, bars = perpetual(), BarSpec.parse(_BAR_1S)
    train, validation, test = settings.seeds()

    def make(seeds: list[int], every_ms: int) -> list[Stretch]:
        return [simulated(s, settings.market_s, instrument, MARKET_COLUMNS, REGIME_COLUMNS, bars, every_ms) for s in seeds]

    stretches = make(train, settings.decide_every_ms)
    params = fit_regime(REGIME_COLUMNS, [(s.bar_inputs, s.bar_labels) for s in stretches])
    spans = [f"simulated BTCUSDT perpetual, {len(train)} markets of {settings.market_s:g} s, taker fee {instrument.taker_fee}"]
    return Parts(_BAR_1S, "quote", 100, stretches, make(validation, 100), make(test, 100), spans, params)


def bar_parts(settings: FitSettings, files: Sequence[Path]) -> Parts:
    """Candle files, each cut by time: 60 % training, 20 % validation, 20 % test; a gap of 60 bars between the parts."""
    whole = [from_bar_file(f, perpetual(), BAR_COLUMNS, BAR_REGIME_COLUMNS) for f in files]
    parts: list[list[Stretch]] = [[], [], []]
    for stretch in whole:
        n = len(stretch.ts_ns)
        for k, (start, stop) in enumerate(((0, 0.6), (0.6, 0.8), (0.8, 1.0))):
            first = int(start * n) + (60 if k else 0)
            parts[k].append(_cut(stretch, first, int(stop * n)))
    params = fit_by_moments(BAR_REGIME_COLUMNS, [s.bar_inputs for s in parts[0]])
    interval_ns = int(np.median(np.diff(whole[0].ts_ns)))
    spans = [f"{s.name}: {np.datetime64(int(s.ts_ns[0]), 'ns')} to {np.datetime64(int(s.ts_ns[-1]), 'ns')}" for s in parts[0]]
    bar = BarSpec.parse(f"time:{interval_ns // 1_000_000}ms").text
    return Parts(bar, "bar", 0, parts[0], parts[1], parts[2], spans, params)


def _cut(s: Stretch, start: int, stop: int) -> Stretch:
    """Rows start .. stop - 1 and the bars before them that the filter needs to be warm."""
    if stop - start < 300:
        raise ConfigError(f"{s.name}: {stop - start} bars in a part are too few to train or judge on: give a longer file")
    bars = slice(max(0, start - 200), stop)
    cut = {name: getattr(s, name)[start:stop] for name in ("ts_ns", "features", "bid_ticks", "ask_ticks", "labels")}
    return msgspec.structs.replace(s, **cut, **{name: getattr(s, name)[bars] for name in ("bar_ts_ns", "bar_inputs", "bar_labels")})


def _check_inputs(tapes: Sequence[Tape], raw: Any, account: PlanAccount, normaliser: Normaliser) -> tuple[F32, F32]:
    """Raw observations [N, n] with made-up accounts, and their probabilities [N, 3], for golden vectors and the gate."""
    rng = np.random.default_rng(7)
    rows = np.linspace(0, len(raw) - 1, CHECK_ROWS).astype(np.int64)
    made_up = rng.uniform(-1.0, 1.0, size=(len(rows), len(account.columns)))
    probs = np.concatenate([t.probs for t in tapes])[rows]
    return np.concatenate([raw[rows], made_up], axis=1).astype(np.float32), probs.astype(np.float32)


def _train_all(tapes: Sequence[Tape], account: PlanAccount, settings: FitSettings, check: F32) -> list[Trained]:
    """The three regimes, in processes of their own; the result does not depend on how many."""
    sac = SacSettings(steps=settings.steps, learning_starts=min(500, settings.steps // 4))
    jobs = [(k, tapes, account, settings.env, sac, settings.seed + k, check) for k in range(3)]
    if settings.workers <= 1:
        return [train_regime(*job) for job in jobs]
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(settings.workers, mp_context=context) as pool:
        return [f.result() for f in [pool.submit(train_regime, *job) for job in jobs]]


def _manifest(name: str, parts: Parts, columns: Sequence[str], raw: Any, settings: FitSettings, command: str) -> Manifest:
    """Everything but alpha_min, metrics and hashes."""
    train, validation, test = settings.seeds() if parts.trigger == "quote" else ([], [], [])
    low, high = raw.min(axis=0), raw.max(axis=0)
    span = np.maximum(high - low, 1e-6)
    extra = len(columns) - raw.shape[1]
    return Manifest(
        format=FORMAT,
        name=name,
        family=parts.train[0].instrument.family,
        trigger="quote" if parts.trigger == "quote" else "bar",
        min_interval_ms=parts.min_interval_ms,
        bar=parts.bar,
        catalogue_sha256=shipped_catalogue().hash,
        features=list(columns),
        masks=[],
        lo=[*(low - _WIDE * span).tolist(), *[-1.01] * extra],
        hi=[*(high + _WIDE * span).tolist(), *[1.01] * extra],
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
    known = {*shipped_catalogue().names}
    return load_bundle(
        str(out.resolve()),
        catalogue_sha256=manifest.catalogue_sha256,
        family=manifest.family,
        trigger=manifest.trigger,
        known_columns=known,
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
    gap = list(columns).index("ema_gap_20_50")

    def decide(obs: F32, probs: F32) -> tuple[F32, F32]:
        signal = np.sign(obs[:, gap]) if kind == "ema_cross" else np.zeros(len(obs), np.float32)
        return signal, np.ones(len(obs), np.float32)

    return decide


def raw_tapes(stretches: Sequence[Stretch], params: RegimeParams) -> list[Tape]:
    """Tapes with raw columns, for a bundle that normalises by itself."""
    width = len(stretches[0].columns)
    same = Normaliser(np.zeros(width, np.float32), np.ones(width, np.float32), 1e30)
    return [make_tape(s, same, params) for s in stretches]


def choose_alpha_min(
    bundle: Bundle, parts: Parts, account: PlanAccount, settings: FitSettings
) -> tuple[float, list[tuple[float, float, float, float]]]:
    """The lowest threshold whose mean net return on validation lies within one standard error of the best one's.

    Lowest, because a gate that refuses nearly everything looks good on few trades. Candidates that trade less than
    settings.fills_per_hour_min are left out. Returns it with every candidate: (threshold, net bps per hour, its
    standard error, fills per hour).
    """
    tapes = raw_tapes(parts.validation, parts.params)
    obs = np.concatenate([np.concatenate([t.features, np.zeros((len(t.ts_ns), len(account.columns)), np.float32)], axis=1) for t in tapes])
    action, _, alpha = bundle.evaluate_rows(obs, np.concatenate([t.probs for t in tapes]))
    opening = np.abs(action[:, 0]) > settings.env.dead_band
    seen = alpha[opening, 0] if opening.any() else alpha[:, 0]
    choices = []
    for share in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.85):
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
    tapes = raw_tapes(test, parts.params)
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
        stretch = recorded(path, recorded_instruments(), MARKET_COLUMNS, REGIME_COLUMNS, BarSpec.parse(parts.bar), parts.min_interval_ms)
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
