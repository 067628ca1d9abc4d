"""A fit in the trial registry: every method is scored out of sample, so every method is a trial, opened before anything is fitted."""

from __future__ import annotations

import math
from contextlib import ExitStack

import msgspec

from mia.backtest.ensemble.fit import Fit, check, fit
from mia.backtest.ensemble.members import Track
from mia.backtest.ensemble.weights import METHODS
from mia.backtest.run.counting import trial_of
from mia.backtest.trials import By, Registry, Score
from mia.backtest.validation.seal import SealLog

FAMILY = "ensemble"


def counted_fit(track: Track, method: str, windows: int, lookback: int, forgetting: float, by: By = "user") -> tuple[Fit, int]:
    """(the fit, how many ensembles were tried on its data by now); DataError before anything is fitted when the registry cannot be written.

    Members were counted when they ran. The score is the Sharpe ratio a year of the blend's bars out of sample.
    """
    check(len(track.close_ns), method, windows, forgetting)
    base = trial_of(track.prepared.spec)
    made = {"members": [s.sha256 for s in track.strategies], "windows": windows, "lookback": lookback}
    with Registry() as registry, ExitStack() as stack:
        scores = {}
        for each in METHODS:
            params = {**made, "method": each, **({"forgetting": forgetting} if each == "likelihood" else {})}
            trial = msgspec.structs.replace(base, family=FAMILY, params=params)
            scores[each] = stack.enter_context(registry.counted(trial, by))
        found = fit(track.past, track.close_ns, method, windows=windows, lookback=lookback, forgetting=forgetting)
        begin = found.windows[0].first
        periods = len(track.close_ns) - begin
        a_year = periods / found.years
        for each, figures in found.blends.items():
            sharpe = None if figures.sharpe is None else figures.sharpe / math.sqrt(a_year)
            scores[each].append(Score(metric="sharpe", value=figures.sharpe, sharpe=sharpe, periods=periods, periods_per_year=a_year))
        stack.close()
        return found, registry.count(FAMILY, sorted(SealLog().related(ref.sha256 for ref in base.data))).trials
