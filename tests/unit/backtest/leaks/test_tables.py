"""What data gives away is named with column and row, and honest data is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mia.assemble import calendar_files
from mia.backtest.leaks.tables import calendar_findings, candle_findings, foreseeing, normalised, table_findings
from mia.backtest.readers import read_candles
from mia.domain.errors import DataError

HEAD = "start_time,type,impact,minutes_before,minutes_after,source,valid_until"
N = 400


def columns() -> tuple[np.ndarray, np.ndarray]:
    """(close, its log returns after each row)."""
    rng = np.random.default_rng(1)
    returns = rng.normal(0, 0.01, N)
    return 100 * np.exp(np.cumsum(returns)), np.concatenate([returns[1:], [0.0]])


def test_columns_scaled_over_the_whole_span_are_named_and_others_are_not() -> None:
    close, _ = columns()
    rolling = np.array([(close[i] - close[max(0, i - 50) : i + 1].mean()) / 10 for i in range(N)])
    side = np.where(np.arange(N) % 2, 1.0, 0.0)
    names = ["z", "z1", "minmax", "close", "rolling", "side", "constant"]
    table = [
        (close - close.mean()) / close.std(), (close - close.mean()) / close.std(ddof=1), (close - close.min()) / np.ptp(close), close,
        rolling, side, np.ones(N),
    ]  # fmt: skip
    matrix = np.stack(table, axis=1)
    matrix[:5, 1] = np.nan
    matrix[5:, 1] = (close[5:] - close[5:].mean()) / close[5:].std(ddof=1)

    found = normalised("x.csv", names, matrix)

    last = int(max(close.argmin(), close.argmax())) + 1
    assert [(f.column, f.row) for f in found] == [("z", 1), ("z1", 6), ("minmax", last)]


def test_a_column_of_the_return_that_follows_is_named() -> None:
    close, ahead = columns()
    behind = np.concatenate([[0.0], np.diff(np.log(close))])

    found = foreseeing("x.csv", ["ahead", "behind", "noise"], np.stack([ahead, behind, np.sin(np.arange(N))], axis=1), close)

    assert [(f.column, f.row) for f in found] == [("ahead", 1)]


def test_a_table_names_values_known_before_what_they_describe(tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    path.write_text("ts,known_at,score\n2024-05-01T10:00:00Z,2024-05-01T10:00:05Z,1\n2024-05-01T11:00:00Z,2024-05-01T10:59:00Z,2\n")

    found = table_findings(path)

    assert [(f.file, f.column, f.row) for f in found] == [("news.csv", "known_at", 2)]
    assert "before the time that it describes" in found[0].what


def test_fred_values_stamped_before_their_publication_are_named(tmp_path: Path) -> None:
    early = tmp_path / "early.csv"
    early.write_text(
        "date,series_id,value,known_at\n2024-05-06,DGS10,4.5,2024-05-07T20:30:00Z\n2024-05-07,DGS10,4.4,2024-05-07T20:30:00Z\n"
    )  # the 16:30 of New York is 20:30 UTC in May, on the next business day
    filled = tmp_path / "filled.csv"
    filled.write_text(
        "date,series_id,value,last_updated\n2024-05-06,DGS10,4.5,2024-05-07T16:20:00-05:00\n2024-05-07,DGS10,4.4,2024-05-07T16:20:00-05:00\n"
    )

    assert [(f.column, f.row) for f in table_findings(early)] == [("known_at", 2)]
    assert [(f.column, f.row) for f in table_findings(filled)] == [("date", 2)]


def test_calendar_rows_made_with_hindsight_are_named(tmp_path: Path) -> None:
    path = tmp_path / "macro_events.csv"
    rows = [
        "2026-01-28T19:00:00Z,fomc,1.0,30,60,x,2026-01-29T19:00:00Z,2025-12-01T00:00:00Z",
        "2026-03-18T18:00:00Z,fomc,1.0,30,60,x,2026-03-18T17:45:00Z,2025-12-01T00:00:00Z",
        "2026-04-18T18:00:00Z,fomc,0.2,30,60,x,2026-04-19T18:00:00Z,2026-04-18T18:30:00Z",
    ]
    path.write_text("\n".join([HEAD + ",known_at", *rows]) + "\n")

    found = calendar_findings(path)

    assert [(f.column, f.row) for f in found] == [("valid_until", 2), ("impact", 3), ("known_at", 3)]


def test_the_shipped_calendar_is_clean() -> None:
    assert calendar_findings(calendar_files()[1]) == []


def session_stamps(shift_s: int, days: int = 6) -> np.ndarray:
    """5-minute bars of 14:30 to 21:00 UTC, by their opens plus a shift."""
    day = 1_714_521_600 + 86_400 * np.arange(days)[:, None]
    return (day + 52_200 + 300 * np.arange(78)[None, :] + shift_s).ravel()


@pytest.mark.parametrize(("shift_s", "is_found"), [(0, False), (300, True)])
def test_candles_stamped_with_their_close_are_told_by_their_sessions(tmp_path: Path, shift_s: int, is_found: bool) -> None:
    path = tmp_path / "es.csv"
    stamps = session_stamps(shift_s)
    price = np.full(len(stamps), 100.0)
    pl.DataFrame({"ts_unix_s": stamps, "open": price, "high": price, "low": price, "close": price, "volume": price}).write_csv(path)

    found = candle_findings(read_candles([path]))

    assert [(f.column, f.row) for f in found] == ([("time", 79)] if is_found else [])


@pytest.mark.parametrize(("shift_s", "is_found"), [(0, False), (300, True)])
def test_candles_of_whole_days_tell_by_the_ends_of_the_file(tmp_path: Path, shift_s: int, is_found: bool) -> None:
    path = tmp_path / "btc.csv"
    stamps = 1_714_521_600 + 300 * np.arange(2 * 288) + shift_s
    price = np.full(len(stamps), 100.0)
    pl.DataFrame({"ts_unix_s": stamps, "open": price, "high": price, "low": price, "close": price, "volume": price}).write_csv(path)

    found = candle_findings(read_candles([path]))

    assert [f.row for f in found] == ([1] if is_found else [])


@pytest.mark.data
@pytest.mark.parametrize("name", ["binance_btcusdt_5m_2024-03_2025-07.feather", "es_5m_2026-02_2026-04_yfinance.csv.gz"])
def test_recorded_candles_are_stamped_with_their_open(market_data: Path, name: str) -> None:
    path = next(market_data.rglob(name))

    assert candle_findings(read_candles([path], naive_is_utc=True)) == []


def test_a_table_that_cannot_be_judged_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    bad = tmp_path / "bad.csv"
    bad.write_text("ts,known_at\n2024-05-01,soon\n")

    with pytest.raises(DataError, match="no time column"):
        table_findings(path)
    with pytest.raises(DataError, match="row 1: known_at 'soon'"):
        table_findings(bad)
