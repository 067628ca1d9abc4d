"""The card of a model: what it was trained on and what it earned out of sample, also when that is bad."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mia.features.catalogue import COUNTS, shipped_catalogue
from mia.policy.manifest import Manifest
from mia.train.account import LEFT_OUT
from mia.train.evaluate import Result
from mia.train.observation import OWN
from mia.train.settings import FitSettings
from mia.train.stats import mean_interval

if TYPE_CHECKING:
    from mia.train.fit import Fitted
    from mia.train.sac import Trained

# ruff: noqa: E501 (lines of markdown)
PERFORMANCE_COLUMNS = (
    "timestamp", "algo", "regime", "reward", "finetune_loss", "maml_steps", "online_steps", "operation", "latency", "success",
    "memory_usage_mb", "cpu_percent",
)  # fmt: skip


def performance_csv(trained: Sequence[Trained]) -> str:
    """train_sac_performance.csv; finetune_loss is empty where nothing was fine-tuned."""
    out = io.StringIO()
    writer = csv.DictWriter(out, PERFORMANCE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for result in trained:
        writer.writerows(result.log)
    return out.getvalue()


def results_table(results: dict[str, list[Result]]) -> str:
    """One line per contestant: mean over markets with Student's 95 % interval, and how it got there."""
    lines = [
        "| strategy | net return, bps of the cap per hour (95 % interval) | markets above 0 | fees, bps per hour | fills per hour | turnover per hour |"
        " time in market | worst drawdown, bps | openings refused |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in results.items():
        mean, low, high = mean_interval([r.return_bps_per_hour for r in rows])
        interval = f" ({low:.1f} to {high:.1f})" if len(rows) > 1 else ""
        hours = [r.return_bps / r.return_bps_per_hour if r.return_bps_per_hour else 1.0 for r in rows]
        refused, openings = sum(r.refused for r in rows), sum(r.openings for r in rows)
        lines.append(
            f"| {name} | {mean:.1f}{interval} | {sum(r.return_bps > 0 for r in rows)}/{len(rows)} "
            f"| {np.mean([r.fees_bps / h for r, h in zip(rows, hours, strict=True)]):.1f} | {np.mean([r.fills_per_hour for r in rows]):.1f} "
            f"| {np.mean([r.turnover_per_hour for r in rows]):.1f} | {np.mean([r.time_in_market for r in rows]):.0%} "
            f"| {max(r.drawdown_bps for r in rows):.0f} | {refused / openings if openings else 0.0:.0%} |"
        )
    return "\n".join(lines)


def write_card(
    path: Path,
    manifest: Manifest,
    fitted: Fitted,
    results: dict[str, list[Result]],
    recordings: dict[str, dict[str, list[Result]]],
    settings: FitSettings,
    seconds: Sequence[float],
) -> None:
    """Write card.md."""
    a, t, env = fitted.alpha, manifest.training, settings.env
    market = "simulated markets" if manifest.trigger == "quote" else "bar files"
    path.write_text(
        f"""# {manifest.name}

Made by `{t.command}` in {fitted.seconds:.0f} s (SAC per regime: {", ".join(f"{s:.0f} s" for s in seconds)}).

**It was trained on {market}. Nothing here says that it earns money on a real one.** It exists so that every layer of MIA can be
run, tested and timed with a policy of realistic size that trades.

- Decides on: {manifest.trigger}, at most every {manifest.min_interval_ms} ms; bars {manifest.bar}; {len(manifest.features)} columns, {_own(manifest.features)} of the account's {COUNTS[OWN]} among them; family {manifest.family}.
- Three SAC policies (range, trend, defensive; {settings.hidden} x {settings.hidden}, ReLU), {t.steps} environment steps each, blended by filtered regime probabilities.
- Data: {"; ".join(t.spans)}.
- Market seeds: training {_range(t.seeds_train)}, validation {_range(t.seeds_validation)}, test {_range(t.seeds_test)}.
- Masks: {_masks(manifest.masks, settings)}.
- Costs: every fill crosses the spread at the next decision's touch and pays the taker fee; dead-band {env.dead_band:g} of the cap.
- Export: the graph equals SB3's deterministic predict to {fitted.difference:.1e} on 2,000 observations.
- Sources at commit {t.git_commit}; {", ".join(f"{k} {v}" for k, v in t.versions.items())}.

## Out of sample, after costs

{results_table(results)}

Each market is one of the {len(results["policy"])} test stretches, decided at the cadence of live; the interval is over them. Basis points are of the notional at target 1.

{_recordings(recordings)}## Trade probability

Asked: does a trade opened now, held {manifest.alpha_horizon_s:g} s and closed make money after the taker fee on both sides?
Test: Brier {a.brier:.4f} (a constant of the training base rate {a.base_rate:.3f} scores {a.brier_constant:.4f}), AUC {a.auc:.3f}, {a.rows} rows.
`alpha_min` {manifest.alpha_min:.4f} was chosen on the validation part: the lowest threshold within one standard error of the best net return.

## Weak points

- The simulated market's order flow foretells the price far better than a real one's does, and its trends are longer.
- The fit is short; another seed gives another policy. Results hold for these test seeds and this fee only.
- On spot, targets below zero become flat, which it was not trained for.
{account_lines(manifest.features, settings)}""",
        encoding="utf-8",
    )


def _own(features: Sequence[str]) -> int:
    """How many columns of `account_self` there are."""
    return len(set(features) & set(shipped_catalogue().category(OWN)))


def account_lines(features: Sequence[str], settings: FitSettings) -> str:
    """Which of the account's columns the policies do not read and why, and what training took for granted of the others."""
    env = settings.env
    lines = [f"- `{name}` was left out of the observation: {why}.\n" for name, why in LEFT_OUT.items() if name not in features]
    lines.append(
        f"- The account's columns were trained with {env.equity_quote:g} of equity for {env.cap_quote:g} of notional at target 1, a drawdown"
        f" limit of {env.risk.drawdown_max:g}, a daily loss limit of {env.risk.daily_loss_max:g} and {env.risk.overtrade_trades_per_hour}"
        " trades per hour: other limits or another share of equity move `drawdown_ratio`, `day_pnl_ratio` and `trades_60m_ratio` faster or"
        " slower. Fills come at the next decision's touch, and equity is marked at decisions.\n"
    )
    return "".join(lines)


def _recordings(recordings: dict[str, dict[str, list[Result]]]) -> str:
    """A section with one table per recording; nothing was learned from them."""
    if not recordings:
        return ""
    tables = "\n\n".join(f"`{name}`:\n\n{results_table(results)}" for name, results in recordings.items())
    return f"## On real recordings (minutes long, not trained on: anecdotes, no evidence)\n\n{tables}\n\n"


def _masks(masks: Sequence[str], settings: FitSettings) -> str:
    """What training took away, and how often."""
    if not masks:
        return "none; decisions wait for every column"
    return (
        f"{', '.join(masks)}; in training each input is lost on its own in {settings.lost_share:.0%} of rows, in spans of "
        f"{settings.lost_rows}; below, `policy without` an input never has it"
    )


def _range(seeds: Sequence[int]) -> str:
    return f"{seeds[0]} to {seeds[-1]}" if seeds else "none (split by time)"
