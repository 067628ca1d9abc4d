"""docs/statistics.md, from the catalogue of statistics."""

# ruff: noqa: E501 (lines of markdown)
from __future__ import annotations

from typing import Final

from mia.backtest.stats.catalogue import BY_GROUP, STATISTICS
from mia.backtest.stats.groups import SESSIONS
from mia.backtest.stats.registry import PERIODS_MIN, TRADES_MIN, UNIT_TEXT

_HEAD: Final = """# Statistics

Generated from `mia/backtest/stats` by `mia docs build`; do not edit. {n} figures of one run, each with its formula, unit and source. Where there
is too little to stand on, a figure is `n/a` with the reason ("n/a, 7 trades"), never a number.

- r: simple returns of equity between the ends of periods, by default UTC days (365.25 a year); a calendar of sessions gives its own count a
  year, P. A period without a mark returns 0; the first and the last may be parts of one. rf: risk-free rate a period. E: equity at a mark.
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
how many periods a year it comes in. Hours and sessions need marks at most an hour apart, weekdays at most a day.

## Many configurations
| figure | formula | source |
|---|---|---|
| probability of backtest overfitting | 16 blocks of time, 12,870 halvings: how often the best Sharpe of one half ranks at or below the middle of the other | Bailey, Borwein, Lopez de Prado and Zhu (2017) |
| superior predictive ability | max_k sqrt(n) mean(d_k) / w_k against its stationary bootstrap under "no configuration is better"; d: how much better than the benchmark | Hansen (2005) |
| difference of two runs | both resampled with the same rows; p = (1 + count of differences as far from the found one as that is from 0) / (1 + samples) | Politis and Romano (1994), Ledoit and Wolf (2008) |

## Chance
`mia backtest compare` prints the difference of two runs and, of three and more, superior predictive ability; a run's page shows the trade order.
Overfitting, random entries and perturbed bars are functions of `mia.backtest.stats` that no verb calls yet.

| figure | formula | source |
|---|---|---|
| trade order | the same profits in random orders: deepest fall, losses in a row, share of orders that lose all | definition |
| random entries | mean log return a trade against the same sides and holding times opened at random, before costs | definition |
| perturbed bars | every price moved by a share of the median range; or blocks of bars in random places | definition |
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
    parts.append(_REST.format(groups="`, `".join(BY_GROUP), sessions=", ".join(SESSIONS)))
    return "".join(parts)
