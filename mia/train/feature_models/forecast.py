"""The forecast of the next day's VIX: a ridge regression on the means of the past day, week and month, and the calendar."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np

from mia.backtest.forecasts import VIX_INPUTS, VIX_WARM, vix_inputs
from mia.backtest.readers import file_sha256
from mia.backtest.references import vix_known_ns
from mia.backtest.validation.seal import SealLog
from mia.backtest.validation.seal_match import Reading, names_in
from mia.domain.errors import ConfigError, DataError
from mia.features.models import Linear
from mia.train.feature_models.rows import F64, I64


def _ridge(x: F64, y: F64, penalty: float) -> tuple[float, F64]:
    """Intercept and weights; the penalty is on standardised inputs, per row."""
    mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    z = (x - mean) / std
    w = np.linalg.solve(z.T @ z / len(z) + penalty * np.eye(x.shape[1]), z.T @ (y - y.mean()) / len(z)) / std
    return float(y.mean() - mean @ w), w


def fit_vix(days: I64, close: F64, penalty: float = 1e-4, first: int = 1_500, every: int = 63) -> Linear:
    """The forecast of the next day's VIX, with its errors on days that its weights did not see.

    Walk-forward: from row `first` on the weights are fitted anew every `every` days on all days before, and forecast the days until
    the next fit; the same for HAR (its three means by least squares). The weights returned are of all rows.
    """
    x, y = vix_inputs(days[:-1], close[:-1], days[1:])[VIX_WARM:], np.log(close[VIX_WARM + 1 :])
    last = close[VIX_WARM:-1]
    if len(y) < first + every:
        raise ConfigError(f"VIX forecast: {len(y)} days with inputs, {first + every} are the least")
    full, har = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for k in range(first, len(y), every):
        a, w = _ridge(x[:k], y[:k], penalty)
        full[k : k + every] = a + x[k : k + every] @ w
        a, w = _ridge(x[:k, :3], y[:k], 0.0)
        har[k : k + every] = a + x[k : k + every, :3] @ w
    errors = {"days": float(len(y) - first)}
    for name, forecast in (("model", np.exp(full[first:])), ("har", np.exp(har[first:])), ("last_value", last[first:])):
        off = forecast - np.exp(y[first:])
        errors[f"rmse_{name}"] = float(np.sqrt((off**2).mean()))
        errors[f"mae_{name}"] = float(np.abs(off).mean())
        errors[f"rmse_ln_{name}"] = float(np.sqrt(((np.log(forecast) - y[first:]) ** 2).mean()))
    nearer = np.abs(np.exp(full[first:]) - np.exp(y[first:])) < np.abs(last[first:] - np.exp(y[first:]))
    errors["share_nearer"] = float(nearer.mean())  # of days on which the forecast was nearer to the next close than the last close was
    a, w = _ridge(x, y, penalty)
    return Linear(
        inputs=list(VIX_INPUTS),
        intercept=a,
        weights=w.tolist(),
        target="ln VIX of the next day's close",
        last_ns=known_ns(days[-1:])[0],
        errors=errors,
    )


def known_ns(days: I64) -> list[int]:
    """When the closes of Unix days were known."""
    return [vix_known_ns(date(1970, 1, 1) + timedelta(days=int(day))) for day in days]


def read_vix(path: Path) -> tuple[I64, F64]:
    """(Unix day [n], close [n]) of a file with the columns DATE (yyyy-mm-dd) and CLOSE; DataError names what is wrong."""
    import polars as pl

    try:
        frame = pl.read_csv(path)
        days = frame["DATE"].str.to_date("%Y-%m-%d").to_physical().to_numpy().astype(np.int64)
        close = frame["CLOSE"].cast(pl.Float64).to_numpy()
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
    if not (np.isfinite(close).all() and (close > 0.0).all() and (np.diff(days) > 0).all()):
        raise DataError(f"{path}: values must be finite and above 0, and days must rise")
    begin_ns = days * 86_400_000_000_000
    reading = Reading(sha256=(file_sha256(path),), names=names_in(["vix", path.name]), begin_ns=begin_ns, end_ns=begin_ns + 1)
    SealLog().allowed(reading, str(path))
    return days, close
