"""All models of one file, fitted on one span: of candle files or of simulated markets; and fold by fold for rows of history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from mia.backtest.validation.seal import Sealed
from mia.backtest.validation.splits import Labels
from mia.backtest.validation.splits import walk_forward as anchored
from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.features.models import FeatureModels, Fit, Latent
from mia.train.feature_models.forecast import fit_vix, known_ns, read_vix
from mia.train.feature_models.latent import fit_autoencoder, fit_distance, fit_projection
from mia.train.feature_models.memory import fit_memory
from mia.train.feature_models.regime import fit_hmm
from mia.train.feature_models.report import report
from mia.train.feature_models.rows import (
    FLOW,
    PRICE,
    REGIME,
    REGIME_OF_CANDLES,
    STRESS,
    VOL,
    FeatureFitSettings,
    Stretch,
    columns_of,
    from_candles,
    from_simulation,
)

Say = Callable[[str], None]
MARKETS_FROM: Final = 500_000  # past every seed of a market that `mia-train fit` plays on, whatever its --seed


def fit_models(
    stretches: Sequence[Stretch], settings: FeatureFitSettings, source: str, bar: str, seeds: Sequence[int] = ()
) -> FeatureModels:
    """All models on all rows of these stretches, which do not overlap in time; nothing else is looked at. seeds: of simulated markets."""
    rows = np.concatenate([s.rows for s in stretches])
    if len(rows) < 1_000:
        raise ConfigError(f"feature models: {len(rows)} warm bars in {source}: 1000 are the least")
    has_flow = bool(columns_of(rows, ("delta_ratio",)).std() > 1e-9)
    stamps = np.concatenate([s.ts_ns for s in stretches])
    first, last = int(stamps.min()), int(stamps.max())
    models = FeatureModels(
        fit=Fit(source=source, bar=bar, first_ns=first, last_ns=last, rows=len(rows), seed=settings.seed, seeds=list(seeds)),
        regime=fit_hmm([s.rows for s in stretches], REGIME if has_flow else REGIME_OF_CANDLES, settings),
        latent=Latent(
            pca_flow=fit_projection(rows, FLOW) if has_flow else None,
            pca_price=fit_projection(rows, PRICE),
            ae_vol=fit_autoencoder(rows, VOL, settings),
            stress=fit_distance(rows, STRESS),
        ),
        memory=fit_memory(stretches, settings),
    )
    models.check(source)
    return models


def walk_forward(stretch: Stretch, settings: FeatureFitSettings, folds: int, bar: str) -> Iterator[tuple[FeatureModels, int, int]]:
    """(models, first, stop): models fitted on the rows before `first`, for rows first .. stop - 1; the first fold only teaches."""
    labels = Labels.of(stretch.ts_ns, stretch.ts_ns)  # an outcome that ends after the rows it is fitted on is left out by the fit
    for split in anchored(labels, folds - 1):
        first, stop = int(split.test[0]), int(split.test[-1]) + 1
        yield fit_models([stretch.cut(0, first)], settings, f"{stretch.name} rows 0 .. {first - 1}", bar), first, stop


def fit_features(
    out: Path, settings: FeatureFitSettings, bar_files: Sequence[Path], vix_file: Path | None, instrument: Instrument, say: Say
) -> FeatureModels:
    """Fit on the first share of each candle file (all of one interval), or on simulated markets, and write the models to `out`.

    The forecast of VIX sees what was known by the end of what the others see; with simulated markets, the first share of its file.
    """
    seeds: list[int] = []
    if bar_files:
        sealed: Sealed = "exclude" if settings.exclude_sealed else "refuse"
        whole = [from_candles(path, instrument, sealed) for path in bar_files]
        if len({bar for _, bar in whole}) != 1:
            raise ConfigError(f"feature models: candle files of different intervals: {', '.join(bar for _, bar in whole)}")
        bar = whole[0][1]
        cuts = [int(len(s.ts_ns) * settings.train_share) for s, _ in whole]
        until = min(int(s.ts_ns[k - 1]) for (s, _), k in zip(whole, cuts, strict=True))  # in time, so that no file sees another's future
        cuts = [int(np.searchsorted(s.ts_ns, until, side="right")) for s, _ in whole]
        seen = [s.cut(0, k) for (s, _), k in zip(whole, cuts, strict=True)]
        unseen = [s.cut(k, len(s.ts_ns)) for (s, _), k in zip(whole, cuts, strict=True)]
        source = ", ".join(path.name for path in bar_files)
    else:
        bar, end = "time:1s", 1_700_000_000_000_000_000
        first = 1_000_000 * settings.seed + MARKETS_FROM
        seeds = list(range(first, first + 8))
        seen = [from_simulation(s, 1_800.0, instrument, end - (8 - k) * 3_600_000_000_000) for k, s in enumerate(seeds)]
        unseen = [from_simulation(first + 1_000 + k, 1_800.0, instrument, end) for k in range(3)]
        source = f"simulated markets {first} .. {first + 7}"
    say(f"{source}: {sum(len(s.ts_ns) for s in seen)} bars to fit on, {sum(len(s.ts_ns) for s in unseen)} later")
    models = fit_models(seen, settings, source, bar, seeds)
    if vix_file is not None:
        days, close = read_vix(vix_file)
        assert models.fit is not None
        stop = (
            int(np.searchsorted(known_ns(days), models.fit.last_ns, side="right")) if bar_files else int(len(days) * settings.train_share)
        )
        vix = fit_vix(days[:stop], close[:stop])
        models = msgspec.structs.replace(models, predicted_vix=vix)
        e = vix.errors
        say(
            f"VIX of the next day, {e['days']:.0f} days out of sample: RMSE {e['rmse_model']:.4f} (HAR {e['rmse_har']:.4f}, last value "
            f"{e['rmse_last_value']:.4f}), MAE {e['mae_model']:.4f} ({e['mae_har']:.4f}, {e['mae_last_value']:.4f}), RMSE of ln "
            f"{e['rmse_ln_model']:.5f} ({e['rmse_ln_har']:.5f}, {e['rmse_ln_last_value']:.5f}); nearer than the last value on "
            f"{e['share_nearer']:.1%}; fitted on the first {stop} of {len(days)} days"
        )
    for line in report(models, seen, unseen):
        say(line)
    models.check(str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(models.encode())
    return models
