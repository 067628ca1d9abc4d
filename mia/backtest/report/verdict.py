"""The questions that a trader asks of a run, answered yes only where the figures carry a yes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from mia.backtest.compare import Tested
from mia.backtest.stats.registry import interval_text, text, utc, value_text
from mia.backtest.stats.summary import Summary

Word = Literal["yes", "no", "not shown"]
DEFLATED_MIN: Final = 0.95


class Answer(msgspec.Struct, frozen=True):
    """One question. short: the reason in a few words, for the sentence on top; because: in full."""

    question: str
    word: Word
    short: str
    because: str


def answers(
    summary: Summary, net: float, currency: str, rivals: Sequence[tuple[str, float, float, Tested]], *, is_undecided: bool = False
) -> list[Answer]:
    """Money, chance, each baseline (name, return of the run, of the baseline, test of the difference), trials.

    is_undecided: the strategy never saw all that it reads, so that no trade is no result.
    """
    return [
        _money(summary, net, currency, is_undecided),
        _chance(summary),
        *(_rival(summary, *rival) for rival in rivals),
        _trials(summary),
    ]


def overall(found: Sequence[Answer]) -> tuple[Word, str]:
    """The word on top and its sentence: no when one answer is no, yes only when all are."""
    money, chance = found[0], found[1]
    against = [a.short for a in found[1:] if a.word == "no"]
    unknown = [a.short for a in found[1:] if a.word == "not shown"]
    if money.word != "yes":
        return money.word, f"{money.short}. {chance.short[:1].upper()}{chance.short[1:]}{'.' if chance.short else ''}".rstrip()
    if against:
        return "no", f"{money.short}, but {_joined([*against, *unknown])}."
    if unknown:
        return "not shown", f"{money.short}, but {_joined(unknown)}."
    return "yes", f"{money.short}: more than chance, its baselines and the trials before it explain."


def _joined(texts: Sequence[str]) -> str:
    return " and ".join(texts) if len(texts) < 3 else f"{'; '.join(texts[:-1])}; and {texts[-1]}"


def _money(summary: Summary, net: float, currency: str, is_undecided: bool) -> Answer:
    question = "Did it make money after costs, more than doing nothing (flat)?"
    if summary.ruined_ns is not None:
        return Answer(
            question, "no", f"It lost everything ({utc(summary.ruined_ns)})", f"The account had nothing left {utc(summary.ruined_ns)}."
        )
    total = text(summary.figure("return"))
    if net > 0.0:
        return Answer(question, "yes", f"It made {net:,.2f} {currency} after costs ({total})", f"{net:+,.2f} {currency}, {total}; flat: 0.")
    trades = summary.trades
    if net == 0.0 and is_undecided:
        short = "It decided nothing: what it reads was missing each time, on this data it cannot be judged"
        return Answer(question, "not shown", short, f"0.00 {currency}; a column that it reads was missing at each decision.")
    if net == 0.0:
        short = "It made nothing" + ("" if trades else ": it never closed a trade")
        return Answer(question, "no", short, f"0.00 {currency}, as flat.")
    return Answer(question, "no", f"It lost {-net:,.2f} {currency} after costs ({total})", f"{net:+,.2f} {currency}, {total}; flat: 0.")


def _chance(summary: Summary) -> Answer:
    question = "Is that more than chance?"
    total = summary.figure("return")
    if total.value is None or total.interval is None:
        why = total.why or (f"{summary.periods} {summary.period}s" if summary.samples else "no resamples were asked for")
        return Answer(question, "not shown", "how sure that is cannot be told", f"The return has no interval: {why}.")
    if not summary.trades and total.value == 0.0:
        return Answer(question, "no", "", "Nothing was traded.")
    inside = f"the {summary.level:.0%} interval of the return, {interval_text(total)}, includes 0"
    between = f"The {summary.level:.0%} interval of the return is {interval_text(total)}"
    likely = summary.figure("probabilistic_sharpe")
    chance = (
        f" The chance that its true Sharpe ratio is above 0, before counting trials, is {text(likely)}." if likely.value is not None else ""
    )
    low, high = total.interval.low, total.interval.high
    if low is not None and low > 0.0:
        return Answer(question, "yes", "", f"{between}: all of it above 0.{chance}")
    if high is not None and high < 0.0:
        return Answer(
            question, "no", f"{between}: the loss is no bad luck", f"{between}: all of it below 0: the loss is no bad luck.{chance}"
        )
    return Answer(question, "no", f"chance alone may have made that ({inside})", f"{between}: 0 lies within it.{chance}")


def _rival(summary: Summary, name: str, own: float, its: float, test: Tested) -> Answer:
    question = f"Did it beat {name}?"
    if not (own == own and its == its):
        return Answer(question, "not shown", f"it cannot be set beside {name}", "One of them was worth nothing at the start.")
    both = f"{value_text(own, 'share')} against {value_text(its, 'share')} on the same span"
    if own <= its:
        return Answer(question, "no", f"it did not beat {name}", f"{both}.{_difference(summary, test)}")
    found = test.figure("mean_return")
    if found is None:
        why = test.refused or "no interval"
        return Answer(question, "not shown", f"that it beats {name} is not shown", f"{both}; the difference cannot be tested: {why}.")
    is_above = found.interval is not None and found.interval.low is not None and found.interval.low > 0.0
    is_sure = is_above and found.p_value is not None and found.p_value <= 1.0 - summary.level
    short = "" if is_sure else f"its lead over {name} may be chance"
    return Answer(question, "yes" if is_sure else "no", short, f"{both}.{_difference(summary, test)}")


def _difference(summary: Summary, test: Tested) -> str:
    found = test.figure("mean_return")
    if found is None or found.interval is None:
        return ""
    low, high = ("unbounded" if x is None else value_text(x, "share a year") for x in (found.interval.low, found.interval.high))
    p = f", p = {found.p_value:.3f}" if found.p_value is not None else ""
    return (
        f" Difference of the mean return a year {value_text(found.difference, 'share a year')}, {summary.level:.0%} interval {low} .. "
        f"{high}{p} (paired stationary bootstrap, {test.periods:,} {test.period}s)."
    )


def _trials(summary: Summary) -> Answer:
    counted, deflated = summary.figure("trials"), summary.figure("deflated_sharpe")
    if counted.value is None:
        return Answer(
            "Does it hold after all the configurations that were tried?",
            "not shown",
            "the trials before it were not counted",
            "Trials were not counted: the best of many tries looks good by luck alone, so nothing here is shown to be more than that.",
        )
    n = f"{counted.value:,.0f} trial{'s' if counted.value != 1 else ''}"
    question = f"Does it hold after {n}?"
    if deflated.value is None:
        return Answer(question, "not shown", f"after {n} nothing is shown", f"Deflated Sharpe: {text(deflated)}.")
    is_sure = deflated.value >= DEFLATED_MIN
    because = (
        f"Deflated Sharpe {text(deflated)}, {DEFLATED_MIN} is the least: the chance that its Sharpe ratio is above what "
        f"the best of {n} gives by luck."
    )
    return Answer(question, "yes" if is_sure else "no", "" if is_sure else f"after {n} it is within luck", because)
