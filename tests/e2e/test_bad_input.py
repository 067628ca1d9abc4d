"""Bad input: one line that names what, where and what to do, and the exit code that says who has to act."""

from __future__ import annotations

import gzip
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Exports = Callable[[Path], dict[str, bytes]]


@pytest.mark.parametrize(
    ("pattern", "replacement", "wanted"),
    [
        (r"^drawdown_max = .*", "drawdown_maximum = 0.1", ["drawdown_maximum"]),
        (r"^drawdown_max = .*", "drawdown_max = nan", ["risk.drawdown_max", "nan"]),
        (r"^\[paper\]", "[paper", ["TOML"]),
        (r'^venue = "sim" +#', 'venue = "nowhere" #', ["nowhere"]),
        (r'^strategy = "rule:ema_cross"', 'strategy = "rule:nonsense"', ["nonsense"]),
        (r'^params = \{ fast_period = 2', "params = { speed = 2", ["speed"]),
        (r'^strategy = "rule:ema_cross"\nparams = .*\n', 'strategy = "no_such_model"\n', ["no_such_model"]),
        (r'^instrument = "sim:SIMUSD"', 'instrument = "sim:OTHER"', ["sim:OTHER"]),
        (r'^name = "mia"', 'name = "../etc"', ["../etc"]),
        (r'^taker_fee = .*', 'taker_fee = "0.1"', ["taker_fee", "0.001 is 0.1 %"]),
        (r'^taker_fee = .*', 'taker_fee = "-5"', ["taker_fee"]),
        (r'^cash = .*', 'cash = "0"', ["cash"]),
        (r'^strategy = "rule:ema_cross"\nparams = .*\ntrigger = .*', 'strategy = "demo"', ["min_interval_ms", "demo"]),
        (r'^strategy = "rule:ema_cross"\nparams = .*\ntrigger = .*\nmin.*', 'strategy = "demo"\ntrigger = "bar"', ["trigger", "demo"]),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_with_exit_4(
    miad: Any, tmp_path: Path, pattern: str, replacement: str, wanted: list[str]
) -> None:
    miad.edit(pattern, replacement)

    ended = miad.run("--state", tmp_path / "state")

    assert ended.code == 4, ended.err
    for word in wanted:
        assert word in ended.error
    assert any(place in ended.error for place in (str(miad.config), "[[lanes]]", "--venue"))
    assert not (tmp_path / "state").exists()


def test_a_state_directory_keeps_to_the_venue_of_its_account(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    miad.run("--venue", "sim", "--state", state, "--duration", "0.2")

    ended = miad.run("--venue", "demo", "--state", state)

    assert ended.code == 1
    assert "holds the account at venue sim: use --venue sim" in ended.error


def test_the_line_of_a_wrong_value_is_named(miad: Any, tmp_path: Path) -> None:
    miad.edit(r"^drawdown_max = .*", "drawdown_max = nan")
    line = next(i for i, text in enumerate(miad.config.read_text().splitlines(), 1) if "drawdown_max = nan" in text)

    assert f"{miad.config}:{line}:" in miad.run("--state", tmp_path / "state").error


@pytest.mark.parametrize(
    ("arguments", "environment", "word"),
    [
        (["--venue", "nowhere"], {}, "nowhere"),
        ([], {"MIA__RISK__DRAWDOWN_MAX": "nan"}, "MIA__RISK__DRAWDOWN_MAX"),
        ([], {"MIA__RISK__NONSENSE": "1"}, "MIA__RISK__NONSENSE"),
        ([], {"MIA__RISK__DRAWDOWN_MAX": "much"}, "MIA__RISK__DRAWDOWN_MAX"),
        ([], {"MIA__NONSENSE": "1"}, "MIA__NONSENSE"),
        (["--config", "/nonexistent/miad.toml"], {}, "/nonexistent/miad.toml"),
    ],
)
def test_other_sources_of_settings_are_named_too(
    miad: Any, tmp_path: Path, arguments: list[str], environment: dict[str, str], word: str
) -> None:
    ended = miad.run(*arguments, "--state", tmp_path / "state", **environment)

    assert ended.code == 4, ended.err
    assert word in ended.error


def test_a_flipped_bit_in_a_model_is_refused(miad: Any, tmp_path: Path) -> None:
    import shutil

    from mia.shipped import shipped

    model = tmp_path / "model"
    shutil.copytree(shipped("models") / "demo", model)
    data = bytearray((model / "policy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (model / "policy.onnx").write_bytes(data)
    miad.edit(r'^strategy = "rule:ema_cross"\nparams = .*\ntrigger = .*\nmin_interval_ms = .*', f'strategy = "{model}"')

    ended = miad.run("--state", tmp_path / "state")

    assert ended.code == 4, ended.err
    assert "policy.onnx" in ended.error


def test_an_empty_state_folder_name_is_a_usage_error(miad: Any) -> None:
    process = miad.start("--state", "")
    _, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "is empty" in err


def test_live_is_refused_without_its_conditions(miad: Any, tmp_path: Path) -> None:
    process = miad.start("--live", "--state", tmp_path / "state")
    _, err = process.communicate(timeout=60)

    assert process.returncode in (2, 6)  # --paper and --live exclude each other
    assert "Traceback" not in err


@pytest.mark.parametrize("bad", [["--speed", "fast"], ["--replay", "x", "--venue", "sim"]])
def test_wrong_use_exits_with_2(miad: Any, bad: list[str]) -> None:
    ended = miad.run(*bad)

    assert ended.code == 2
    assert "usage: miad" in ended.err
    assert "Traceback" not in ended.err


def test_a_missing_recording_exits_with_1(miad: Any, tmp_path: Path) -> None:
    ended = miad.replay(tmp_path / "binance_spot_btcusdt_ws_1.gz", tmp_path / "state")

    assert ended.code == 1
    assert "binance_spot_btcusdt_ws_1.gz" in ended.error


def test_a_state_directory_without_rights_exits_with_1(miad: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    ended = miad.run("--state", tmp_path / "file" / "state")

    assert ended.code == 1
    assert str(tmp_path / "file") in ended.error
    assert "--state" in ended.error


def test_a_second_instance_exits_with_6(miad: Any, tmp_path: Path) -> None:
    first = miad.start("--state", tmp_path / "state")
    miad.wait_until_trading(first)

    second = miad.run("--state", tmp_path / "state")
    ended = miad.end(first, 15)

    assert second.code == 6
    assert str(first.pid) in second.error
    assert ended.code == 0, ended.err


def newest_segment(state: Path) -> Path:
    return sorted((state / "journal").glob("journal-*.seg"))[-1]


@pytest.fixture
def killed(miad: Any, tmp_path: Path) -> Path:
    """State directory of a paper run that was killed after half a second, or when its first decisions were written."""
    state = tmp_path / "state"
    log = state / "logs" / "trading" / "decision_log.csv"
    process = miad.start("--state", state)
    miad.wait_until_trading(process)
    time.sleep(0.5)
    deadline_s = time.monotonic() + 30
    while not (log.exists() and log.read_bytes().count(b"\n") > 1) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert miad.end(process).code == -9
    return state


def warnings_of(err: str) -> list[str]:
    """But those that every run here gives: it runs as root, on what a killed one left."""
    usual = ("runs as root", "ended without a word")
    return [line for line in err.splitlines() if " warn  " in line and not any(words in line for words in usual)]


def test_a_damaged_record_with_valid_ones_after_it_exits_with_1(miad: Any, killed: Path) -> None:
    path = newest_segment(killed)
    data = bytearray(path.read_bytes())
    data[4096 + 3000] ^= 0xFF
    path.write_bytes(data)

    ended = miad.run("--state", killed, "--duration", "0.2")

    assert ended.code == 1, ended.err
    assert path.name in ended.error
    assert path.read_bytes() == data  # nothing is thrown away


def test_a_torn_tail_is_dropped_with_one_warning(miad: Any, killed: Path) -> None:
    path = newest_segment(killed)
    data = path.read_bytes()
    end = len(data.rstrip(b"\0"))
    path.write_bytes(data[: end - 20] + bytes(len(data) - end + 20))

    ended = miad.run("--state", killed, "--duration", "0.2")

    assert ended.code == 0, ended.err
    (warning,) = warnings_of(ended.err)
    assert re.search(r"torn tail of \d+ bytes", warning)


def test_a_locked_csv_costs_one_warning_and_is_written_later(miad: Any, killed: Path) -> None:
    csv = killed / "logs" / "trading" / "decision_log.csv"
    csv.unlink(missing_ok=True)
    csv.mkdir()

    blocked = miad.run("--state", killed, "--duration", "0.3")
    csv.rmdir()
    free = miad.run("--state", killed, "--duration", "0.2")

    assert (blocked.code, free.code) == (0, 0), blocked.err + free.err
    (warning,) = warnings_of(blocked.err)
    assert str(csv) in warning
    assert warnings_of(free.err) == []
    rows = sqlite3.connect(killed / "miad.db").execute("SELECT count(*) FROM decisions").fetchone()[0]
    assert len(csv.read_text().splitlines()) == rows + 1 > 1


def test_a_missing_table_is_rebuilt_with_one_warning(miad: Any, killed: Path) -> None:
    database = sqlite3.connect(killed / "miad.db")
    before = database.execute("SELECT count(*) FROM decisions").fetchone()[0]
    database.execute("DROP TABLE decisions")
    database.commit()
    database.close()

    ended = miad.run("--state", killed, "--duration", "0.2")

    assert ended.code == 0, ended.err
    (warning,) = warnings_of(ended.err)
    assert "decisions" in warning
    after = sqlite3.connect(killed / "miad.db").execute("SELECT count(*) FROM decisions").fetchone()[0]
    assert after >= before > 0


@pytest.mark.data
def test_a_truncated_recording_is_played_as_far_as_it_goes(miad: Any, recording: Path, tmp_path: Path) -> None:
    short = tmp_path / recording.name
    short.write_bytes(recording.read_bytes()[:200_000])

    ended = miad.replay(short, tmp_path / "state")

    assert ended.code == 0, ended.err
    assert f"{short}: truncated after line" in ended.err
    assert "P&L" in ended.out


@pytest.mark.data
def test_profit_is_of_what_was_traded_whatever_the_settings_say_now(miad: Any, recording: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = miad.replay(recording, state)
    miad.edit(r'^cash = "10000"', 'cash = "5000"')

    again = miad.replay(recording, state)

    (line,) = [line for line in first.out.splitlines() if line.startswith("P&L")]
    assert "from 10000.00" in line
    assert line in again.out.splitlines()


@pytest.mark.data
def test_state_of_other_lanes_is_refused_and_kept(miad: Any, recording: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert miad.replay(recording, state).code == 0
    miad.config.write_text(miad.config.read_text().replace("slow_period = 5", "slow_period = 7"))

    ended = miad.replay(recording, state)

    assert ended.code == 1, ended.err
    assert "--state" in ended.error


@pytest.mark.data
def test_another_recording_on_a_replay_state_is_refused_and_more_behind_it_is_not(
    miad: Any, recording: Path, market_data: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    next_day = tmp_path / "binance_spot_btcusdt_ws_20240809.gz"
    with gzip.open(market_data / next_day.name) as whole, gzip.open(next_day, "wb") as part:
        part.writelines(whole.readline() for _ in range(2000))
    assert miad.run("--replay", recording, "--speed", "max", "--state", state).code == 0

    refused = miad.run("--replay", next_day, "--speed", "max", "--state", state)
    more = miad.run("--replay", recording, "--replay", next_day, "--speed", "max", "--state", state)

    assert refused.code == 1
    assert len(refused.err.strip().splitlines()) == 1
    assert recording.name in refused.err
    assert more.code == 0, more.err
