"""What one fit works on: markets cut into training, validation and test, with the columns that a policy may read there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mia.backtest.readers import read_bars, utc
from mia.backtest.validation.seal import Sealed
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.catalogue import INPUTS, Feature, shipped_catalogue
from mia.features.models import bars_of
from mia.regime.filter import RegimeParams
from mia.train.known import EVENT_COLUMNS, Known, check_models, check_seeds
from mia.train.regime_fit import fit_by_moments, fit_regime
from mia.train.settings import BAR_REGIME_COLUMNS, REGIME_COLUMNS, FitSettings, perpetual
from mia.train.tapes import START_NS, Stretch, chosen, complete_columns, from_bar_file, simulated

_BAR_1S: Final = "time:1s"
_WARM_S: Final = 60.0  # of bars and trades, which the exchange knows of the past
_QUOTES_WARM_S: Final = 10  # nobody knows quotes and books of the past: a policy should trade soon after the start
_BARS_WARM_MAX: Final = 300
_LOOK_BACK_BARS: Final = 20  # of latent_shift; the longest
OUTSIDE: Final = ("reference", "funding", "predicted")  # inputs that a feed may lose while bars go on
_NOT_SIMULATED: Final = ("account", "clock", "calendar", "reference", "funding", "news", "predicted")
_NOT_IN_CANDLES: Final = ("account", "trades", "quotes", "depth")
_MADE_UP_TIME: Final = ("days_since_cluster",)  # days from the models to a simulated market: a number that trading never shows
_LOCAL: Final = frozenset({"price", "order_flow", "book", "trend", "volatility"})
Choose = Callable[[Sequence[Stretch], RegimeParams], tuple[str, ...]]
Say = Callable[[str], None]


class Parts(msgspec.Struct):
    """train is sampled at the training cadence; validation and test at that of live. masks: of the observation.

    known: what plans know beside the market; its models go into the bundle.
    """

    bar: str
    trigger: str
    min_interval_ms: int
    train: list[Stretch]
    validation: list[Stretch]
    test: list[Stretch]
    spans: list[str]
    params: RegimeParams
    known: Known
    masks: tuple[str, ...] = ()


def simulated_candidates(known: Known, masked: Sequence[str] = ()) -> tuple[str, ...]:
    """Columns that a policy of simulated markets may read: warm soon, and made of the last minutes alone; and those of models.

    A simulated market is half an hour long and begins at no hour of the day: what depends on the clock, the session or its
    profile would be seen in training as it never is in trading. masked: inputs that may be lost: a column whose model reads one
    falls under no mask of it, so decisions would wait for it after all.
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
    ) + tuple(name for name in known.model_columns((*_NOT_SIMULATED, *masked)) if name not in _MADE_UP_TIME)


def bar_candidates(known: Known, first_ns: int) -> tuple[str, ...]:
    """Columns that a policy of candle files may read: of bars, clock and calendar, of the references given, and those of models.

    first_ns: where the files begin; columns of events are left out when the list of events begins later.
    """
    series = {name for name, _ in known.references}
    inputs = {"bars", "clock", *(("calendar",) if known.windows is not None else ()), *(OUTSIDE if series else ())}
    plain = tuple(
        f.name
        for f in shipped_catalogue().features
        if set(f.inputs) <= inputs and f.warm_up.bars <= _BARS_WARM_MAX and set(f.series) <= series
        and ("predicted" not in f.inputs or f.name == "predicted_vix")
        and (f.name not in EVENT_COLUMNS or known.lists_events_at(first_ns))
    )  # fmt: skip
    return plain + known.model_columns(_NOT_IN_CANDLES)


def masks_over(inputs: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """A mask for each of these inputs that one of the columns reads; ConfigError for an unknown input."""
    if unknown := [name for name in inputs if name not in INPUTS]:
        raise ConfigError(f"--mask {unknown[0]}: no such input; known: {', '.join(INPUTS)}")
    known = shipped_catalogue().by_name
    return tuple(f"has({name})" for name in inputs if any(name in known[column].inputs for column in columns))


def _is_local(feature: Feature) -> bool:
    return feature.category in _LOCAL and "session" not in feature.formula


def simulated_parts(settings: FitSettings, choose: Choose, known: Known, say: Say) -> Parts:
    """Simulated markets from three disjoint ranges of seeds; `choose` sees the training part alone."""
    instrument, bars = perpetual(), BarSpec.parse(_BAR_1S)
    train, validation, test = settings.seeds()
    check_models(known, bars, _NOT_SIMULATED)
    check_seeds(known, (*train, *validation, *test), START_NS)
    say(f"calendar: simulated markets begin on {utc(START_NS)} UTC, which means nothing: no column of clock, session or event is read")

    def make(seeds: list[int], columns: Sequence[str], every_ms: int) -> list[Stretch]:
        return [simulated(s, settings.market_s, instrument, columns, regime_columns, bars, every_ms, known) for s in seeds]

    models = known.models
    given = models.regime if models is not None else None
    regime_columns = given.columns if given is not None else REGIME_COLUMNS
    stretches = make(train, simulated_candidates(known, settings.masks), settings.decide_every_ms)
    params = given or fit_regime(REGIME_COLUMNS, [(s.bar_inputs, s.bar_labels) for s in stretches])
    usable = complete_columns(stretches, max(_WARM_S, _models_warm_bars(known)) + 10.0)
    stretches = [chosen(s, usable) for s in stretches]
    columns = choose(stretches, params)
    stretches = [chosen(s, columns) for s in stretches]
    others = [[chosen(s, columns) for s in make(seeds, columns, 100)] for seeds in (validation, test)]
    spans = [f"simulated BTCUSDT perpetual, {len(train)} markets of {settings.market_s:g} s, taker fee {instrument.taker_fee}"]
    masks = masks_over(settings.masks, columns)
    return Parts(_BAR_1S, "quote", 100, stretches, others[0], others[1], [*spans, *_of_models(known)], params, known, masks)


def bar_parts(settings: FitSettings, files: Sequence[Path], choose: Choose, known: Known, say: Say) -> Parts:
    """Candle files, each cut by time: 60 % training, 20 % validation, 20 % test; a gap of 60 bars between the parts.

    With models only the bars after all that they saw are cut; earlier ones warm columns up.
    """
    sealed: Sealed = "exclude" if settings.exclude_sealed else "refuse"
    first_ns = min(int(read_bars(path, sealed)[0][0]) for path in files)
    given = known.models.regime if known.models is not None else None
    regime_columns = given.columns if given is not None else BAR_REGIME_COLUMNS
    whole = [from_bar_file(f, perpetual(), bar_candidates(known, first_ns), regime_columns, known, sealed=sealed) for f in files]
    interval_ns = int(np.median(np.diff(whole[0].ts_ns)))
    bar = BarSpec.parse(f"time:{interval_ns // 1_000_000}ms")
    after_ns = check_models(known, bar, _NOT_IN_CANDLES)
    _say_what_is_known(known, first_ns, max(int(s.ts_ns[-1]) for s in whole), say)
    parts: list[list[Stretch]] = [[], [], []]
    warm: list[Stretch] = []  # from the beginning of a file to the end of its training part
    for stretch in whole:
        seen = int(np.searchsorted(stretch.ts_ns, after_ns, side="right"))
        n = len(stretch.ts_ns) - seen
        if seen:
            say(f"{stretch.name}: {seen} of {seen + n} bars left out, not later than {utc(after_ns)} UTC: the feature models saw that far")
        for k, (start, stop) in enumerate(((0, 0.6), (0.6, 0.8), (0.8, 1.0))):
            first = seen + int(start * n) + (60 if k else 0)
            parts[k].append(_cut(stretch, first, seen + int(stop * n)))
        warm.append(_cut(stretch, 0, seen + int(0.6 * n)))
    params = given or fit_by_moments(BAR_REGIME_COLUMNS, [s.bar_inputs for s in parts[0]])
    # A column must be warm after so many bars of a file, and then always there; a model speaks only of bars that it has not seen.
    of_models = known.model_columns(_NOT_IN_CANDLES)
    usable = {*complete_columns(warm, _BARS_WARM_MAX * interval_ns / 1e9), *of_models}
    after_s = 0.0 if after_ns else _BARS_WARM_MAX * interval_ns / 1e9
    names = [name for name in complete_columns(parts[0], after_s) if name in usable]
    columns = choose([chosen(s, names) for s in parts[0]], params)
    parts = [[chosen(s, columns) for s in part] for part in parts]
    spans = [f"{s.name}: {np.datetime64(int(s.ts_ns[0]), 'ns')} to {np.datetime64(int(s.ts_ns[-1]), 'ns')}" for s in parts[0]]
    masks = masks_over(OUTSIDE, columns)
    return Parts(bar.text, "bar", 0, parts[0], parts[1], parts[2], [*spans, *_of_models(known)], params, known, masks)


def _models_warm_bars(known: Known) -> int:
    """Closed bars after which the columns of the models have a value, those that look back on themselves apart."""
    if known.models is None:
        return 0
    reads = [name for block in ("regime", "latent", "memory") for name in known.models.reads(block)]
    warm = known.models.regime.warm_bars if known.models.regime is not None else 0
    return (bars_of(reads) if reads else 0) + warm + _LOOK_BACK_BARS


def _of_models(known: Known) -> list[str]:
    """A line for the manifest on where the models came from."""
    fit = known.models.fit if known.models is not None else None
    return [f"feature models fitted on {fit.source} ({fit.rows} {fit.bar} bars until {utc(fit.last_ns)} UTC)"] if fit is not None else []


def _say_what_is_known(known: Known, first_ns: int, last_ns: int, say: Say) -> None:
    """Lines on the calendar and the references of these files."""
    if known.windows is not None:
        family = perpetual().family
        text = f"calendar: sessions of {family}, good until {utc(known.windows.valid_until_ns(family))} UTC"
        if not known.lists_events_at(first_ns):
            text += f"; no column of events: the list of events begins after {utc(first_ns)} UTC, where the bars do"
        say(text)
    for line in known.outside(first_ns, last_ns)[1]:
        say(line)


def _cut(s: Stretch, start: int, stop: int) -> Stretch:
    """Rows start .. stop - 1 and the bars before them that the filter needs to be warm."""
    if stop - start < 300:
        raise ConfigError(f"{s.name}: {stop - start} bars in a part are too few to train or judge on: give a longer file")
    bars = slice(max(0, start - 200), stop)
    cut = {name: getattr(s, name)[start:stop] for name in ("ts_ns", "features", "bid_ticks", "ask_ticks", "labels")}
    return msgspec.structs.replace(s, **cut, **{name: getattr(s, name)[bars] for name in ("bar_ts_ns", "bar_inputs", "bar_labels")})
