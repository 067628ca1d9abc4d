"""The forecast of VIX as predictions: nothing within the fit's span, nothing from later, the plain formula."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.feature_run import Request, open_source, table
from mia.backtest.forecasts import VIX_INPUTS, next_session, predict_vix
from mia.backtest.references import read_reference, vix_known_ns
from mia.domain.errors import ConfigError, DataError
from mia.features.models import FeatureModels, Linear

FIRST = date(2025, 1, 2)
DAYS = 90


def sessions() -> list[date]:
    days = [FIRST]
    while len(days) < DAYS:
        days.append(next_session(days[-1]))
    return days


def forecast(last: date, **changes: object) -> Linear:
    model = Linear(
        inputs=list(VIX_INPUTS),
        intercept=0.1,
        weights=[0.8, 0.1, 0.06, 0.02, 0.0, 0.0, 0.0, 0.004],
        target="ln VIX of the next day's close",
        last_ns=vix_known_ns(last),
        errors={"share_nearer": 0.53},
    )
    return msgspec.structs.replace(model, **changes)


@pytest.fixture
def closes() -> np.ndarray:
    return np.round(18 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.05, DAYS))), 2)


@pytest.fixture
def vix(tmp_path: Path, closes: np.ndarray) -> Path:
    lines = [f"{day},{c},{c},{c},{c}" for day, c in zip(sessions(), closes.tolist(), strict=True)]
    path = tmp_path / "vix.csv"
    path.write_text("\n".join(["DATE,OPEN,HIGH,LOW,CLOSE", *lines]))
    return path


def test_a_prediction_is_the_formula_on_closes_up_to_its_day_and_lasts_until_the_next_close(vix: Path, closes: np.ndarray) -> None:
    days = sessions()

    found = predict_vix(read_reference("vix", vix), forecast(days[50]), "m")

    assert found.events == DAYS - 50
    for i, k in enumerate(range(50, DAYS)):
        ln = np.log(closes[: k + 1])
        after = next_session(days[k])
        x = [ln[-1], ln[-5:].mean(), ln[-22:].mean(), *(float(after.weekday() == d) for d in range(4)), (after - days[k]).days]
        expected = math.exp(0.1 + float(np.dot(x, [0.8, 0.1, 0.06, 0.02, 0.0, 0.0, 0.0, 0.004])))
        assert found.x[i] == pytest.approx(expected, rel=1e-9)
        assert found.y[i] == 0.53
        assert (found.ts_recv_ns[i], found.b[i], found.c[i]) == (vix_known_ns(days[k]), vix_known_ns(days[k]), vix_known_ns(after))


def test_a_file_that_ends_earlier_gives_the_same_predictions(vix: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.csv"
    short.write_text("\n".join(vix.read_text().splitlines()[:70]))
    model = forecast(sessions()[30])

    whole, part = predict_vix(read_reference("vix", vix), model, "m"), predict_vix(read_reference("vix", short), model, "m")

    assert part.x.tobytes() == whole.x[: part.events].tobytes()
    assert part.c.tolist() == whole.c[: part.events].tolist()


def test_the_column_is_empty_before_the_end_of_the_span(vix: Path, closes: np.ndarray, tmp_path: Path) -> None:
    days = sessions()
    model = forecast(days[60])
    (tmp_path / "m.json").write_bytes(FeatureModels(predicted_vix=model).encode())
    hours = int((days[-1] - days[0]).days) * 24
    start = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    stamps = [int((start + timedelta(hours=k)).timestamp()) * 1_000 for k in range(hours)]
    price = 100.0 + np.arange(hours) % 7
    frame = {"ts_ms": stamps, "open": price, "high": price + 1, "low": price - 1, "close": price, "volume": np.ones(hours)}
    pl.DataFrame(frame).write_parquet(tmp_path / "bars.parquet")

    request = Request(references=(("vix", vix),), predictions=(("vix", tmp_path / "m.json"),))
    ts, matrix = table(open_source([tmp_path / "bars.parquet"], request), ("predicted_vix",))

    value = matrix[:, 0]
    assert np.isnan(value[ts <= model.last_ns]).all()
    assert np.isfinite(value[ts > model.last_ns]).all()
    known = [vix_known_ns(day) for day in days]
    events = predict_vix(read_reference("vix", vix), model, "m")
    for row in np.flatnonzero(ts > model.last_ns)[::29]:
        k = int(np.searchsorted(known, ts[row], side="left")) - 1
        assert value[row] == pytest.approx(events.x[k - 60] / closes[k] - 1, rel=1e-9)


def test_what_cannot_be_forecast_is_refused_by_name(vix: Path, tmp_path: Path) -> None:
    series = read_reference("vix", vix)

    with pytest.raises(ConfigError, match="--share"):
        predict_vix(series, forecast(sessions()[-1] + timedelta(days=9)), "m.json")
    with pytest.raises(ConfigError, match="fit it again"):
        predict_vix(series, forecast(FIRST, errors={}), "m.json")
    with pytest.raises(DataError, match="daily"):
        predict_vix(series.slice(0, 20), forecast(FIRST), "m.json")


@pytest.mark.parametrize(
    ("day", "after"),
    [
        (date(2025, 4, 17), date(2025, 4, 21)),  # over Good Friday
        (date(2025, 10, 10), date(2025, 10, 13)),  # Columbus Day is a session
        (date(2025, 11, 10), date(2025, 11, 11)),  # and so is Veterans Day
        (date(2025, 11, 26), date(2025, 11, 28)),
        (date(2025, 12, 24), date(2025, 12, 26)),
    ],
)
def test_the_next_session_is_that_of_the_stock_exchanges(day: date, after: date) -> None:
    assert next_session(day) == after


@pytest.mark.data
def test_on_a_recorded_year_the_forecast_is_nearer_than_the_last_close(market_data: Path) -> None:
    from mia.train.feature_models.forecast import fit_vix, read_vix

    path = market_data / "vix_daily_1990_2026.csv"
    days, close = read_vix(path)

    model = fit_vix(days[:8_000], close[:8_000])
    found = predict_vix(read_reference("vix", path), model, "m")

    following = close[8_000:]
    assert found.events == len(close) - 7_999
    error = np.sqrt(np.mean((found.x[:-1] - following) ** 2))
    assert error < np.sqrt(np.mean((close[7_999:-1] - following) ** 2))
