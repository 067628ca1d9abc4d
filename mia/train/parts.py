"""What one fit works on: markets cut into training, validation and test, with the columns that a policy may read there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mia.backtest.validation.seal import Sealed
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.catalogue import Feature, shipped_catalogue
from mia.regime.filter import RegimeParams
from mia.train.regime_fit import fit_by_moments, fit_regime
from mia.train.settings import BAR_REGIME_COLUMNS, REGIME_COLUMNS, FitSettings, perpetual
from mia.train.tapes import Stretch, chosen, complete_columns, from_bar_file, simulated

_BAR_1S: Final = "time:1s"
_WARM_S: Final = 60.0  # of bars and trades, which the exchange knows of the past
_QUOTES_WARM_S: Final = 10  # nobody knows quotes and books of the past: a policy should trade soon after the start
_BARS_WARM_MAX: Final = 300
_LOCAL: Final = frozenset({"price", "order_flow", "book", "trend", "volatility"})
Choose = Callable[[Sequence[Stretch], RegimeParams], tuple[str, ...]]


class Parts(msgspec.Struct):
    """train is sampled at the training cadence; validation and test at that of live. masks: of the observation."""

    bar: str
    trigger: str
    min_interval_ms: int
    train: list[Stretch]
    validation: list[Stretch]
    test: list[Stretch]
    spans: list[str]
    params: RegimeParams
    masks: tuple[str, ...] = ()


def simulated_candidates() -> tuple[str, ...]:
    """Columns that a policy of simulated markets may read: warm soon, and made of the last minutes alone.

    A simulated market is half an hour long and begins at no hour of the day: what depends on the clock, the session or its
    profile would be seen in training as it never is in trading.
    """
    catalogue = shipped_catalogue()
    inputs = {"bars", "trades", "quotes", "depth"}
    warm = set(catalogue.warm_within(_WARM_S, 1.0))
    return tuple(
        f.name
        for f in catalogue.features
        if f.name in warm
        and set(f.inputs) <= inputs
        and (f.warm_up.seconds <= _QUOTES_WARM_S or not {"quotes", "depth"} & set(f.inputs))
        and _is_local(f)
    )


def bar_candidates() -> tuple[str, ...]:
    """Columns that a policy of candle files may read: those of bars and the clock."""
    return tuple(f.name for f in shipped_catalogue().features if set(f.inputs) <= {"bars", "clock"} and f.warm_up.bars <= _BARS_WARM_MAX)


def _is_local(feature: Feature) -> bool:
    return feature.category in _LOCAL and "session" not in feature.formula


def simulated_parts(settings: FitSettings, choose: Choose) -> Parts:
    """Simulated markets from three disjoint ranges of seeds; `choose` sees the training part alone."""
    instrument, bars = perpetual(), BarSpec.parse(_BAR_1S)
    train, validation, test = settings.seeds()

    def make(seeds: list[int], columns: Sequence[str], every_ms: int) -> list[Stretch]:
        return [simulated(s, settings.market_s, instrument, columns, REGIME_COLUMNS, bars, every_ms) for s in seeds]

    stretches = make(train, simulated_candidates(), settings.decide_every_ms)
    params = fit_regime(REGIME_COLUMNS, [(s.bar_inputs, s.bar_labels) for s in stretches])
    usable = complete_columns(stretches, _WARM_S + 10.0)
    stretches = [chosen(s, usable) for s in stretches]
    columns = choose(stretches, params)
    stretches = [chosen(s, columns) for s in stretches]
    others = [[chosen(s, columns) for s in make(seeds, columns, 100)] for seeds in (validation, test)]
    spans = [f"simulated BTCUSDT perpetual, {len(train)} markets of {settings.market_s:g} s, taker fee {instrument.taker_fee}"]
    return Parts(_BAR_1S, "quote", 100, stretches, others[0], others[1], spans, params, ("has(depth)",))


def bar_parts(settings: FitSettings, files: Sequence[Path], choose: Choose) -> Parts:
    """Candle files, each cut by time: 60 % training, 20 % validation, 20 % test; a gap of 60 bars between the parts."""
    sealed: Sealed = "exclude" if settings.exclude_sealed else "refuse"
    whole = [from_bar_file(f, perpetual(), bar_candidates(), BAR_REGIME_COLUMNS, sealed=sealed) for f in files]
    parts: list[list[Stretch]] = [[], [], []]
    for stretch in whole:
        n = len(stretch.ts_ns)
        for k, (start, stop) in enumerate(((0, 0.6), (0.6, 0.8), (0.8, 1.0))):
            first = int(start * n) + (60 if k else 0)
            parts[k].append(_cut(stretch, first, int(stop * n)))
    params = fit_by_moments(BAR_REGIME_COLUMNS, [s.bar_inputs for s in parts[0]])
    interval_ns = int(np.median(np.diff(whole[0].ts_ns)))
    usable = complete_columns(parts[0], _BARS_WARM_MAX * interval_ns / 1e9)
    columns = choose([chosen(s, usable) for s in parts[0]], params)
    parts = [[chosen(s, columns) for s in part] for part in parts]
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
