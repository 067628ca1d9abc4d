"""What plans of training know of the calendar is what live knows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mia.assemble import calendars_of
from mia.backtest.forecasts import vix_inputs
from mia.domain.regime import RegimeParams
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.models import FeatureModels, Fit
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.risk.windows import Family, MacroEvent, Windows
from mia.train.feature_models.forecast import fit_vix
from mia.train.known import EVENT_COLUMNS, Known, read_known
from mia.train.parts import bar_candidates, bar_parts
from mia.train.settings import REGIME_COLUMNS, FitSettings, perpetual
from mia.train.tapes import Stretch, from_bar_file, simulated

HOUR_NS = 3_600_000_000_000
START_NS = int(dt.datetime(2026, 3, 2, tzinfo=dt.UTC).timestamp()) * 1_000_000_000
N = 24 * 21  # hours: three weeks, with the change of clocks in New York
ES = Family(
    time_zone="America/New_York", sessions=["sun-thu 18:00-17:00"], holidays=[dt.date(2026, 3, 11)], valid_until="2026-12-31T00:00:00Z"
)
EVENTS = tuple(
    MacroEvent(start_ns=t, end_ns=t, kind="cpi", impact=0.9, source="made up", at_ns=t)
    for t in (START_NS - 24 * HOUR_NS, START_NS + 61 * HOUR_NS, START_NS + 400 * HOUR_NS, START_NS + 3_000 * HOUR_NS)
)
WINDOWS = Windows({"es": ES}, EVENTS)
COLUMNS = ("session_range_pos", "prev_day_high_dist", "minutes_to_close", "closure_ahead", "days_to_roll", *EVENT_COLUMNS)


def prices(n: int = N) -> np.ndarray:
    close = 50_000 + np.cumsum(np.random.default_rng(2).integers(-40, 41, n)).astype(float)
    opens = np.concatenate([[50_000.0], close[:-1]])
    return np.stack([opens, np.maximum(opens, close) + 5, np.minimum(opens, close) - 5, close, np.full(n, 100.0)], axis=1)


def bar_file(path: Path, ohlcv: np.ndarray) -> Path:
    lines = [",".join(map(str, [(START_NS + k * HOUR_NS) // 10**6, *row])) for k, row in enumerate(ohlcv.tolist())]
    path.write_text("\n".join(["ts_ms,open,high,low,close,volume", *lines]))
    return path


def test_session_and_event_columns_of_training_are_those_of_live(tmp_path: Path) -> None:
    instrument = msgspec.structs.replace(perpetual(), family="es")
    tick, lot = float(instrument.tick_size), float(instrument.lot_size)
    ohlcv = prices()
    bars = bar_file(tmp_path / "bars.csv", ohlcv * [tick, tick, tick, tick, lot])

    training = from_bar_file(bars, instrument, COLUMNS, ("rv_30", "linreg_r2_20"), Known(windows=WINDOWS))

    arena = Arena(64 << 20)
    live = calendars_of(WINDOWS, ["es"])["es"]
    plan = build_plan(COLUMNS, instrument, BarSpec.parse("time:1h"), arena, Book(arena, 64), live, neutral=float("nan"))
    close_ns = START_NS + HOUR_NS * np.arange(1, N + 1)
    _, matrix = compute_bars(plan, close_ns, bars_from_ohlcv(*ohlcv.T), with_cold=True)
    days = build_plan(COLUMNS, instrument, BarSpec.parse("time:1h"), arena, Book(arena, 64), neutral=float("nan"))
    _, utc_days = compute_bars(days, close_ns, bars_from_ohlcv(*ohlcv.T), with_cold=True)
    assert np.allclose(training.features, matrix, rtol=1e-9, atol=1e-9, equal_nan=True)
    assert np.isfinite(matrix).any(axis=0).all()
    for k in range(2):
        assert not np.allclose(training.features[:, k], utc_days[:, k], equal_nan=True)  # a calendar left out would show


def test_nothing_is_known_past_the_calendars_end() -> None:
    calendar = Known(windows=WINDOWS).calendar("es", START_NS, START_NS + 10_000 * HOUR_NS)

    assert calendar.valid_until_ns == WINDOWS.valid_until_ns("es")
    assert calendar.opens_ns[0] < START_NS


def test_event_columns_are_no_candidates_before_the_list_of_events_begins() -> None:
    within = bar_candidates(Known(windows=WINDOWS), START_NS)
    before = bar_candidates(Known(windows=WINDOWS), START_NS - 48 * HOUR_NS)

    assert set(within) - set(before) == set(EVENT_COLUMNS)
    assert not any("calendar" in shipped_catalogue().get(name).inputs for name in bar_candidates(Known(), START_NS))


def test_a_simulated_market_plays_in_the_sessions_of_its_family() -> None:
    tokyo = Family(time_zone="UTC", sessions=["mon-sun 22:20-22:10"], valid_until="2030-01-01T00:00:00Z")
    columns = ("session_range_pos", "minutes_since_open")
    known = Known(windows=Windows({"crypto": tokyo}, ()))

    made = simulated(3, 900.0, perpetual(), columns, REGIME_COLUMNS, BarSpec.parse("time:1s"), 1_000, known)

    opened = made.ts_ns >= 1_700_000_400_000_000_000  # 22:20:00 UTC
    assert np.isnan(made.features[~opened, 1]).all()
    assert made.features[opened, 1][0] < 0.01
    assert made.features[-1, 1] > made.features[opened, 1][0]


def test_references_beside_candles_bring_their_columns_the_forecast_of_the_models_and_masks(tmp_path: Path) -> None:
    day_ns, first = 24 * HOUR_NS, dt.date(2024, 1, 1)
    dates = [d for d in (first + dt.timedelta(days=k) for k in range(1_000)) if d.weekday() < 5]
    close = 20 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.03, len(dates))))
    (tmp_path / "vix.csv").write_text("\n".join(["DATE,CLOSE", *(f"{d},{v}" for d, v in zip(dates, close.tolist(), strict=True))]))
    days = np.array([(d - dt.date(1970, 1, 1)).days for d in dates])
    taught = int(np.searchsorted(days, START_NS // day_ns)) - 30
    forecast = fit_vix(days[:taught], close[:taught], first=200)
    fit = Fit(source="x", bar="time:1h", first_ns=0, last_ns=START_NS, rows=1, seed=1)
    (tmp_path / "models.json").write_bytes(FeatureModels(fit=fit, predicted_vix=forecast).encode())
    bars = bar_file(tmp_path / "bars.csv", prices(2_400))
    known = msgspec.structs.replace(read_known(tmp_path / "models.json", [("vix", tmp_path / "vix.csv")]), windows=None)
    offered: list[str] = []

    def choose(stretches: Sequence[Stretch], params: RegimeParams) -> tuple[str, ...]:
        offered.extend(stretches[0].columns)
        return ("ret_1", "vix_change_1", "predicted_vix")

    parts = bar_parts(FitSettings(), [bars], choose, known, lambda _: None)

    assert {"vix_change_1", "vix_change_5", "predicted_vix"} <= set(offered)
    assert not {"dxy_z_60", "pred_short", "vix_term_slope"} & set(offered)
    assert parts.masks == ("has(reference)", "has(predicted)")
    row = parts.test[0]
    at = int(np.searchsorted(days * day_ns + 22 * HOUR_NS, row.ts_ns[-1])) - 1  # a close is known by 22:00 UTC
    assert row.features[-1, 1] == pytest.approx(np.log(close[at] / close[at - 1]))
    x = vix_inputs(days[: at + 1], close[: at + 1], days[1 : at + 2])[-1]
    assert row.features[-1, 2] == pytest.approx(np.exp(forecast.intercept + np.dot(forecast.weights, x)) / close[at] - 1)
