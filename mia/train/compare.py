"""What a bundle earns on stretches that it was not trained on: beside rules, without its gate, and without each input it may lose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mia.features.bars import BarSpec
from mia.features.plan import mask_input
from mia.policy.bundle import Bundle
from mia.train.account import PlanAccount
from mia.train.alpha import AlphaReport
from mia.train.env import F32, Tape
from mia.train.evaluate import Decide, Result, evaluate
from mia.train.lost import Lost
from mia.train.observation import Observation
from mia.train.parts import Parts
from mia.train.settings import FitSettings, recorded_instruments
from mia.train.tapes import Stretch, chosen, make_tape, recorded

BASELINE_COLUMN: Final = "ema_gap_20_50"  # what the rule that every policy is compared with reads
GATE_SHARES: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.85)  # of openings that a candidate of alpha_min refuses


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


def raw_tapes(stretches: Sequence[Stretch], parts: Parts, without: str = "") -> list[Tape]:
    """Tapes with raw columns, for a bundle that normalises by itself. without: a mask whose input is never there."""
    lost = Lost(stretches[0].columns, parts.masks, 0, 1.0, 1, without) if without else None
    plain = msgspec.structs.replace(Observation.raw(stretches[0].columns), masks=len(parts.masks))
    return [make_tape(s, plain, parts.params, lost) for s in stretches]


def choose_alpha_min(
    bundle: Bundle, parts: Parts, account: PlanAccount, settings: FitSettings
) -> tuple[float, list[tuple[float, float, float, float]]]:
    """The lowest threshold whose mean net return on validation lies within one standard error of the best one's.

    Lowest, because a gate that refuses nearly everything looks good on few trades. Candidates that trade less than
    settings.fills_per_hour_min are left out. Returns it with every candidate: (threshold, net bps per hour, its
    standard error, fills per hour).
    """
    tapes = raw_tapes(parts.validation, parts)
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
    """The bundle with and without its gate and each masked input, and the rules, on the test stretches."""
    tapes = raw_tapes(test, parts)
    columns = test[0].columns
    decide = _decider(bundle)
    blind = {without(m): evaluate(decide, raw_tapes(test, parts, m), account, settings.env, alpha_min) for m in parts.masks}
    return {
        "policy": evaluate(decide, tapes, account, settings.env, alpha_min),
        **blind,
        "policy without the alpha gate": evaluate(decide, tapes, account, settings.env),
        "ema_cross(20, 50)": evaluate(_rule(columns, "ema_cross"), tapes, account, settings.env),
        "flat": evaluate(_rule(columns, "flat"), tapes, account, settings.env),
    }


def without(mask: str) -> str:
    """The name of a policy that never sees an input: `policy without depth`."""
    return f"policy without {mask_input(mask)}"


def recorded_results(
    bundle: Bundle, recordings: Sequence[Path], parts: Parts, account: PlanAccount, settings: FitSettings, alpha_min: float
) -> dict[str, dict[str, list[Result]]]:
    """The same comparison on each recording, by name; empty for bundles of bar columns, which need no recording."""
    if parts.trigger != "quote":
        return {}
    out = {}
    for path in recordings:
        columns = parts.test[0].columns
        bars = BarSpec.parse(parts.bar)
        stretch = recorded(path, recorded_instruments(), columns, parts.params.columns, bars, parts.min_interval_ms, parts.known)
        stretch = chosen(stretch, columns)
        out[path.name] = compare(bundle, [stretch], parts, account, settings, alpha_min)
    return out


def metrics_of(results: dict[str, list[Result]], alpha: AlphaReport, difference: float, masks: Sequence[str]) -> dict[str, float]:
    """For the manifest."""
    policy = results["policy"]

    def earned(name: str) -> float:
        return float(np.mean([r.return_bps_per_hour for r in results[name]]))

    return {
        "return_bps_per_hour": earned("policy"),
        **{f"without_{mask_input(m)}_return_bps_per_hour": earned(without(m)) for m in masks},
        "turnover_per_hour": float(np.mean([r.turnover_per_hour for r in policy])),
        "ema_cross_return_bps_per_hour": earned("ema_cross(20, 50)"),
        "alpha_brier": alpha.brier,
        "alpha_brier_constant": alpha.brier_constant,
        "alpha_auc": alpha.auc,
        "export_difference_max": difference,
    }
