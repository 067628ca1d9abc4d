"""The checks find what they are for: a column that knows the future, one that never settles, constants, twins, a shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.assemble import numbered
from mia.backtest import feature_checks, feature_run
from mia.backtest.distribution import distribution, read_distribution, shift, shift_between, spread, write_distribution
from mia.backtest.feature_checks import Profile, Sample, lookahead, recursive
from mia.backtest.feature_run import Request, Source, in_memory, open_source, table
from mia.domain.errors import DataError
from mia.features.catalogue import shipped_catalogue
from mia.settings import load_settings
from tests.unit.backtest.test_feature_run import candles, recording

COLUMNS = ("ret_1", "rsi_14", "atr_14", "ema_gap_10_20", "body_ratio")


@pytest.fixture(scope="module")
def request_() -> Request:
    return Request(instruments=tuple(numbered(load_settings(environ={}).settings)))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory, request_: Request) -> Source:
    return in_memory(open_source([candles(tmp_path_factory.mktemp("b") / "bars.parquet", 2_000)], request_), 5_000)[0]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory, request_: Request) -> tuple[Source, Any]:
    path = recording(tmp_path_factory.mktemp("f") / "binance_spot_btcusdt_ws_1.gz")
    return in_memory(open_source([path], request_), 100_000)


def test_no_column_of_ours_knows_the_future(bars: Source, frames: tuple[Source, Any]) -> None:
    for source in (bars, frames[0]):
        found = lookahead(source, shipped_catalogue().names, 5)

        assert found.leaks == []
        assert len(found.cuts) == 5
        assert found.compared > 100


def test_a_column_that_looks_ahead_is_found_and_named_with_its_row(bars: Source) -> None:
    def leaking(source: Source, columns: Sequence[str]) -> tuple[Any, Any]:
        """rsi_14 is that of the next bar; atr_14 is divided by the mean of the whole file."""
        ts, matrix = table(source, columns)
        matrix[:-1, 1] = matrix[1:, 1].copy()
        matrix[:, 2] /= np.nanmean(matrix[:, 2])
        return ts, matrix

    found = lookahead(bars, COLUMNS, 3, leaking)

    assert {k.column for k in found.leaks} == {"rsi_14", "atr_14"}
    late = next(k for k in found.leaks if k.column == "rsi_14")
    assert (late.cut, late.row, late.rows) == (500, 499, 1)
    assert late.whole != late.cut_value
    early = next(k for k in found.leaks if k.column == "atr_14")
    assert (early.row, early.rows) == (14, 486)


def test_rows_that_are_not_there_without_the_future_are_a_leak(bars: Source) -> None:
    def missing(source: Source, columns: Sequence[str]) -> tuple[Any, Any]:
        ts, matrix = table(source, columns)
        return ts[:-2], matrix[:-2]

    found = lookahead(bars, COLUMNS, 2, missing)

    assert [(k.column, k.rows, k.row) for k in found.leaks] == [("ts_ns", 2, 665), ("ts_ns", 2, 1331)]


def test_rows_at_other_times_are_a_leak(bars: Source) -> None:
    def shifted(source: Source, columns: Sequence[str]) -> tuple[Any, Any]:
        ts, matrix = table(source, columns)
        return ts + len(ts), matrix

    assert {k.column for k in lookahead(bars, COLUMNS, 2, shifted).leaks} == {"ts_ns"}


def test_windows_are_exact_after_their_warm_up_and_averages_settle_later(bars: Source) -> None:
    found, silent = recursive(bars, None, [*COLUMNS, "ofi_score"], 2)

    settles = {m.column: m.settles for m in found}
    assert (settles["ret_1"], settles["body_ratio"]) == (1, 1)
    assert all(s is not None and s > 1 for s in (settles["rsi_14"], settles["ema_gap_10_20"]))
    by_factor = next(m.differences for m in found if m.column == "rsi_14")
    assert by_factor[1] > by_factor[2] > by_factor[8] > 0.0  # type: ignore[operator]
    assert silent == []


def test_a_column_that_counts_from_the_beginning_never_settles(bars: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    real = feature_run.Run.observe

    def counting(self: Any, ts_ns: int) -> Any:
        values = real(self, ts_ns)
        values[0] = float(self.plan.bar_count())
        return values

    monkeypatch.setattr(feature_run.Run, "observe", counting)

    found, _ = recursive(bars, None, ("ret_1",), 2)

    assert found[0].settles is None
    assert max(found[0].differences) == 64


def test_a_recording_begins_with_the_book_as_it_was(frames: tuple[Source, Any]) -> None:
    found, silent = recursive(*frames, ("depth_imb_5", "book_slope_bid", "queue_imb_1", "rsi_14"), 2)

    assert {m.column: m.settles for m in found if m.column != "rsi_14"} == {"depth_imb_5": 1, "book_slope_bid": 1, "queue_imb_1": 1}
    assert silent == []


def test_the_profile_names_what_is_wrong_and_puts_it_first() -> None:
    rng = np.random.default_rng(1)
    n = 3_000
    columns = ("body_ratio", "ret_1", "stoch_k_14", "rsi_14", "cci_20", "gap", "adx_14")
    matrix = rng.normal(0.0, 1e-3, size=(n, 7))
    matrix[:, 0] = rng.uniform(-1, 1, n)
    matrix[:, 2] = 0.5
    matrix[:, 6] = math.nan
    matrix[:, 3] = -matrix[:, 0]
    matrix[5, 1] = 3.0
    matrix[7, 4] = math.inf
    matrix[:100, 0] = math.nan
    matrix[200, [0, 3]] = 1.0, -1.0
    profile = Profile(columns)

    for start in range(0, n, 700):
        profile.add(matrix[start : start + 700])

    report = {p.column: p for p in profile.report()}
    order = [p.column for p in profile.report()]
    assert order[:3] == ["cci_20", "ret_1", "stoch_k_14"]
    assert report["cci_20"].problems == ["1 values are NaN or infinite"]
    assert report["ret_1"].problems == ["1 values outside of its range"]
    assert report["stoch_k_14"].problems == ["always 0.5"]
    assert report["rsi_14"].twins == ["body_ratio"]
    assert report["adx_14"].problems == ["never there"]
    known = matrix[100:, 0]
    p = report["body_ratio"]
    assert (p.present, p.edge) == (pytest.approx(2900 / 3000), pytest.approx(1 / 2900))
    assert (p.min, p.max, p.mean, p.std) == pytest.approx((known.min(), known.max(), known.mean(), known.std()), rel=1e-12)
    assert report["gap"].problems == []


def test_twins_are_found_where_both_have_a_value() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(size=1_000)
    matrix = np.stack([a, 5.0 - 2.0 * a, rng.normal(size=1_000)], axis=1)
    matrix[::3, 0] = math.nan
    matrix[:400, 1] = math.nan
    profile = Profile(("ema(5)", "ema(6)", "ema(7)"))

    profile.add(matrix)

    assert {p.column: p.twins for p in profile.report()} == {"ema(5)": ["ema(6)"], "ema(6)": ["ema(5)"], "ema(7)": []}


def test_a_sample_is_spread_evenly_over_any_number_of_rows() -> None:
    sample = Sample(100)
    for start in range(0, 5_000, 37):
        sample.add(np.arange(start, min(start + 37, 5_000), dtype=np.float64)[:, None])

    kept = sample.matrix[:, 0]
    assert 100 <= len(kept) <= 200
    assert len(set(np.diff(kept).tolist())) == 1


def test_the_same_data_has_no_drift_and_moved_data_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=20_000), rng.normal(size=20_000)
    then = spread(a)

    same, moved = shift("x", then, b), shift("x", then, b + 1.0)
    two = shift_between("x", a, b + 1.0)

    assert same.psi is not None
    assert same.psi < 0.005
    assert moved.psi == pytest.approx(1.0, abs=0.15)  # that of two normal distributions a deviation apart is 1
    assert moved.ks == pytest.approx(0.383, abs=0.02)  # 2 Phi(1/2) - 1
    assert two.ks == pytest.approx(0.383, abs=0.02)
    assert then.shares == pytest.approx([0.1] * 10, abs=1e-3)
    made = distribution(("x", "y"), np.stack([a, np.full(20_000, math.nan)], axis=1), "hash", "time:1s")
    write_distribution(tmp_path, made)
    assert read_distribution(tmp_path) == made
    assert shift("y", made.columns["y"], a).psi is None
    with pytest.raises(DataError, match=r"has no distribution\.json"):
        read_distribution(tmp_path / "other")


def test_a_flag_and_a_constant_drift_when_they_change() -> None:
    flag = np.repeat([0.0, 1.0], [8_000, 2_000])

    assert shift("f", spread(flag), flag).psi == 0.0
    assert shift("f", spread(flag), np.repeat([0.0, 1.0], [5_000, 5_000])).psi == pytest.approx(0.3 * np.log(4.0), rel=1e-6)
    assert shift("c", spread(np.ones(50)), np.ones(9)).psi == 0.0
    assert shift("c", spread(np.ones(50)), np.full(9, 1.5)).ks == 1.0
    assert shift("c", spread(np.ones(50)), np.full(9, 0.5)).ks == 1.0


def test_values_at_an_end_are_those_of_live_whatever_was_asked_for_in_between(bars: Source) -> None:
    _, matrix = table(bars, COLUMNS)

    whole = feature_checks._whole(bars, COLUMNS, [700, 1_500], feature_checks._times(bars))

    assert whole.tobytes() == matrix[[699, 1_499]].tobytes()


def test_twins_of_the_instrument_are_told_with_their_reason() -> None:
    spread = np.random.default_rng(4).integers(1, 5, 2_000).astype(np.float64)
    profile = Profile(("spread_ticks", "impact_bps_10k", "rsi_14"))
    profile.add(np.stack([spread, 0.05 * spread, np.linspace(0.0, 1.0, 2_000)], axis=1))

    problems = {p.column: p.problems for p in profile.report()}

    assert problems["impact_bps_10k"][0].startswith("moves as spread_ticks (10,000 of the quote currency never reach beyond the best price")
    assert problems["spread_ticks"][0].startswith("moves as impact_bps_10k (10,000")
    assert problems["rsi_14"] == []
