"""What `mia-train fit` asks of the market, in the trial registry: each fit on its test part, each width of its gate on validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.readers import file_sha256
from mia.backtest.trials import DataRef, Registry, Score, Trial, digest
from mia.train.evaluate import Result
from mia.train.parts import Parts
from mia.train.settings import FitSettings
from mia.train.tapes import Stretch

FAMILY: Final = "mia-train fit"
_METRIC: Final = "return_bps_per_hour"
_YEAR_S: Final = 365.25 * 86_400
_NO_PART_OF_IT: Final = ("workers", "exclude_sealed")  # the result is the same, or the data says it


class Tickets(NamedTuple):
    """Of evaluations that were opened: the fit's, and one for each share of the gate."""

    fit: int
    gate: list[int]


def open_fit(settings: FitSettings, bar_files: Sequence[Path], ranking: Path | None, parts: Parts, gate_shares: Sequence[float]) -> Tickets:
    """Count the fit and its choices before anything is scored: a fit that is killed has asked, too."""
    params = {k: v for k, v in msgspec.to_builtins(settings).items() if k not in _NO_PART_OF_IT}
    params["ranking"] = file_sha256(ranking) if ranking is not None and ranking.is_file() else None
    files = [DataRef(path.name, file_sha256(path)) for path in bar_files]
    costs = digest(settings.env)

    def trial(name: str, stretches: Sequence[Stretch], more: dict[str, object]) -> Trial:
        made = files or [DataRef(f"{name}: {s.name}", digest([s.name, settings.market_s])) for s in stretches]
        first, last = min(int(s.ts_ns[0]) for s in stretches), max(int(s.ts_ns[-1]) for s in stretches)
        return Trial(
            family=FAMILY, params={**params, **more, "part": name}, data=tuple(made), first_ns=first, last_ns=last, costs_sha256=costs
        )

    trials = [trial("test", parts.test, {})]
    trials += [trial("validation", parts.validation, {"gate_share": share}) for share in gate_shares]
    with Registry() as registry:
        fit, *gate = registry.open(trials, "trainer")
    return Tickets(fit, gate)


def close_fit(tickets: Tickets, choices: Sequence[tuple[float, float, float, float]], results: Sequence[Result]) -> None:
    """choices: of the gate, in the order of its shares: (threshold, net bps per hour, ...). results: of the policy on the test part."""
    returns = np.array([r.return_bps for r in results]) / 1e4
    hours = [r.return_bps / r.return_bps_per_hour for r in results if r.return_bps_per_hour]
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    z = (returns - returns.mean()) / returns.std() if spread > 0.0 else None
    score = Score(
        metric=_METRIC,
        value=float(np.mean([r.return_bps_per_hour for r in results])),
        sharpe=float(returns.mean()) / spread if spread > 0.0 else None,
        periods=len(returns),
        periods_per_year=_YEAR_S / (3600.0 * float(np.mean(hours))) if hours else None,
        skew=None if z is None else float((z**3).mean()),
        kurtosis=None if z is None else float((z**4).mean()),
    )
    gate = [(ticket, Score(metric=_METRIC, value=choice[1])) for ticket, choice in zip(tickets.gate, choices, strict=True)]
    with Registry() as registry:
        registry.close([*gate, (tickets.fit, score)])
