"""Candle files: the forms they come in, and what is wrong with one, by file, row and column."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mia.backtest.feature_bench import made_bars, plan_of
from mia.backtest.readers import bar_rows, grid_of, read_candles
from mia.domain.errors import ConfigError, DataError
from mia.features.bars import BarSpec
from mia.features.batch import BY_NOTIONAL, compute_bars
from mia.features.catalogue import shipped_catalogue

MINUTE = 60_000_000_000


def frame(n: int = 5, **replaced: Any) -> pl.DataFrame:
    """Minute bars at 100, 101, ...; `replaced`: column -> values."""
    up = np.arange(n, dtype=np.float64)
    columns = {
        "ts_ms": np.arange(n) * 60_000 + 1_700_000_040_000,
        "open": 100.0 + up, "high": 103.0 + up, "low": 99.0 + up, "close": 102.0 + up, "volume": 1.5 + up,
    }  # fmt: skip
    return pl.DataFrame({**columns, **replaced})


def save(path: Path, data: pl.DataFrame | str) -> Path:
    if isinstance(data, str):
        path.write_bytes(gzip.compress(data.encode()) if path.suffix == ".gz" else data.encode())
    else:
        {".csv": data.write_csv, ".parquet": data.write_parquet, ".feather": data.write_ipc}[path.suffix](path)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.feather"])
def test_every_kind_of_file_gives_the_same_bars(name: str, tmp_path: Path) -> None:
    candles = read_candles([save(tmp_path / name, frame())])

    assert candles.interval_ns == MINUTE
    assert (candles.close_ns - candles.open_ns).tolist() == [MINUTE] * 5
    assert candles.ohlcv[0].tolist() == [100.0, 103.0, 99.0, 102.0, 1.5]


@pytest.mark.parametrize(
    ("text", "tz", "first"),
    [
        ("datetime,open,high,low,close,volume,symbol\n2026-02-17 00:05:00,1,2,1,2,0,ES\n2026-02-17 00:10:00,1,2,1,2,5,ES\n",
         "America/New_York", "2026-02-17T05:05:00"),
        ("Date, Time, Open, High, Low, Last, Volume\n2026-6-5, 9:09:00.000000, 1, 2, 1, 2, 0\n2026-6-5, 9:10:00.000000, 1, 2, 1, 2, 4\n",
         "America/Chicago", "2026-06-05T14:09:00"),
        ("date,open,high,low,close,volume\n2026-06-05T09:09:00+00:00,1,2,1,2,0\n2026-06-05T09:10:00+00:00,1,2,1,2,0\n",
         None, "2026-06-05T09:09:00"),
        ("timestamp,open,high,low,close,volume\n1700000040,1,2,1,2,0\n1700000100,1,2,1,2,0\n", "America/Chicago", "2023-11-14T22:14:00"),
    ],
)  # fmt: skip
def test_times_of_many_forms_become_utc(text: str, tz: str | None, first: str, tmp_path: Path) -> None:
    candles = read_candles([save(tmp_path / "a.csv.gz", text)], tz=tz)

    assert str(np.datetime64(int(candles.open_ns[0]), "ns"))[:19] == first


def test_the_columns_of_bitfinex_come_by_name_and_without_a_header_by_what_prices_allow(tmp_path: Path) -> None:
    bitfinex = frame().select("ts_ms", "open", "close", "high", "low", "volume")
    with_names = read_candles([save(tmp_path / "a.parquet", bitfinex)])
    bitfinex.write_csv(tmp_path / "b.csv", include_header=False)
    without = read_candles([tmp_path / "b.csv"])

    assert (
        without.ohlcv.tolist()
        == with_names.ohlcv.tolist()
        == [list(r) for r in frame().select("open", "high", "low", "close", "volume").rows()]
    )
    assert "ts_ms, open, close, high, low, volume" in without.notes[0]


def test_prices_that_fit_both_orders_ask_for_a_header(tmp_path: Path) -> None:
    flat = frame(open=[5.0] * 5, high=[5.0] * 5, low=[5.0] * 5, close=[5.0] * 5)
    flat.write_csv(tmp_path / "b.csv", include_header=False)

    with pytest.raises(DataError, match="add a header"):
        read_candles([tmp_path / "b.csv"])


def test_bars_that_end_at_irregular_times_must_be_named_and_keep_their_trades(tmp_path: Path) -> None:
    text = "date_time,open,high,low,close,cum_vol,cum_dollar,cum_ticks\n2015-01-01 23:16:58.834,5,6,5,6,8377,45000,2800\n"
    path = save(tmp_path / "t.csv", text + "2015-01-02 00:36:33.094,6,6,5,5,6046,33000,2801\n")

    with pytest.raises(ConfigError, match="irregular"):
        read_candles([path], tz="UTC")
    candles = read_candles([path], tz="UTC", bars=BarSpec.parse("tick:2800"))

    assert bar_rows(candles, grid_of(candles), 0, 2)[:, [4, 8]].tolist() == [[8377.0, 2800.0], [6046.0, 2801.0]]
    assert str(np.datetime64(int(candles.close_ns[0]), "ns")).startswith("2015-01-01T23:16:58.834")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"close": [102.0, float("nan"), 104.0, 105.0, 106.0]}, "row 2: close is nan"),
        ({"high": [103.0, 104.0, float("inf"), 106.0, 107.0]}, "row 3: high is inf"),
        ({"low": [99.0, 0.0, 101.0, 102.0, 103.0]}, "row 2 (2023-11-14 22:15:00): low is 0"),
        ({"open": [100.0, 101.0, -102.0, 103.0, 104.0]}, "row 3 (2023-11-14 22:16:00): open is -102"),
        ({"volume": [1.0, 1.0, 1.0, 1.0, -1.0]}, "row 5 (2023-11-14 22:18:00): volume is -1"),
        ({"volume": [1.0, None, 1.0, 1.0, 1.0]}, "row 2: volume is empty"),
        ({"high": [103.0, 104.0, 102.0, 106.0, 107.0]}, "row 3 (2023-11-14 22:16:00): high 102 does not hold open 102, high 102, low 101"),
        ({"ts_ms": [0, 60_000, 60_000, 120_000, 180_000]}, "row 3 (1970-01-01 00:01:00) repeats the time of row 2"),
        ({"ts_ms": [0, 60_000, 120_000, 60_001, 180_000]}, "row 4 (1970-01-01 00:01:00) is earlier than row 3"),
        ({"ts_ms": [0, 60_000, 120_000, 150_000, 210_000]}, "row 4 (1970-01-01 00:02:30): begins 30 s after row 3, whose bar lasts 60 s"),
        ({"ts_ms": [0, None, 120_000, 150_000, 210_000]}, "row 2: ts_ms is missing"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_with_file_row_and_column(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = save(tmp_path / "bad.parquet", frame(**change))

    with pytest.raises(DataError) as e:
        read_candles([path])

    assert f"{path}: {words}" in str(e.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.parquet", frame().drop("low"), "column 'low' is missing"),
        ("x.parquet", frame().drop("ts_ms"), "a time column is missing"),
        ("x.parquet", frame()[:0], "holds no rows"),
        ("x.csv", "", "cannot be read"),
        ("x.parquet", "PAR1", "cannot be read"),
        ("x.feather", "nonsense", "cannot be read"),
        ("x.txt", "1", "use .feather"),
        ("x.csv", "date,open,high,low,close,volume\n2026-02-17 00:05,1,2,1,x,1\n", "row 1: close is 'x', not a finite number"),
        ("x.csv", "date,open,high,low,close,volume\nyesterday,1,2,1,2,1\n", "row 1: date 'yesterday' is not a time"),
        ("x.csv", "date,open,high,low,close,volume\n2026-02-17,1,2,1,2,1\n2026-02-30,1,2,1,2,1\n", "row 2: date '2026-02-30' is"),
        ("x.csv", "date,date ,open,high,low,close,volume\n1,1,1,2,1,2,1\n", "column 'date' is there twice"),
        ("x.parquet", frame().with_columns(contract=pl.lit("201312"), ms_of_day=0), "several contracts"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(name: str, data: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "x.txt" or (isinstance(data, str) and not name.endswith(".csv")):
        path.write_text(data)
    else:
        save(path, data)

    with pytest.raises(DataError) as e:
        read_candles([path], naive_is_utc=True)

    assert str(path) in str(e.value)
    assert words in str(e.value)


def test_times_without_a_zone_are_not_guessed(tmp_path: Path) -> None:
    path = save(tmp_path / "x.csv", "date,open,high,low,close,volume\n2026-02-17 00:05,1,2,1,2,1\n2026-02-17 00:06,1,2,1,2,1\n")

    with pytest.raises(ConfigError, match="--tz UTC"):
        read_candles([path])
    with pytest.raises(ConfigError, match="no such time zone"):
        read_candles([path], tz="Chicago")


def test_an_hour_that_happens_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.csv", "date,open,high,low,close,volume\n2025-11-02 00:30,1,2,1,2,1\n2025-11-02 01:30,1,2,1,2,1\n")

    with pytest.raises(DataError, match=r"row 2: date .* is twice or never in America/Chicago"):
        read_candles([path], tz="America/Chicago")


def test_late_and_repeated_rows_are_left_out_when_asked(tmp_path: Path) -> None:
    times = [0, 60_000, 60_000, 30_000, 120_000]
    path = save(tmp_path / "x.parquet", frame(ts_ms=times))

    candles = read_candles([path], on_duplicate="drop")

    assert candles.open_ns.tolist() == [0, MINUTE, 2 * MINUTE]
    assert candles.ohlcv[:, 0].tolist() == [100.0, 101.0, 104.0]
    assert candles.dropped == 2
    assert "2 late or repeated rows" in candles.notes[0]


def test_files_must_follow_each_other(tmp_path: Path) -> None:
    early = save(tmp_path / "a.parquet", frame())
    late = save(tmp_path / "b.parquet", frame(ts_ms=np.arange(5) * 60_000 + 1_800_000_000_000))

    assert len(read_candles([early, late]).open_ns) == 10
    with pytest.raises(DataError, match="give files in order"):
        read_candles([late, early])


@pytest.mark.parametrize(("bars", "words"), [("time:5m", "holds time:1m bars"), ("tick:10", "holds time bars")])
def test_other_bars_than_those_of_the_file_are_refused(bars: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        read_candles([save(tmp_path / "a.csv", frame())], bars=BarSpec.parse(bars))


def test_steps_are_the_coarsest_that_fit_and_bars_come_in_whole_ones(tmp_path: Path) -> None:
    prices = {"open": [4800.25, 4801.0], "high": [4801.5, 4801.0], "low": [4800.0, 4800.75], "close": [4801.0, 4800.75]}
    candles = read_candles([save(tmp_path / "a.csv", frame(2, **prices, volume=[3.0, 4.0]))])

    grid = grid_of(candles)
    rows = bar_rows(candles, grid, 0, 2)

    assert (grid.tick_size, grid.lot_size) == (Decimal("0.25"), Decimal(1))
    assert rows[:, :5].tolist() == [[19201.0, 19206.0, 19200.0, 19204.0, 3.0], [19204.0, 19204.0, 19203.0, 19203.0, 4.0]]
    with pytest.raises(DataError, match=r"row 1 .*: open 4800.25 is no multiple of the tick 0.1"):
        bar_rows(candles, grid_of(candles, Decimal("0.1")), 0, 2)


def kline(n: int = 4, **replaced: Any) -> pl.DataFrame:
    """As frame, with the columns that Binance's klines have beside the candle."""
    volume = 1.5 + np.arange(n)
    mean = 100.5 + np.arange(n)
    return frame(n, **{"quote_asset_volume": mean * volume, "number_of_trades": 10 + np.arange(n), **replaced})


def test_the_traded_quote_volume_and_the_count_of_trades_are_those_of_the_file(tmp_path: Path) -> None:
    candles = read_candles([save(tmp_path / "k.csv", kline())])
    grid = grid_of(candles)

    rows = bar_rows(candles, grid, 0, 4)

    tick, lot = float(grid.tick_size), float(grid.lot_size)
    assert (rows[:, 7] * tick * lot).tolist() == pytest.approx(((100.5 + np.arange(4)) * (1.5 + np.arange(4))).tolist())
    assert rows[:, 8].tolist() == [10.0, 11.0, 12.0, 13.0]
    assert not candles.notes


def test_a_file_without_quote_volume_says_which_columns_differ_from_live(tmp_path: Path) -> None:
    with_it, without = save(tmp_path / "a.csv", kline()), save(tmp_path / "b.csv", frame().with_columns(pl.col("ts_ms") + 240_000))

    alone, both = read_candles([without]), read_candles([with_it, without])

    assert all("vwap_distance" in note and "b.csv" in note and "a.csv" not in note for c in (alone, both) for note in c.notes)
    assert both.notional is None
    grid = grid_of(alone)
    assert bar_rows(alone, grid, 0, 1)[0, 7] * float(grid.tick_size) == pytest.approx(1.5 / float(grid.lot_size) * (103 + 99 + 102) / 3)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("quote_asset_volume", 1.5 * 98.0, "row 1 .*mean price of 98, outside of low 99 .. high 103"),
        ("quote_asset_volume", 50 * 1.5 * 101.0, "mean price of 5050, outside"),
        ("number_of_trades", -1.0, "trades is -1"),
    ],
)
def test_a_quote_volume_or_count_that_cannot_be_is_refused(column: str, value: float, words: str, tmp_path: Path) -> None:
    data = kline().with_columns(pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(pl.col(column)).alias(column))

    with pytest.raises(DataError, match=words):
        read_candles([save(tmp_path / "k.csv", data)])


def test_the_columns_named_are_those_that_feel_the_notional() -> None:
    ts, bars = made_bars(6_000)
    other = bars.copy()
    other[:, 7] = bars[:, 4] * (bars[:, 2] + np.random.default_rng(1).random(len(bars)) * (bars[:, 1] - bars[:, 2]))
    catalogue = shipped_catalogue()
    of_bars = [f.name for f in catalogue.features if "trades" not in f.inputs]

    matrices = [compute_bars(plan_of(of_bars, "time:1m")[0], ts, b, with_cold=True)[1] for b in (bars, other)]

    differ = (matrices[0] != matrices[1]).any(axis=0)
    assert {name for name, d in zip(of_bars, differ, strict=True) if d} == set(BY_NOTIONAL)
