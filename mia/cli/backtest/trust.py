"""What `mia backtest grid` says below its table: overfitting, Hansen's test, and the choice out of sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mia.backtest.grid.space import Space
    from mia.backtest.grid.trust import Trust
    from mia.backtest.grid.validate import Metric, Validation
    from mia.backtest.stats.overfit import Overfit, Superior
    from mia.backtest.stats.resample import Interval


def facts(trust: Trust, space: Space) -> dict[str, Any]:
    """For --json: as stored, with the parameters of the points that it names."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(trust)
    for name in ("against_flat", "against_market"):
        if found[name] is not None:
            found[name]["params"] = space.config(found[name]["best"])
    for row in found["validation"]["rows"] if found["validation"] is not None else ():
        row["params"] = None if row["chosen"] is None else space.config(row["chosen"])
    return found


def pairs(trust: Trust, space: Space) -> Iterator[tuple[str, str]]:
    """Name and figure, each with what it means."""
    yield "probability of overfitting", f"n/a, {trust.overfit_why}" if trust.overfit is None else _overfit(trust.overfit)
    for name, found, why in (
        ("better than flat (SPA)", trust.against_flat, trust.against_flat_why),
        ("better than holding (SPA)", trust.against_market, trust.against_market_why),
    ):
        yield name, f"n/a, {why}" if found is None else _superior(found, space)


def _overfit(found: Overfit) -> str:
    word = (
        "no better than a draw by lot" if found.probability >= 0.5 else "holds more often than not" if found.probability > 0.1 else "holds"
    )
    return (
        f"{found.probability:.4f}: in so many of {found.combinations:,} halvings of the days ({found.blocks} blocks) the best Sharpe of "
        f"one half was in the lower half of all in the other; it lost money there in {found.loss:.1%}. The choice {word}"
    )


def _superior(found: Superior, space: Space) -> str:
    word = "one of them is better than that by more than luck" if found.p_value <= 0.05 else "the best of so many may be luck"
    return (
        f"p = {found.p_value:.4f}: {word} (best: {_params(space, found.best)}; {found.configurations:,} configurations, "
        f"{found.samples:,} resamples in blocks of {found.block:.1f} days)"
    )


def _params(space: Space, point: int) -> str:
    values = space.config(point) or {}
    return " ".join(f"{name}={values[name]:.15g}" for name in space.names or values)


def notes(trust: Trust) -> Iterator[str]:
    """What a reader must know of these figures."""
    if trust.considered < trust.searched:
        yield (
            f"overfitting and validation look at {trust.considered} of the {trust.searched} configurations, a seeded sample and the best "
            "ones: all of them would overfit more"
        )
    if trust.is_restarted:
        yield "overfitting is of accounts that begin anew in each of its blocks: the drawdown stop had ended many of the runs"
    if trust.tested < trust.considered:
        yield f"SPA looks at {trust.tested} of the configurations, a seeded sample and the best one: over all of them p is larger"
    if trust.validation is not None:
        yield (
            "out of sample every block begins flat, with all the cash and fresh stops, and is left at its last price: what closing there "
            "would cost is not charged; whoever picks the scheme or the space by these figures has looked at them"
        )
        if trust.validation.scheme.name in ("purged_k_fold", "cpcv"):
            yield f"{trust.validation.scheme.name} chooses on later days, too: it judges the choice, not what could have been traded"


def print_validation(found: Validation, space: Space) -> None:
    """A line for each fold, and what the choices came to one after the other."""
    from mia.backtest.readers import utc
    from mia.cli.output import print_pairs, print_table

    scheme = found.scheme
    names = {"sharpe": "Sharpe a year", "net_return": "net return"}
    title = names[found.metric]
    head = ("fold", "from", "to", "days", "chosen on", "chosen", f"{title} there", f"{title} out of sample", "return", "better than")
    rows = [
        (
            ",".join(map(str, row.groups)), utc(row.test_first_ns)[:10], utc(row.test_last_ns)[:10], str(row.test), f"{row.train} days",
            "none" if row.chosen is None else _params(space, row.chosen), _value(row.inside, found.metric),
            _value(row.outside, found.metric), f"{row.net_return:.2%}", "n/a" if row.rank is None else f"{row.rank:.0%}",
        )
        for row in found.rows
    ]  # fmt: skip
    print_table(head, rows, right=("days", "chosen on", *head[6:]))
    print()
    print_pairs([("validation", f"{scheme.name}: {scheme.words}"), *_histories(found)])


def _histories(found: Validation) -> Iterator[tuple[str, str]]:
    ratios = sorted(x for x in found.sharpes if x is not None)
    lost = f"{found.folds_lost:.0%} of folds lost money; {_choices(found.choices)} chosen"
    if len(found.net_returns) == 1:
        ratio = "n/a, no spread" if not ratios else f"{ratios[0]:.3f}"
        yield "out of sample", f"{found.days} days: return {found.net_returns[0]:.2%}{_between(found.net_return_interval, share=True)}"
        yield "Sharpe a year", f"{ratio}{_between(found.sharpe_interval, share=False)}"
    else:
        totals = sorted(found.net_returns)
        yield (
            "out of sample",
            f"{len(totals)} paths of {found.days} days: return {totals[0]:.2%} to {totals[-1]:.2%}, median {_median(totals):.2%}",
        )
        yield (
            "Sharpe a year",
            f"{ratios[0]:.3f} to {ratios[-1]:.3f}, median {_median(ratios):.3f}; {sum(x <= 0.0 for x in ratios)} of {len(ratios)} "
            "not above 0"
            if ratios
            else "n/a, no spread",
        )
    yield "folds", lost


def _choices(n: int) -> str:
    return "the same configuration was always" if n == 1 else f"{n} different configurations were"


def _median(values: list[float]) -> float:
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2.0


def _value(value: float | None, metric: Metric) -> str:
    return "n/a" if value is None else f"{value:.2%}" if metric == "net_return" else f"{value:.3f}"


def _between(found: Interval | None, *, share: bool) -> str:
    if found is None:
        return ""
    low, high = ("unbounded" if x is None else f"{x:.2%}" if share else f"{x:.3f}" for x in (found.low, found.high))
    return f", 95 % interval {low} .. {high}"
