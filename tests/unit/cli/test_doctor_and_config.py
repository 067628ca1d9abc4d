"""`mia doctor` finds what is wrong and says what to do; `mia show-config` names the origin of every value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.cli.show_config import masked
from mia.kernels import build_info
from mia.kernels.build_info import KernelBuild

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err
Checks = dict[str, dict[str, str]]


@pytest.fixture
def config(tmp_path: Path, make_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings with rules, in a home of their own."""
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    return make_config(tmp_path / "miad.toml")


def examine(mia: Mia, *arguments: object) -> tuple[int, Checks]:
    result = mia("doctor", "--json", *arguments)
    return result.code, {check["name"]: check for check in json.loads(result.out)["checks"]}


def test_a_sound_installation_passes(config: Path, mia: Mia) -> None:
    code, checks = examine(mia, "--config", config)

    assert [c for c in checks.values() if c["state"] == "fail"] == []
    assert code == 0
    assert {"versions", "kernels", "cpu", "uvloop", "clock", "settings", "windows crypto", "macro events", "state", "disk"} <= set(checks)
    assert checks["lane sim:SIMUSD"]["state"] == "ok"


def test_people_get_a_table_and_a_count(config: Path, mia: Mia) -> None:
    result = mia("doctor", "--config", config)

    assert result.out.splitlines()[0].split() == ["check", "state", "finding"]
    assert result.out.splitlines()[-1].endswith(" 0 failed")
    assert "\x1b" not in result.out


def test_a_bad_setting_is_named_with_its_line_and_the_rest_is_still_examined(config: Path, mia: Mia) -> None:
    config.write_text(config.read_text().replace("drawdown_max = ", "drawdown_maxx = "))

    code, checks = examine(mia, "--config", config, "--state", config.parent / "state")

    assert (code, checks["settings"]["state"]) == (1, "fail")
    assert "drawdown_maxx" in checks["settings"]["text"]
    assert checks["disk"]["state"] in ("ok", "warn")


def test_a_model_that_is_missing_fails_its_lane_only(config: Path, mia: Mia) -> None:
    config.write_text(
        config.read_text().replace('strategy = "rule:ema_cross"\nparams = { fast_period = 3, slow_period = 8 }', 'strategy = "absent"', 1)
    )

    code, checks = examine(mia, "--config", config)

    assert code == 1
    assert [c["name"] for c in checks.values() if c["state"] == "fail"] == ["lane sim:SIMUSD"]
    assert "'absent' was not found" in checks["lane sim:SIMUSD"]["text"]


def test_an_expired_calendar_fails(config: Path, tmp_path: Path, mia: Mia) -> None:
    own = tmp_path / "config" / "mia"
    own.mkdir(parents=True)
    text = '[family.crypto]\ntime_zone = "UTC"\nsessions = ["mon-sun 00:00-24:00"]\nvalid_until = "2020-01-01T00:00:00Z"\n'
    (own / "trade_windows.toml").write_text(text)

    code, checks = examine(mia, "--config", config)

    assert (code, checks["windows crypto"]["state"]) == (1, "fail")
    assert str(own / "trade_windows.toml") in checks["windows crypto"]["text"]


def test_a_calendar_row_that_cannot_be_read_is_named_by_its_line(config: Path, tmp_path: Path, mia: Mia) -> None:
    own = tmp_path / "config" / "mia"
    own.mkdir(parents=True)
    head = "start_time,type,impact,minutes_before,minutes_after,source,valid_until"
    (own / "macro_events.csv").write_text(f"{head}\n2026-01-28T19:00:00Z,fomc,high,30,60,me,2026-01-29T19:00:00Z\n")

    code, checks = examine(mia, "--config", config)

    assert code == 1
    assert "macro_events.csv: line 2: impact" in checks["windows"]["text"]


@pytest.mark.parametrize(("state", "word"), [("stale", "fail"), ("interpreted", "warn"), ("compiled", "ok")])
def test_kernels_are_judged(state: str, word: str, config: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_info, "kernel_builds", lambda: [KernelBuild("mia.kernels.num", state)])  # type: ignore[arg-type]

    code, checks = examine(mia, "--config", config)

    assert (checks["kernels"]["state"], code) == (word, int(word == "fail"))


def test_a_state_directory_that_cannot_be_made_fails(config: Path, tmp_path: Path, mia: Mia) -> None:
    (tmp_path / "file").write_text("")

    code, checks = examine(mia, "--config", config, "--state", tmp_path / "file" / "state")

    assert (code, checks["state"]["state"]) == (1, "fail")


def test_a_full_disk_fails(config: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    import mia.cli.doctor as module

    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 100_000_000})())

    code, checks = examine(mia, "--config", config)

    assert (code, checks["disk"]["state"]) == (1, "fail")


def test_a_recorded_state_is_looked_at(config: Path, recorded: Path, mia: Mia) -> None:
    code, checks = examine(mia, "--config", config, "--state", recorded)

    assert (code, checks["journal"]["state"], checks["database"]["state"]) == (0, "ok", "ok")


def test_a_check_that_breaks_hides_no_other(config: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    import mia.cli.doctor as module

    def broken() -> None:
        raise RuntimeError("odd")

    monkeypatch.setattr(module, "_cpu", broken)

    code, checks = examine(mia, "--config", config)

    assert (code, checks["cpu"]["state"]) == (1, "fail")
    assert checks["settings"]["state"] == "ok"


def test_every_value_names_its_origin(config: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA__RISK__DRAWDOWN_MAX", "0.07")

    values = json.loads(mia("show-config", "--config", config, "--json").out)["values"]

    assert values["risk.drawdown_max"] == {"value": 0.07, "source": "environment MIA__RISK__DRAWDOWN_MAX"}
    assert values["lanes[0].strategy"] == {"value": "rule:ema_cross", "source": f"file {config}"}
    assert values["engine.out_of_range_max"]["source"] == "default"


def test_settings_are_shown_one_in_a_line(config: Path, mia: Mia) -> None:
    lines = mia("show-config", "--config", config).out.splitlines()

    row = next(line for line in lines if line.startswith("risk.drawdown_max "))
    assert row.split() == ["risk.drawdown_max", "0.1", "file"]
    assert lines[0] == f"file  {config}"


def test_a_secret_is_never_shown() -> None:
    assert masked("venues.binance.api_key", "abc") == "***"
    assert masked("venues.binance.api_key", "") == ""
    assert masked("risk.drawdown_max", 0.1) == 0.1


def test_bad_settings_exit_4_with_one_line(config: Path, mia: Mia) -> None:
    config.write_text(config.read_text().replace("drawdown_max = 0.10", "drawdown_max = nan"))

    for verb in ("show-config", "status", "history"):
        result = mia(verb, "--config", config)

        assert (result.code, result.out) == (4, "")
        assert "drawdown_max" in result.err
        assert result.err.count("\n") == 1


def test_a_damaged_or_missing_journal_is_found_before_the_daemon_does(session: Path, config: Path, mia: Mia) -> None:
    sound = examine(mia, "--config", config, "--state", session)[1]["journal"]
    segment = min((session / "journal").glob("journal-*.seg"))
    data = bytearray(segment.read_bytes())
    data[4096 + 2000] ^= 1
    segment.write_bytes(data)
    code, damaged = examine(mia, "--config", config, "--state", session)
    for path in (session / "journal").iterdir():
        path.unlink()
    gone = examine(mia, "--config", config, "--state", session)[1]["journal"]

    assert sound["state"] == "ok"
    assert "every checksum right" in sound["text"]
    assert (code, damaged["journal"]["state"]) == (1, "fail")
    assert segment.name in damaged["journal"]["text"]
    assert gone["state"] == "fail"
