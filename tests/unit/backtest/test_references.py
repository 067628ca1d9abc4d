"""Outside series from files: only observations, when they were known, in order; every trap of the files is a case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from mia.backtest.references import (
    DAILY_TTL_NS,
    coverage_gaps,
    good_friday,
    is_federal_holiday,
    next_business_day,
    read_reference,
)
from mia.domain.errors import DataError
from mia.features.columns import REFERENCE, EventColumns
from mia.features.series import REFERENCE_NUMBER

SEC = 1_000_000_000
DAY = 86_400 * SEC


def ns(text: str, tz: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz)).timestamp()) * SEC


def known(columns: EventColumns, tz: str = "America/New_York") -> dict[str, str]:
    """Day described -> local time at which it was known."""
    days = [datetime.fromtimestamp(t // SEC, UTC).date().isoformat() for t in columns.ts_event_ns.tolist()]
    return {
        d: datetime.fromtimestamp(t // SEC, ZoneInfo(tz)).strftime("%Y-%m-%d %H:%M")
        for d, t in zip(days, columns.ts_recv_ns.tolist(), strict=True)
    }


Fred = Callable[..., Path]


@pytest.fixture
def fred(tmp_path: Path) -> Fred:
    """A file as the archive has it: weekdays from `first`, the values given, filled forward to the end."""

    def write(series: str, first: str, values: list[float | None], updated: str = "2030-01-02T15:17:04-06:00") -> Path:
        start = date.fromisoformat(first)
        days = [d for i in range(3 * len(values) + 9) if (d := start + timedelta(days=i)).weekday() < 5][: len(values)]
        table = pl.DataFrame({"date": days, "value": values}).with_columns(
            pl.col("date").cast(pl.Datetime("ns")),
            pl.col("value").cast(pl.Float64).forward_fill(),
            series_id=pl.lit(series),
            source=pl.lit("FRED"),
            last_updated=pl.lit(updated),
        )
        table.write_parquet(tmp_path / "fred.parquet")
        return tmp_path / "fred.parquet"

    return write


def test_a_daily_value_is_known_on_the_next_business_day_at_half_past_four_in_new_york(fred: Fred) -> None:
    found = read_reference("us10y", fred("DGS10", "2024-07-02", [4.1, 4.2, None, 4.3, 4.4]))

    assert known(found) == {
        "2024-07-02": "2024-07-03 16:30",
        "2024-07-03": "2024-07-05 16:30",  # the 4th is a holiday
        "2024-07-05": "2024-07-08 16:30",
        "2024-07-08": "2024-07-09 16:30",
    }
    assert (found.c - found.b).tolist() == [DAILY_TTL_NS] * 4
    assert set(found.kind.tolist()) == {REFERENCE}
    assert set(found.a.tolist()) == {REFERENCE_NUMBER["us10y"]}
    assert found.b.tolist() == found.ts_recv_ns.tolist()


def test_a_value_filled_over_a_holiday_is_no_observation_and_a_new_value_on_one_is(fred: Fred) -> None:
    filled = read_reference("us10y", fred("DGS10", "2022-04-14", [2.83, None, 2.85]))  # Good Friday
    veterans = read_reference("vix3m", fred("VXVCLS", "2024-11-08", [16.83, 16.8, 16.7]))  # stocks traded on the 11th
    first_juneteenth = read_reference("us10y", fred("DGS10", "2021-06-17", [1.52, 1.45, 1.5]))

    assert list(known(filled)) == ["2022-04-14", "2022-04-18"]
    assert list(known(veterans)) == ["2024-11-08", "2024-11-11", "2024-11-12"]
    assert list(known(first_juneteenth)) == ["2021-06-17", "2021-06-18", "2021-06-21"]


def test_values_filled_past_the_last_update_are_no_observations(fred: Fred) -> None:
    path = fred("DGS10", "2025-11-05", [4.1, 4.2, 4.3, None, None, None, None], "2025-11-10T15:17:04-06:00")

    assert list(known(read_reference("us10y", path))) == ["2025-11-05", "2025-11-06", "2025-11-07"]


def test_a_hole_at_the_start_is_left_out(fred: Fred) -> None:
    assert list(known(read_reference("us2y", fred("DGS2", "2020-01-01", [None, 1.58])))) == ["2020-01-02"]


def test_the_dollar_index_of_a_week_is_known_on_the_monday_after_it(fred: Fred) -> None:
    week = read_reference("dollar_index", fred("DTWEXBGS", "2024-05-20", [120.0, 120.1, 120.2, 120.3, 120.4, None, 120.6]))

    assert known(week) == {
        **{f"2024-05-{d}": "2024-05-28 16:30" for d in (20, 21, 22, 23, 24)},  # Monday the 27th is Memorial Day
        "2024-05-28": "2024-06-03 16:30",
    }


def test_fed_funds_of_a_month_are_known_on_the_first_business_day_after_it(fred: Fred) -> None:
    # January to April of 2020: the first of February and of March are a Saturday and a Sunday, and missing in the file.
    found = read_reference("fed_funds", fred("FEDFUNDS", "2020-01-01", [1.55, *[None] * 64, 0.05, *[None] * 20]))

    assert known(found) == {"2020-01-01": "2020-02-03 16:30", "2020-04-01": "2020-05-01 16:30"}
    assert found.x.tolist() == [1.55, 0.05]


def test_a_vix_close_is_known_at_20_past_three_in_chicago(tmp_path: Path) -> None:
    path = tmp_path / "vix.csv"
    path.write_text("DATE,OPEN,HIGH,LOW,CLOSE\n2024-03-08,14,15,13,14.5\n2024-03-11,14,15,13,15.5\n")

    found = read_reference("vix", path)

    assert found.ts_recv_ns.tolist() == [ns("2024-03-08T21:20"), ns("2024-03-11T20:20")]  # daylight saving began on the 10th
    assert found.x.tolist() == [14.5, 15.5]


def test_bars_are_known_at_their_end_in_the_zone_of_their_file(tmp_path: Path) -> None:
    ten = tmp_path / "vix10.csv"
    ten.write_text("Date, Time, High, Low, Close\n01/09/2015, 08:30, 1, 1, 16.83\n01/09/2015, 08:40, 1, 1, 17.33\n")
    sierra = tmp_path / "es.csv"
    sierra.write_text("Date, Time, High, Low, Last\n2026/6/15, 23:09:00, 1, 1, 7621.25\n2026/6/15, 23:10:00, 1, 1, 7622\n")
    coin = tmp_path / "coin.csv"
    coin.write_text("ts_ms,open,close,high,low,volume\n1700000060000,1,2,2,1,5\n1700000120000,2,3,3,2,5\n1700000300000,2,4,3,2,5\n")
    funding = tmp_path / "funding.csv"
    funding.write_text("ts_ms,rate\n1700028800000,0.0001\n1700057600000,-0.0002\n")

    assert read_reference("vix", ten).ts_recv_ns.tolist() == [ns("2015-01-09T14:40:01"), ns("2015-01-09T14:50:01")]
    assert read_reference("ref", sierra).ts_recv_ns.tolist() == [ns("2026-06-16T04:10:01"), ns("2026-06-16T04:11:01")]
    assert read_reference("ref2", coin).ts_recv_ns.tolist() == [(1_700_000_000 + s) * SEC for s in (121, 181, 361)]
    assert read_reference("ref2", coin).x.tolist() == [2.0, 3.0, 4.0]
    assert read_reference("funding_rate", funding).x.tolist() == [0.0001, -0.0002]
    assert read_reference("funding_rate", funding).ts_recv_ns.tolist() == [1_700_028_801 * SEC, 1_700_057_601 * SEC]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DATE,OPEN\n2024-03-08,14\n", "no column 'CLOSE'; it has DATE, OPEN"),
        ("DATE,CLOSE\n2024-03-08,14\n2024-03-07,15\n", "column 'DATE', row 1: times out of order"),
        ("DATE,CLOSE\n2024-03-07,14\n2024-03-07,15\n", "column 'DATE', row 1: twice the same time"),
        ("DATE,CLOSE\nyesterday,14\n", "column 'DATE' is not dates"),
        ("DATE,CLOSE\n2024-03-08,high\n", "column 'CLOSE' is not numbers"),
        ("DATE,CLOSE\n", "is empty"),
        ("when,close\n1,2\n", "no column of times"),
        ("ts_ms,price\n1700000060000,2\n1700000120000,3\n", "no column 'close'"),
        ("ts_ms,close\n1700000060000,2\n", "one bar alone"),
        ("ts_ms,rate\n,0.1\n60000,2\n", "rows without a time"),
        ("ts_ms,close\n1750000000,1\n1750000060,1\n", "column 'ts_ms': 1750000000 is not a time in milliseconds"),  # seconds
        ("ts_ms,rate\n1750000000000000000,1\n", "column 'ts_ms': 1750000000000000000 is not a time in milliseconds"),  # ns would wrap round
        ("DATE,CLOSE\n2024-03-08,14\n9999-12-31,15\n", "column 'DATE': 9999-12-31 is no date of a series"),
    ],
)
def test_a_bad_file_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    path.write_text(text)

    with pytest.raises(DataError, match=message) as error:
        read_reference("vix", path)

    assert str(path) in str(error.value)


def test_another_fred_series_or_name_or_no_file_is_refused(fred: Fred, tmp_path: Path) -> None:
    path = fred("DGS10", "2024-07-02", [4.1, 4.2])

    with pytest.raises(DataError, match="is DGS10, us2y needs DGS2"):
        read_reference("us2y", path)
    with pytest.raises(DataError, match="no reference series"):
        read_reference("gold", path)
    with pytest.raises(DataError, match="cannot be read"):
        read_reference("us2y", tmp_path / "absent.parquet")


def test_a_series_that_does_not_cover_the_bars_is_told(fred: Fred) -> None:
    columns = read_reference("us10y", fred("DGS10", "2024-07-08", [4.1, 4.2, 4.3]))

    assert coverage_gaps("us10y", columns, ns("2024-07-10T00:00"), ns("2024-07-12T00:00")) == ""
    assert "ends on 2024-07-16" in coverage_gaps("us10y", columns, ns("2024-07-10T00:00"), ns("2025-07-12T00:00"))
    assert "begins on 2024-07-09" in coverage_gaps("us10y", columns, ns("2020-07-10T00:00"), ns("2024-07-12T00:00"))
    assert "before the bars begin" in coverage_gaps("us10y", columns, ns("2026-07-10T00:00"), ns("2026-07-12T00:00"))


def test_federal_holidays_of_known_years() -> None:
    days = [date(2021, 1, 1) + timedelta(days=i) for i in range(730)]

    assert [d.isoformat() for d in days if is_federal_holiday(d)] == [
        "2021-01-01", "2021-01-18", "2021-02-15", "2021-05-31", "2021-06-18", "2021-07-05", "2021-09-06", "2021-10-11", "2021-11-11",
        "2021-11-25", "2021-12-24", "2021-12-31", "2022-01-17", "2022-02-21", "2022-05-30", "2022-06-20", "2022-07-04", "2022-09-05",
        "2022-10-10", "2022-11-11", "2022-11-24", "2022-12-26",
    ]  # fmt: skip
    assert next_business_day(date(2021, 12, 30)) == date(2022, 1, 3)
    assert [good_friday(y) for y in (2008, 2022, 2024, 2025)] == [
        date(2008, 3, 21),
        date(2022, 4, 15),
        date(2024, 3, 29),
        date(2025, 4, 18),
    ]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file", "first", "last"),
    [
        ("us10y", "fred_DGS10", "2020-01-02", "2025-11-07"),
        ("us2y", "fred_DGS2", "2020-01-02", "2025-11-07"),
        ("vix3m", "fred_VXVCLS", "2020-01-02", "2025-11-11"),
        ("dollar_index", "fred_DTWEXBGS", "2020-01-02", "2025-11-07"),
        ("high_yield_spread", "fred_BAMLH0A0HYM2", "2020-01-02", "2025-11-10"),
        ("fed_funds", "fred_FEDFUNDS", "2020-01-01", "2025-10-01"),
    ],
)
def test_the_recorded_series_hold_observations_alone(name: str, file: str, first: str, last: str, market_data: Path) -> None:
    found = read_reference(name, market_data / f"{file}.parquet")

    days = list(known(found))
    assert (days[0], days[-1]) == (first, last)
    assert (found.b > found.ts_event_ns + DAY).all()
    assert not {"2020-12-25", "2023-12-25", "2025-11-25"} & set(days)
    if name in ("us10y", "us2y", "vix3m"):
        assert not {"2021-07-05", "2022-04-15", "2024-01-01", "2025-01-20"} & set(days)
    if name == "fed_funds":
        assert all(d.endswith("-01") for d in days)
        assert not {"2020-02-01", "2020-02-03", "2020-03-02"} & set(days)


@pytest.mark.data
def test_recorded_bars_are_read(market_data: Path) -> None:
    vix = read_reference("vix", market_data / "vix_daily_1990_2026.csv")
    tick = read_reference("nyse_tick", market_data / "tick_1m_2014-11_2015-07.parquet")
    coin = read_reference("ref", market_data / "binance_ethusdt_5m_2024-01_2024-06.feather")

    assert (vix.events, tick.events, coin.events) == (9235, 56_771, 52_416)
    assert vix.x.max() == 82.69
    assert coin.ts_recv_ns[0] == ns("2024-01-01T00:05:01")


def test_of_an_hour_that_comes_twice_the_first_is_meant(tmp_path: Path) -> None:
    # On 2024-11-03 New York had 01:30 twice: at 05:30 UTC in summer time and at 06:30 UTC.
    (tmp_path / "a.csv").write_text("datetime,close\n2024-11-03 00:30:00,10\n2024-11-03 01:30:00,11\n2024-11-03 02:30:00,12\n")

    columns = read_reference("ref", tmp_path / "a.csv")

    assert columns.ts_event_ns.tolist() == [ns("2024-11-03T04:30"), ns("2024-11-03T05:30"), ns("2024-11-03T07:30")]
