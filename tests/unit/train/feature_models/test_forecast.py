"""The forecast of VIX: inputs known at the close, errors out of sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia.backtest.forecasts import vix_inputs
from mia.train.feature_models.forecast import fit_vix, read_vix


def test_the_inputs_of_the_vix_forecast_are_known_at_the_close() -> None:
    rng = np.random.default_rng(1)
    days = np.cumsum(rng.choice([1, 1, 1, 1, 3], 60)) + 10_000
    close = np.exp(3 + np.cumsum(rng.normal(0, 0.05, 60)))

    x = vix_inputs(days, close, np.append(days[1:], days[-1] + 3))

    ln = np.log(close)
    for t in range(22, 60):
        after = int(days[t + 1]) if t < 59 else int(days[-1]) + 3
        weekday = [float((after + 3) % 7 == k) for k in range(4)]
        assert x[t] == pytest.approx([ln[t], ln[t - 4 : t + 1].mean(), ln[t - 21 : t + 1].mean(), *weekday, after - int(days[t])])


def test_the_errors_of_the_vix_forecast_are_out_of_sample() -> None:
    rng = np.random.default_rng(6)
    days = 10_000 + np.arange(1_000)
    ln = np.zeros(1_000)
    for t in range(1, 1_000):
        ln[t] = 0.9 * ln[t - 1] + rng.normal(0, 0.1)
    close = 20 * np.exp(ln)

    fitted = fit_vix(days, close, first=500, every=50)

    x, y = vix_inputs(days, close, days + 1)[22:-1], np.log(close[23:])
    har = []
    for k in range(500, len(y), 50):
        a = np.column_stack([np.ones(k), x[:k, :3]])
        w = np.linalg.lstsq(a, y[:k], rcond=None)[0]
        har += (np.column_stack([np.ones(len(y[k : k + 50])), x[k : k + 50, :3]]) @ w).tolist()
    assert fitted.errors["days"] == len(y) - 500
    assert fitted.errors["rmse_ln_har"] == pytest.approx(np.sqrt(np.mean((np.array(har) - y[500:]) ** 2)), rel=1e-6)
    assert fitted.errors["rmse_last_value"] == pytest.approx(np.sqrt(np.mean((close[522:-1] - close[523:]) ** 2)))
    assert fitted.errors["rmse_har"] < fitted.errors["rmse_last_value"]


@pytest.mark.data
def test_the_vix_forecast_beats_the_last_value_and_har_on_36_years(market_data: Path) -> None:
    errors = fit_vix(*read_vix(market_data / "vix_daily_1990_2026.csv")).errors

    assert errors["days"] > 7_000
    assert errors["rmse_model"] < errors["rmse_har"] < errors["rmse_last_value"]
    assert errors["rmse_ln_model"] < errors["rmse_ln_har"] < errors["rmse_ln_last_value"]
