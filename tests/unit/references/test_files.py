"""The daemon's reader of reference files: the rows of the offline reader, bounded, and every bad file named."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from mia.backtest.references import read_reference
from mia.domain.errors import ConfigError, DataError
from mia.features.series import REFERENCES
from mia.references.files import ROWS_MAX, TAIL_BYTES, read_rows
from mia.references.settings import ReferenceSettings

Write = Callable[[str], Path]
FRED_HEAD = "date,series_id,value,last_updated\n"
DAYS = [date(2026, 5, 18) + timedelta(days=k) for k in range(10)]  # Memorial Day, the 25th, among them


def fred_lines(series: str) -> str:
    return FRED_HEAD + "".join(f"{d},{series},{4 + k / 10},2026-06-30T15:00:00-05:00\n" for k, d in enumerate(DAYS) if d.weekday() < 5)


FILES = {
    "vix": "DATE,OPEN,HIGH,LOW,CLOSE\n01/02/2026,1,2,3,14.5\n01/05/2026,1,2,3,15.25\n",
    "us2y": fred_lines("DGS2"),
    "us10y": "observation_date,DGS10\n2026-05-21,4.5\n2026-05-22,4.6\n2026-05-25,\n2026-05-26,.\n2026-05-27,4.7\n",
    "dollar_index": fred_lines("DTWEXBGS"),
    "fed_funds": "DATE,FEDFUNDS\n2026-03-01,4.33\n2026-04-01,4.25\n",
    "funding_rate": "ts_ms,rate\n1750000000000,0.0001\n1750028800000,-0.0002\n",
    "ref": "ts_ms,open,close\n1750000000000,1,2.5\n1750000060000,1,2.75\n1750000180000,1,3\n",
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file and gives its path."""

    def make(text: str) -> Path:
        path = tmp_path / "series.csv"
        path.write_text(text)
        return path

    return make


@pytest.mark.parametrize("name", FILES)
def test_the_rows_are_those_of_the_offline_reader(name: str, write: Write) -> None:
    path = write(FILES[name])
    offline = read_reference(name, path)

    rows = read_rows(name, path)

    assert rows
    assert [row.event_ns for row in rows] == offline.ts_event_ns.tolist()
    assert [row.known_ns for row in rows] == offline.ts_recv_ns.tolist() == offline.b.tolist()
    assert [row.until_ns for row in rows] == offline.c.tolist()
    assert [row.value for row in rows] == offline.x.tolist()


def test_a_yield_is_known_on_the_next_business_day_in_new_york(write: Write) -> None:
    friday = read_rows("us10y", write(FILES["us10y"]))[1]

    assert datetime.fromtimestamp(friday.known_ns / 1e9, UTC).isoformat() == "2026-05-26T20:30:00+00:00"  # Monday is a holiday


def test_only_the_end_of_a_long_file_is_read(write: Write) -> None:
    n = 20_000
    path = write("ts_ms,rate\n" + "".join(f"{1_700_000_000_000 + k * 28_800_000},{k / 1e9:.9f}\n" for k in range(n)))

    rows = read_rows("funding_rate", path)
    everything = read_rows("funding_rate", path, is_whole=True)

    assert path.stat().st_size > 5 * TAIL_BYTES
    assert [round(row.value * 1e9) for row in rows] == list(range(n - ROWS_MAX, n))
    assert len(everything) == n
    assert everything[-ROWS_MAX:] == rows


def test_a_last_line_that_is_being_written_does_not_count(write: Write) -> None:
    path = write(FILES["funding_rate"] + "1750057600000,0.00")  # will be 0.0005

    assert len(read_rows("funding_rate", path, is_settled=False)) == 2
    assert len(read_rows("funding_rate", path, is_settled=True)) == 3


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("vix", "DATE,CLOSE\n", "holds no rows"),
        ("vix", "", "line 1 must name two columns"),
        ("vix", "DATE,OPEN\n2026-01-02,1\n", "no column 'CLOSE'; it has DATE, OPEN"),
        ("vix", "DATE,CLOSE\n2026-01-02,fourteen\n", "column 'CLOSE': 'fourteen' is not a number"),
        ("vix", "DATE,CLOSE\n2026-13-02,14\n", "column 'DATE': '2026-13-02' is not a date"),
        ("vix", "DATE,CLOSE\n2026-01-05,14\n2026-01-02,15\n", "2026-01-02 stands behind 2026-01-05; times must rise"),
        ("vix", "DATE,CLOSE\n2026-01-05,14\n2026-01-05,15\n", "times must rise"),
        ("vix", "DATE,CLOSE\n2026-01-05,14,9\n", "has 3 fields, the header 2"),
        ("us10y", "DATE,DGS2\n2026-01-05,4\n", "no column 'DGS10' or 'series_id', which us10y needs"),
        ("us10y", fred_lines("DGS2"), "column 'series_id' is DGS2, us10y needs DGS10"),
        ("us2y", FRED_HEAD + "2026-01-05,DGS2,4,yesterday\n", "column 'last_updated' is not an ISO 8601 time"),
        ("ref", "ts_ms,close\n1750000000000,1\n", "one bar alone does not say how long it is"),
        ("ref", "ts_ms,close\n17.5,1\n18,1\n", "column 'ts_ms': '17.5' is not a time in milliseconds"),
        ("ref", "ts_ms,close\n1750000000,1\n1750000060,1\n", "column 'ts_ms': '1750000000' is not a time in milliseconds"),  # seconds
        ("ref", "ts_ms,close\n1750000000000000,1\n", "'1750000000000000' is not a time in milliseconds"),  # microseconds
        ("funding_rate", f"ts_ms,rate\n{'9' * 5000},1\n", "is not a time in milliseconds"),
        ("us10y", "DATE,DGS10\n2026-01-05,4\n9999-12-31,4\n", "column 'DATE': '9999-12-31' is not a date"),
        ("fed_funds", "DATE,FEDFUNDS\n0001-01-01,4\n", "column 'DATE': '0001-01-01' is not a date"),
        ("us2y", FRED_HEAD + "2026-01-05,DGS2,4,0001-01-01T00:00:00+14:00\n", "column 'last_updated' is not an ISO 8601 time"),
        ("ref", "date,close\n2026-01-05,1\n2026-01-06,1\n", "no column 'ts_ms'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(name: str, text: str, wrong: str, write: Write) -> None:
    path = write(text)

    with pytest.raises(DataError) as found:
        read_rows(name, path)

    assert str(found.value).startswith(str(path))
    assert wrong in str(found.value)


def test_bytes_that_are_no_text_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_rows("vix", path)
    path.write_bytes(b"DATE,CLOSE\n\xff\xfe,1\n")

    with pytest.raises(DataError, match="no text in UTF-8"):
        read_rows("vix", path)


def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "series.csv"
    os.mkfifo(path)

    with pytest.raises(DataError, match="is no plain file"):
        read_rows("vix", path)  # opened, it would wait for a writer and hold the daemon's end up


def test_every_series_has_a_key_in_the_settings() -> None:
    named = ReferenceSettings(**{name: f"/data/{name}.csv" for name in REFERENCES})

    assert named.files == tuple((name, Path(f"/data/{name}.csv")) for name in REFERENCES)
    assert set(ReferenceSettings.__struct_fields__) == {*REFERENCES, "poll_s"}
    assert ReferenceSettings().files == ()


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("vix", "vix.csv", "write the whole path"),
        ("vix", "/data/vix.parquet", "reads .csv alone"),
        ("poll_s", 0.5, "poll_s must be within"),
        ("poll_s", float("nan"), "poll_s must be within"),
    ],
)
def test_settings_that_cannot_work_are_refused(key: str, value: object, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        ReferenceSettings(**{key: value})  # type: ignore[arg-type]
