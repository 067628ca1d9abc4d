"""`mia data`: longer bars, reports, rolls and comparisons of files made here, against plain re-computations, and of recordings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from mia.backtest.data.comparing import compare
from mia.backtest.data.report import report
from mia.backtest.data.resample import parse_interval, resample
from mia.backtest.data.rolls import in_order, roll
from mia.backtest.readers import Candles, read_candles, read_contracts
from mia.cli.main import main
from mia.domain.errors import ConfigError, DataError

MINUTE: Final = 60_000_000_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
START: Final = 1_704_153_600_000_000_000  # 2024-01-02 00:00 UTC, a Tuesday
WINDOWS: Final = """
[family.crypto]
time_zone = "UTC"
sessions = ["mon-sun 00:00-24:00"]
valid_until = "2028-01-01T00:00:00Z"
[family.es]
time_zone = "America/Chicago"
sessions = ["sun-thu 17:00-16:00"]
outside = "flatten"
valid_until = "2027-01-01T00:00:00Z"
"""


@pytest.fixture(autouse=True)
def _homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "mia").mkdir(parents=True)
    (tmp_path / "config" / "mia" / "trade_windows.toml").write_text(WINDOWS)


def walk(open_ns: Sequence[int], seed: int = 1, level: float = 100.0) -> list[tuple[int, float, float, float, float, int]]:
    """(ts_ns, open, high, low, close, volume) at the given times, on a grid of 0.01."""
    rng = np.random.default_rng(seed)
    close = np.round(level * np.exp(np.cumsum(rng.normal(0, 0.0005, len(open_ns)))), 2)
    opens = np.concatenate([[level], close[:-1]])
    spread = np.round(rng.uniform(0, 0.05, (2, len(open_ns))), 2)
    highs, lows = np.round(np.maximum(opens, close) + spread[0], 2), np.round(np.minimum(opens, close) - spread[1], 2)
    volume = rng.integers(1, 50, len(open_ns))
    return [
        (int(t), float(o), float(h), float(low), float(c), int(v))
        for t, o, h, low, c, v in zip(open_ns, opens, highs, lows, close, volume, strict=True)
    ]


def write(path: Path, rows: Sequence[tuple[Any, ...]], time: str = "ts_ns", more: dict[str, Any] | None = None) -> Path:
    columns = list(zip(*rows, strict=True))
    table = pl.DataFrame({name: columns[k] for k, name in enumerate((time, "open", "high", "low", "close", "volume"))} | (more or {}))
    if path.suffix == ".parquet":
        table.write_parquet(path)
    else:
        table.write_csv(path)
    return path


def read(path: Path, **options: Any) -> Candles:
    return read_candles([path], **options)


def minutes(first: int, count: int, step: int = 1) -> list[int]:
    return [START + (first + k * step) * MINUTE for k in range(count)]


# --- resample


@pytest.mark.parametrize("to", ["15m", "1h", "4h", "1d"])
@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".csv"])
def test_longer_bars_are_the_first_highest_lowest_last_and_sum_of_their_rows(tmp_path: Path, to: str, suffix: str) -> None:
    rows = [row for row in walk(minutes(0, 3 * 1440)) if (row[0] // MINUTE) % 7]  # every seventh is missing
    file, out = write(tmp_path / "a.csv", rows), tmp_path / f"out{suffix}"

    assert main(["data", "resample", str(file), "--to", to, "--out", str(out)]) == 0

    size = parse_interval(to)
    expected = {}
    for begin, group in itertools.groupby(rows, key=lambda row: row[0] // size * size):
        part = list(group)
        prices = (part[0][1], max(r[2] for r in part), min(r[3] for r in part), part[-1][4], float(sum(r[5] for r in part)))
        if begin >= rows[0][0] and begin + size <= rows[-1][0] + MINUTE:
            expected[begin] = prices
    made = read(out)
    assert made.interval_ns == size
    assert dict(zip(made.open_ns.tolist(), map(tuple, made.ohlcv.tolist()), strict=True)) == expected


def test_bars_that_the_file_does_not_hold_whole_are_left_out_and_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", walk(minutes(30, 150)))  # 00:30 to 03:00

    made = resample(read(file), HOUR)

    assert made.open_ns.tolist() == [START + HOUR, START + 2 * HOUR]
    assert "first bar (2024-01-02 00:00:00) left out" in " ".join(made.notes)
    assert made.dropped_rows == 30
    cut = resample(read(write(tmp_path / "b.csv", walk(minutes(0, 150)))), HOUR)
    assert cut.open_ns.tolist() == [START, START + HOUR]
    assert "last bar (2024-01-02 02:00:00) left out" in " ".join(cut.notes)


def test_weeks_begin_on_monday(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", walk([START + k * DAY for k in range(20)]))

    made = resample(read(file), parse_interval("1w"))

    assert [datetime.fromtimestamp(ns / 1e9, UTC).strftime("%a %d") for ns in made.open_ns.tolist()] == ["Mon 08", "Mon 15"]


@pytest.mark.parametrize("to", ["1m", "7s", "90s", "1x", "0h", "-1h", ""])
def test_an_interval_that_the_rows_do_not_make_is_refused(tmp_path: Path, to: str) -> None:
    file = write(tmp_path / "a.csv", walk(minutes(0, 200)))

    with pytest.raises(ConfigError):
        resample(read(file), parse_interval(to))


def globex(days: int, first: datetime, zone: str = "America/Chicago") -> list[int]:
    """Opens of 5-minute bars of sessions 17:00 to 16:00 Chicago that open on Sunday to Thursday."""
    tz = ZoneInfo(zone)
    found = []
    for k in range(days):
        day = first + timedelta(days=k)
        if day.weekday() in (6, 0, 1, 2, 3):
            begin = int(datetime(day.year, day.month, day.day, 17, tzinfo=tz).timestamp())
            after = day + timedelta(days=1)
            end = int(datetime(after.year, after.month, after.day, 16, tzinfo=tz).timestamp())
            found += [s * 10**9 for s in range(begin, end, 300)]
    return found


def test_days_of_sessions_hold_one_session_each_over_a_change_of_clocks(tmp_path: Path) -> None:
    """2026-03-08 clocks change; a day is the UTC date of its close, and its bar is never known before that close."""
    opens = globex(14, datetime(2026, 3, 1))
    rows = walk(opens)
    file, out = write(tmp_path / "es.csv", rows), tmp_path / "day.parquet"

    assert main(["data", "resample", str(file), "--to", "1d", "--session", "es", "--out", str(out)]) == 0

    made = read(out)
    ends = [t + 300 * 10**9 for t, after in zip(opens, [*opens[1:], 2**62], strict=True) if after - t > 300 * 10**9]
    assert made.open_ns.tolist() == [end // DAY * DAY for end in ends]
    assert all(close >= end for close, end in zip(made.close_ns.tolist(), ends, strict=True))
    assert made.ohlcv[:, 4].tolist() == [float(sum(r[5] for r in rows[k : k + 276])) for k in range(0, len(rows), 276)]
    assert made.ohlcv[:, 0].tolist() == [rows[k][1] for k in range(0, len(rows), 276)]


def test_hours_of_sessions_begin_at_the_open_and_end_with_the_session(tmp_path: Path) -> None:
    file, out = write(tmp_path / "es.csv", walk(globex(14, datetime(2026, 3, 1)))), tmp_path / "four.csv"

    assert main(["data", "resample", str(file), "--to", "4h", "--session", "es", "--out", str(out)]) == 0

    chicago = [datetime.fromtimestamp(ns / 1e9, ZoneInfo("America/Chicago")).hour for ns in read(out).open_ns.tolist()]
    assert chicago == [17, 21, 1, 5, 9, 13] * 10


def test_times_of_another_zone_do_not_fit_the_sessions_and_are_refused_with_rows(tmp_path: Path) -> None:
    tz = ZoneInfo("America/Chicago")
    local = [datetime.fromtimestamp(ns / 1e9, tz).strftime("%Y-%m-%d %H:%M:%S") for ns in globex(14, datetime(2026, 1, 4))]
    rows = [(text, *row[1:]) for text, row in zip(local, walk(range(len(local))), strict=True)]
    file = write(tmp_path / "es.csv", rows, time="datetime")
    arguments = ["data", "resample", str(file), "--to", "1h", "--session", "es", "--out", str(tmp_path / "o.csv"), "--tz"]

    assert main([*arguments, "America/Chicago"]) == 0
    assert main([*arguments, "UTC"]) == 1
    assert main(arguments[:-1]) == 4  # no zone at all


def test_a_zone_that_does_not_fit_is_told_with_the_shift_that_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = [ns + 6 * HOUR for ns in globex(14, datetime(2026, 1, 4))]
    file = write(tmp_path / "es.csv", walk(moved))

    assert main(["data", "resample", str(file), "--to", "1h", "--session", "es", "--out", str(tmp_path / "o.csv")]) == 1

    message = capsys.readouterr().err
    assert "rows 205 (" in message  # the first after the true close
    assert "6 h earlier: name their zone with --tz" in message


def test_local_times_taken_for_utc_show_in_the_daily_break(tmp_path: Path) -> None:
    opens = globex(60, datetime(2026, 2, 1))
    tz = ZoneInfo("America/Chicago")
    local = [int(datetime.fromtimestamp(ns / 1e9, tz).replace(tzinfo=UTC).timestamp()) * 10**9 for ns in opens]

    wrong = report(read(write(tmp_path / "wrong.csv", walk(local))))
    right = report(read(write(tmp_path / "right.csv", walk(opens))))

    assert len(wrong.doubts) == 1
    assert "begins at 16:00 UTC" in wrong.doubts[0]
    assert "local times taken for UTC" in wrong.doubts[0]
    assert right.doubts == []


# --- report


def test_the_report_names_what_is_odd_by_row(tmp_path: Path) -> None:
    rows = walk(minutes(0, 600))
    del rows[100:105]  # a gap of 5 bars before row 101
    rows[200] = (*rows[200][:5], 0)
    t, o, _, _, _, v = rows[300]
    rows[300] = (t, o, o * 1.5, o, o * 1.5, v)  # a bad print: file row 301
    t, _, _, _, c, v = rows[301]
    rows[301] = (t, o, max(o, c), min(o, c), c, v)
    rows.insert(400, rows[399])  # row 401 repeats row 400
    rows.insert(500, (rows[499][0], *rows[498][1:]))  # row 501 has the time of row 500 and other values
    rows.insert(560, rows[10])  # row 561 is a repetition of row 11

    found = report(read(write(tmp_path / "a.csv", rows), on_duplicate="drop"), now_ns=rows[-1][0])

    by_kind = {f.kind: f for f in found.findings}
    assert by_kind["gap"].rows == [101]
    assert "5 min, 5 bars" in by_kind["gap"].texts[0]
    assert by_kind["zero volume"].rows == [201]
    assert by_kind["spike"].rows == [301]
    assert set(by_kind["outlier"].rows) == {301, 302}
    assert by_kind["repeated"].rows == [401, 561]
    assert by_kind["repeated with other values"].rows == [501]
    assert "in the future" not in by_kind
    assert found.rows == 598


def test_rows_of_the_future_and_rows_out_of_order_are_named(tmp_path: Path) -> None:
    rows = walk(minutes(0, 50))
    rows[30] = (rows[29][0] - 30 * 10**9, *rows[30][1:])

    found = report(read(write(tmp_path / "a.csv", rows), on_duplicate="drop", bars=None), now_ns=rows[47][0])

    by_kind = {f.kind: f.rows for f in found.findings}
    assert by_kind["earlier than the row before"] == [31]
    assert by_kind["in the future"] == [49, 50]


def test_time_outside_of_sessions_is_no_gap(tmp_path: Path) -> None:
    opens = globex(14, datetime(2026, 3, 1))
    del opens[500:503]
    file = write(tmp_path / "es.csv", walk(opens))

    def gaps(*options: str) -> list[int]:
        from mia.cli.data.options import sessions_of

        found = report(read(file), sessions_of("es", read(file)) if options else None)
        return [row for f in found.findings if f.kind == "gap" for row in f.rows]

    assert gaps("es") == [501]
    assert len(gaps()) == 10


def test_a_file_with_nothing_odd_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.csv", walk(minutes(0, 600)))

    assert main(["data", "report", str(file)]) == 0

    assert "nothing odd found" in capsys.readouterr().out


def test_bars_without_an_interval_are_reported_once_their_kind_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stamps = [datetime.fromtimestamp(ns / 1e9 + ns % 7, UTC).strftime("%Y-%m-%d %H:%M:%S") for ns in minutes(0, 100)]
    rows = [(text, *row[1:]) for text, row in zip(stamps, walk(range(100)), strict=True)]
    file = write(tmp_path / "ticks.csv", rows, time="date_time")

    assert main(["data", "report", str(file), "--tz", "UTC"]) == 4
    assert main(["data", "report", str(file), "--tz", "UTC", "--bars", "tick:100"]) == 0
    assert "100 rows, bars of irregular length" in capsys.readouterr().out


def test_repeated_rows_are_refused_by_the_other_verbs_with_their_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = walk(minutes(0, 200))
    rows[50:50] = [rows[49], rows[49]]
    file = write(tmp_path / "a.csv", rows)

    assert main(["data", "resample", str(file), "--to", "1h", "--out", str(tmp_path / "o.csv")]) == 1

    assert "row 51 (2024-01-02 00:49:00) repeats the time of row 50 (2024-01-02 00:49:00) (and 1 rows more)" in capsys.readouterr().err


# --- roll


def contracts(tmp_path: Path) -> dict[str, Path]:
    """Two contracts at 5-minute bars over 6 days; the second trades 7.5 above and has more volume from the third day on."""
    times = [START + k * 5 * MINUTE for k in range(6 * 288)]
    near = walk(times, level=50.0)
    far = [(t, *(round(p + 7.5, 2) for p in prices), 10 if t < START + 2 * DAY else 200) for t, *prices, _ in near]
    near = [(*row[:5], 100) for row in near][: 5 * 288]
    return {"ESH4": write(tmp_path / "ESH4.csv", near), "ESM4": write(tmp_path / "ESM4.csv", far)}


def rolled(tmp_path: Path, method: str) -> tuple[Any, Candles, Candles]:
    files = contracts(tmp_path)
    bars = {name: read(path) for name, path in files.items()}
    return roll(bars, method), bars["ESH4"], bars["ESM4"]  # type: ignore[arg-type]


def test_the_roll_is_at_the_day_after_the_first_with_more_volume(tmp_path: Path) -> None:
    made, near, _ = rolled(tmp_path, "none")

    (r,) = made.rolls
    assert r.ts_ns == START + 3 * DAY
    assert (r.old, r.new, r.common_ns) == ("ESH4", "ESM4", START + 3 * DAY - 5 * MINUTE)
    assert r.gap == pytest.approx(7.5)
    assert r.gap_percent == pytest.approx(100 * 7.5 / near.ohlcv[3 * 288 - 1, 3])
    assert (r.row_old, r.row_new) == (864, 864)
    assert made.front == ["ESH4"] * 864 + ["ESM4"] * 864
    assert "+7.5" in made.notes[-1]


def test_volume_after_the_roll_does_not_change_when_it_is(tmp_path: Path) -> None:
    files = contracts(tmp_path)
    before = roll({name: read(path) for name, path in files.items()}, "none").rolls
    rows = pl.read_csv(files["ESH4"]).with_columns(
        pl.when(pl.col("ts_ns") >= START + 3 * DAY).then(10_000).otherwise(pl.col("volume")).alias("volume")
    )
    rows.write_csv(files["ESH4"])

    assert roll({name: read(path) for name, path in files.items()}, "none").rolls == before


def test_unadjusted_prices_are_those_that_were_traded(tmp_path: Path) -> None:
    made, near, far = rolled(tmp_path, "none")

    assert (made.ohlcv[:864] == near.ohlcv[:864]).all()
    assert (made.ohlcv[864:] == far.ohlcv[864:]).all()


def test_back_adjusted_differences_are_those_of_a_position_that_was_rolled(tmp_path: Path) -> None:
    made, near, far = rolled(tmp_path, "back")

    held = np.concatenate([np.diff(near.ohlcv[:864, 3]), [far.ohlcv[864, 3] - far.ohlcv[863, 3]], np.diff(far.ohlcv[864:, 3])])
    assert np.diff(made.ohlcv[:, 3]) == pytest.approx(held)
    assert (made.ohlcv[864:] == far.ohlcv[864:]).all()
    assert (made.ohlcv[:, 4] == np.concatenate([near.ohlcv[:864, 4], far.ohlcv[864:, 4]])).all()


def test_ratio_adjusted_returns_are_those_of_a_position_that_was_rolled(tmp_path: Path) -> None:
    made, near, far = rolled(tmp_path, "ratio")

    def returns(x: Any) -> Any:
        return x[1:] / x[:-1] - 1

    held = np.concatenate([returns(near.ohlcv[:864, 3]), returns(far.ohlcv[863:865, 3]), returns(far.ohlcv[864:, 3])])
    assert returns(made.ohlcv[:, 3]) == pytest.approx(held)


def test_one_file_with_a_column_of_contracts_gives_the_same_and_rows_of_that_file(tmp_path: Path) -> None:
    made, _, _ = rolled(tmp_path, "back")
    files = contracts(tmp_path)
    parts = [pl.read_csv(path).with_columns(pl.lit(name).alias("contract")) for name, path in files.items()]
    both = tmp_path / "both.parquet"
    pl.concat(parts).sort("ts_ns", "contract").write_parquet(both)

    bars = read_contracts(both)
    again = roll({name: bars[name] for name in in_order(list(bars))}, "back")

    assert (again.ohlcv == made.ohlcv).all()
    assert (again.rolls[0].row_old, again.rolls[0].row_new) == (1727, 1728)


def test_the_verb_writes_a_file_that_reads_back_with_the_contract_of_each_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, out = contracts(tmp_path), tmp_path / "es.parquet"

    assert main(["data", "roll", *map(str, files.values()), "--method", "ratio", "--out", str(out), "--at", "2024-01-04", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["rolls"][0]["ts_ns"] == START + 2 * DAY
    assert read(out).interval_ns == 5 * MINUTE
    assert pl.read_parquet(out)["front"].unique(maintain_order=True).to_list() == ["ESH4", "ESM4"]


def test_a_row_without_a_contract_is_refused_with_its_number(tmp_path: Path) -> None:
    rows = walk(minutes(0, 20))
    file = write(tmp_path / "c.parquet", rows, more={"contract": ["ESH4"] * 7 + [None] + ["ESM4"] * 12})

    with pytest.raises(DataError, match="row 8: contract is missing"):
        read_contracts(file)


def test_contracts_are_ordered_by_expiry() -> None:
    assert in_order(["ESM4", "ESH5", "ESZ4", "ESH4"]) == ["ESH4", "ESM4", "ESZ4", "ESH5"]
    assert in_order(["201403", "201312"]) == ["201312", "201403"]
    with pytest.raises(ConfigError, match="names no expiry"):
        in_order(["front", "ESH4"])


def test_a_roll_that_cannot_be_is_refused(tmp_path: Path) -> None:
    files = contracts(tmp_path)
    bars = {name: read(path) for name, path in files.items()}
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: roll({"ESH4": bars["ESH4"]}, "back"), "two contracts are the least"),
        (lambda: roll(bars, "back", [1, 2]), "--at gives 2"),
        (lambda: roll(bars, "back", [START - DAY]), "no bar of the same time"),
        (lambda: roll({"ESM4": bars["ESM4"], "ESH4": read(files["ESH4"])}, "back", [START + 30 * DAY]), "no bar of the same time"),
    ]
    for call, message in cases:
        with pytest.raises((ConfigError, DataError), match=message):
            call()


def test_back_adjusting_to_prices_below_zero_is_refused(tmp_path: Path) -> None:
    times = minutes(0, 2 * 1440)
    near = write(tmp_path / "CLK0.csv", [(t, *[10.0 + k / 50] * 4, 1) for k, t in enumerate(times)])
    far = write(tmp_path / "CLM0.csv", [(t, *[1.0] * 4, 999) for t in times])

    with pytest.raises(DataError, match="to 0 or below: use --method ratio"):
        roll({"CLK0": read(near), "CLM0": read(far)}, "back", [START + DAY])


# --- compare


def test_equal_sources_have_no_difference_and_no_lag(tmp_path: Path) -> None:
    rows = walk(minutes(0, 3000))

    found = compare(read(write(tmp_path / "a.csv", rows)), read(write(tmp_path / "b.parquet", rows)))

    assert (found.common, found.only_a, found.only_b, found.lag_bars) == (3000, 0, 0, 0)
    assert found.correlation == pytest.approx(1.0)
    assert all(f.share_equal == 1.0 and f.max_abs == 0.0 for f in found.fields)


@pytest.mark.parametrize("bars_late", [1, -1, 300, -300])
def test_a_source_whose_times_are_of_another_zone_or_label_is_found_late(tmp_path: Path, bars_late: int) -> None:
    rows = walk(minutes(2000, 3000))
    moved = [(t + bars_late * MINUTE, *rest) for t, *rest in rows]

    found = compare(read(write(tmp_path / "a.csv", rows)), read(write(tmp_path / "b.csv", moved)))

    assert found.lag_bars == bars_late
    assert found.lag_correlation == pytest.approx(1.0)


def test_missing_bars_and_the_worst_difference_are_named_by_row(tmp_path: Path) -> None:
    rows = walk(minutes(0, 1000))
    other = list(rows)
    t, o, h, low, c, v = other[500]
    other[500] = (t, o, h + 5.0, low, c, v)
    del other[100:102]
    a, b = write(tmp_path / "a.csv", rows[:300] + rows[301:]), write(tmp_path / "b.csv", other)

    found = compare(read(a), read(b))

    assert (found.only_a_rows, found.only_b_rows) == ([101, 102], [299])
    high = next(f for f in found.fields if f.field == "high")
    assert (high.worst_row_a, high.worst_row_b) == (500, 499)
    assert high.max_abs == pytest.approx(5.0)
    assert high.share_equal == pytest.approx(996 / 997)


def test_bars_of_different_lengths_are_compared_at_what_both_make_up(tmp_path: Path) -> None:
    rows = walk(minutes(0, 3000))
    fine = read(write(tmp_path / "a.csv", rows))
    made = {k: resample(fine, k * MINUTE) for k in (2, 5)}
    files = []
    for k, bars in made.items():
        files.append(
            write(tmp_path / f"{k}.csv", [(int(t), *map(float, row)) for t, row in zip(bars.open_ns, bars.ohlcv.tolist(), strict=True)])
        )

    found = compare(*(read(path) for path in files))

    assert found.interval_ns == 10 * MINUTE
    assert found.common == 300
    assert all(f.max_abs == 0.0 for f in found.fields)


def test_sources_that_share_no_time_are_refused(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.csv", walk(minutes(0, 100))), write(tmp_path / "b.csv", walk(minutes(5000, 100)))

    with pytest.raises(DataError, match="share no time"):
        compare(read(a), read(b))


def test_an_index_without_a_name_is_taken_for_the_times_and_said(tmp_path: Path) -> None:
    file = tmp_path / "pandas.csv"
    file.write_text(
        ",Open,High,Low,Close,Volume\n2004-08-19,100,104.06,95.96,100.34,22351900\n2004-08-20,101.01,109.08,100.5,108.31,11428600\n"
    )

    candles = read(file, tz="UTC")

    assert candles.open_ns.tolist() == [1_092_873_600_000_000_000, 1_092_960_000_000_000_000]
    assert "without a name is taken for the times" in candles.notes[0]


# --- recordings


@pytest.mark.data
def test_the_two_es_files_agree_where_both_are_and_fit_the_sessions_of_globex(market_data: Path) -> None:
    """Two feeds of one vendor at 5 and 2 minutes: the same prices to a few bars, none late; 23 hours a day in New York's zone."""
    from mia.cli.data.options import sessions_of

    five = read(market_data / "es_5m_2026-02_2026-04_yfinance.csv.gz", tz="America/New_York")
    two = read(market_data / "es_2m_2026-03_2026-04_yfinance.csv.gz", tz="America/New_York")

    found = compare(five, two)

    assert found.lag_bars == 0
    assert found.common > 3700
    assert all(f.share_equal > 0.999 for f in found.fields if f.field != "volume")
    sessions = sessions_of("es", five)
    assert report(five, sessions).doubts == []
    taken = read(market_data / "es_5m_2026-02_2026-04_yfinance.csv.gz", tz="UTC")
    assert "local times taken for UTC" in report(taken).doubts[0]
    with pytest.raises(DataError, match="name their zone with --tz"):
        resample(taken, HOUR, sessions_of("es", taken))


@pytest.mark.data
def test_contracts_of_the_lean_file_are_read_by_name_with_their_rows(market_data: Path) -> None:
    file = market_data / "es_1m_trade_2013-10_lean.parquet"
    with pytest.raises(ConfigError, match="states no time zone"):
        read_contracts(file)

    bars = read_contracts(file, tz="UTC")

    assert {name: len(c.open_ns) for name, c in bars.items()} == {"201312": 8198, "201403": 1689, "201406": 24, "201409": 1, "201412": 1}
    assert bars["201312"].ohlcv[0].tolist() == [1676.75, 1677.25, 1673.5, 1675.25, 1884.0]
    made = roll({name: bars[name] for name in ("201312", "201403")}, "back", [1_381_363_200_000_000_000])
    assert made.rolls[0].gap == pytest.approx(-6.75, abs=1.0)  # dividends above interest: the later contract is cheaper
