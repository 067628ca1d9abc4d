"""The tool as a process: exit codes, pipes, terminals, and what its start does not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mia import __version__
from mia.cli import main as module
from mia.cli.main import app
from mia.cli.output import age, size

ROOT = Path(__file__).resolve().parents[3]
VERBS = (
    "status", "paper", "pause", "resume", "flatten", "kill", "reload", "why", "history", "show-config", "doctor", "replay",
    "features", "models", "bench",
)  # fmt: skip


def process(*arguments: object, pipe: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mia.cli.main", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'daemon'}", **environment}
    if pipe:
        script = " ".join(f"'{part}'" for part in command) + f" {pipe}; exit ${{PIPESTATUS[0]}}"
        command = ["bash", "-c", script]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_version_is_one_line() -> None:
    result = process("--version")

    assert (result.returncode, result.stdout, result.stderr) == (0, f"mia {__version__}\n", "")


def test_exit_codes_reach_the_shell(recorded: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[riskk]\n")

    codes = [
        process("replay", recorded).returncode,
        process("replay", tmp_path).returncode,
        process("status", "--nonsense").returncode,
        process("status", "--state", recorded).returncode,
        process("show-config", "--config", bad).returncode,
    ]

    assert codes == [0, 1, 2, 3, 4]


def test_a_reader_that_goes_away_is_no_error(recorded: Path) -> None:
    result = process("history", "decisions", "--state", recorded, "--limit", "100000", pipe="| head -1")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("time (UTC)")


def test_help_lists_every_verb_within_80_columns() -> None:
    result = CliRunner().invoke(app, ["--help"])

    assert result.exit_code == 0
    assert [verb for verb in VERBS if f"\n  {verb} " not in result.output] == []
    assert max(map(len, result.output.splitlines())) <= 80
    assert [line for line in result.output.partition("Commands:")[2].splitlines() if line.endswith("...") and ", ..." not in line] == []


def test_without_a_verb_the_help_is_shown() -> None:
    result = process()

    assert (result.returncode, result.stderr) == (2, "")
    assert result.stdout.startswith("Usage: mia")


def test_a_narrow_terminal_wraps_and_a_pipe_does_not(recorded: Path) -> None:
    narrow = process("status", "--state", recorded, FORCE_COLOR="1", COLUMNS="50", NO_COLOR="1")
    piped = process("status", "--state", recorded, COLUMNS="50")

    assert max(map(len, narrow.stdout.splitlines())) <= 50
    assert len(piped.stdout.splitlines()) < len(narrow.stdout.splitlines())


def test_a_table_too_wide_for_the_terminal_loses_nothing(recorded: Path) -> None:
    result = process("history", "orders", "--state", recorded, "-n", "2", FORCE_COLOR="1", COLUMNS="60", NO_COLOR="1")

    blocks = [dict(line.split(maxsplit=1) for line in block.splitlines()) for block in result.stdout.split("\n\n")]
    assert [(len(b["order"].strip()), b["symbol"].strip()) for b in blocks] == [(16, "SIMUSD")] * 2
    assert max(map(len, result.stdout.splitlines())) <= 60


def test_no_color_means_none() -> None:
    plain = process("doctor", FORCE_COLOR="1", NO_COLOR="1").stdout
    colored = process("doctor", FORCE_COLOR="1", NO_COLOR="").stdout

    assert "\x1b[3" not in plain
    assert "\x1b[3" in colored


def test_the_start_imports_nothing_heavy() -> None:
    script = (
        "import sys, mia.cli.main; print(*[m for m in ('numpy', 'onnxruntime', 'rich', 'apsw', 'mia.engine.engine') if m in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == ""


def test_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("mia.settings.load_settings", lambda *a: 1 / 0)

    code = module.main(["show-config"])

    assert code == 1
    assert "internal error, ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (600, "10 min"), (7200, "2 h"), (400_000, "5 days")])
def test_ages_are_in_the_unit_of_people(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (268_435_456, "268.4 MB"), (5 * 10**12, "5000.0 GB")]
)
def test_sizes_are_in_the_unit_of_people(n: int, text: str) -> None:
    assert size(n) == text
