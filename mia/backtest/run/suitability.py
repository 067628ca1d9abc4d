"""Whether a strategy can say anything on a history of candles: what its reader must be told before the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mia.assemble import load_strategy
from mia.backtest.run.spec import RunSpec
from mia.features.bars import BarSpec
from mia.features.batch import BY_NOTIONAL
from mia.features.plan import mask_input

_NOT_IN_CANDLES: Final = ("trades", "quotes", "depth")


def told(spec: RunSpec, notes: Sequence[str]) -> list[str]:
    """The readers' notes that concern the run's strategy, then what of it does not fit to bars; ConfigError as load_strategy."""
    lane, instrument = spec.lanes[0], spec.instruments[0]
    strategy = load_strategy(lane, instrument.family)
    reads_notional = any(column in BY_NOTIONAL for column in strategy.columns)
    found = [note for note in notes if reads_notional or BY_NOTIONAL[0] not in note]
    if lane.rule:
        return found
    from mia.backtest.feature_run import lacking  # of files of features: half a second that no rule waits for

    bars = BarSpec.parse(spec.data[0].bars)
    if BarSpec.parse(strategy.bar) != bars:
        found.append(f"{strategy.name} was made for {strategy.bar} bars, these are {bars.text}: its columns mean something else here")
    masked = {mask_input(column) for column in strategy.columns}
    silent = [c for c in strategy.columns if lacking(c, [i for i in _NOT_IN_CANDLES if i not in masked])]
    if silent:
        found.append(
            f"{len(silent)} of the {len(strategy.columns)} columns of {strategy.name} need trades, quotes or depth, which candles do "
            f"not have ({', '.join(silent[:3])}, ...): it waits for them and decides nothing; run it on a recording or the simulated market"
        )
    return found
