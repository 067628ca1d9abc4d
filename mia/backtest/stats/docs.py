"""docs/statistics.md, from the catalogue of statistics."""

# ruff: noqa: E501 (lines of markdown)
from __future__ import annotations

from typing import Final

from mia.backtest.grid.kept import BYTES_MAX, CONFIGS_MAX
from mia.backtest.stats.catalogue import BY_GROUP, BY_GROUP_SURE, STATISTICS
from mia.backtest.stats.groups import GROUP_SAMPLES_MAX, GROUP_TRADE_UNITS, SESSIONS
from mia.backtest.stats.overfit import BLOCKS
from mia.backtest.stats.registry import PERIODS_MIN, TRADES_MIN, UNIT_TEXT

_HEAD: Final = """# Statistics

Generated from `mia/backtest/stats` by `mia docs build`; do not edit. {n} figures of one run, each with its formula, unit and source. Where there
is too little to stand on, a figure is `n/a` with the reason ("n/a, 7 trades"), never a number.

- r: simple returns of equity between the ends of periods, by default UTC days (365.25 a year); a calendar of sessions gives its own count a
  year, P. A run of less than 30 of them is measured in hours, of less than 30 hours in minutes. A period without a mark returns 0; the first and the last may be parts of one. rf: risk-free rate a period. E: equity at a mark.
- Intervals are percentiles of 10,000 resamples by the stationary bootstrap (Politis and Romano 1994): of periods, with a mean block length
  chosen from the data (Politis and White 2004, corrected by Patton, Politis and White 2009; the longer of those for r and for its squared
  deviations), and of trades in order of their close (more than 4,096 in groups of equal size). A bound that no resample has is "unbounded".
  Below {periods_min} periods or {trades_min} trades there is no interval.
- Once equity is at or below 0 the account is ruined: figures marked with * are still told, all others are n/a.
- A seed decides every random number: the same input gives the same bits.

"""
_REST: Final = """
## By regime, session, hour and weekday
`{groups}` are also told for each regime, session ({sessions}, UTC all year), UTC hour and weekday. A return between two marks
belongs to the regime of the first, and to the hour and the day of the second (a mark on the hour ends the hour before); a trade to the regime
and the time of its opening. The returns of a group follow each other as if nothing had happened between them; its ratios are annualised by
how many periods a year it comes in. Hours and sessions need marks at most an hour apart, weekdays at most a day. `{sure}`
have intervals, from at most {group_samples:,} resamples of the group's own periods and trades (more than {trade_units} in groups of equal size); below
{periods_min} periods or {trades_min} trades there is none. They are of each group alone: of 24 hours without skill one or two have one that leaves out 0.

## Many configurations
Told by `mia backtest grid` of its search, and kept in the grid's `trust.json`; the difference of two runs by `mia backtest compare`.

| figure | formula | unit | needs | source |
|---|---|---|---|---|
| probability of backtest overfitting (PBO) | CSCV: {blocks} blocks of days, 12,870 halvings: how often the best Sharpe of one half ranks at or below the middle of the other | probability; 0.5 on noise, 0 when the same ones stay best | 2 configurations, {overfit_days} days | Bailey, Borwein, Lopez de Prado and Zhu (2017) |
| superior predictive ability (SPA) | max_k sqrt(n) mean(d_k) / w_k against its stationary bootstrap under "no configuration is better"; d: daily return less that of the benchmark (flat: 0; holding: the instrument's, without costs) | p-value | 10 days, one configuration that differs from the benchmark | Hansen (2005), SPA_c |
| out of sample | the best of the training days of each fold, scored on its test days; the tested days one after the other: return, mean(r) / std(r) sqrt(365.25) | shares of 1; ratio of annual figures | 5 days a block | Lopez de Prado (2018), Advances in financial machine learning, ch. 7 and 12 |
| difference of two runs | both resampled with the same rows; p = (1 + count of differences as far from the found one as that is from 0) / (1 + samples) | p-value | 20 periods | Politis and Romano (1994), Ledoit and Wolf (2008) |

- Returns are daily (UTC), -1 on the day an account is gone and 0 after it. At most {configs:,} configurations (and {megabytes} MB) are kept: of more a
  seeded sample with the best ones, which is said; SPA looks at fewer where its resampling would take longer than some seconds.
- PBO counts a tie with the middle as overfitted. A drawdown stop ends a run's trading, and its flat days would be such ties: when more than a
  tenth of the configurations met it, PBO is of accounts that begin anew in each block. Validation always is.
- SPA at level 5 % rejected in 4.5 % of 1,000 sets of independent noise. It rejects too often where returns are autocorrelated: 9 % on
  MA(1) noise, 6.4 to 6.5 % on longer series of it. A p-value near its level is no proof there.
- Purge: no day of the training touches one of the test; `--embargo` keeps the days next to a test away, too, on both sides in walk-forward
  and after it in the others. `purged_k_fold` and `cpcv` choose on later days, too: they judge the choice, nobody could have traded it.

## Chance
| figure | formula | unit | told by | source |
|---|---|---|---|---|
| trade order | the same profits in random orders: deepest fall, losses in a row, share of orders that lose all | account currency, count, share of 1 | a run's page | definition |
| random entries | mean of side x ln(price at close / price at open of a trade) against the same sides and holding times opened at random, at ends of bars (that of the bar in which a stop or take fills) before costs; p = (1 + random means at least as large) / (1 + draws), 1,000 draws, fewer of many trades | p-value | `mia backtest run` below its table, and its page; n/a below 10 trades, on quotes and trades, with several instruments | permutation test: Good (2005), Permutation, parametric and bootstrap tests |
| perturbed bars | every price times exp(noise), the noise normal with a share of the median ln(high / low) as deviation; or blocks of bars in random places (stationary bootstrap): quantiles of the figures, share of draws at or above the run, p = (1 + draws with at least its return) / (1 + draws) | as each figure; p-value | `mia backtest perturb` | noise: definition; blocks: Politis and Romano (1994) |

Under `--preset backtesting.py` a run also tells that library's own figures: geometric mean of daily returns compounded over a year of 252 days (365
where bars close at weekends), its volatility sqrt((v + (1 + g)^2)^N - (1 + g)^(2N)), and their ratio as Sharpe.
"""


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    parts = [_HEAD.format(n=len(STATISTICS), periods_min=PERIODS_MIN, trades_min=TRADES_MIN)]
    for group in dict.fromkeys(statistic.group for statistic in STATISTICS):
        parts.append(
            f"## {group.capitalize()}\n| name | figure | unit | formula | needs | interval | source |\n|---|---|---|---|---|---|---|\n"
        )
        for s in (s for s in STATISTICS if s.group == group):
            star = "" if s.solvent else " *"
            noun = s.counts if s.minimum == 1 else f"{s.counts}s"
            cells = (
                f"`{s.name}`{star}",
                s.title,
                UNIT_TEXT[s.unit],
                s.formula,
                f"{s.minimum} {noun}",
                "yes" if s.draws is not None else "",
                s.source,
            )
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
        parts.append("\n")
    parts[-1] = ""
    parts.append(
        _REST.format(
            groups="`, `".join(BY_GROUP), sessions=", ".join(SESSIONS), sure="`, `".join(BY_GROUP_SURE), group_samples=GROUP_SAMPLES_MAX,
            trade_units=GROUP_TRADE_UNITS, periods_min=PERIODS_MIN, trades_min=TRADES_MIN, blocks=BLOCKS, overfit_days=2 * BLOCKS,
            configs=CONFIGS_MAX, megabytes=BYTES_MAX >> 20,
        )
    )  # fmt: skip
    return "".join(parts)
