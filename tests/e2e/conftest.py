"""The daemon as a subprocess on small inputs: settings, recordings and state directories of a test's own."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SPOT: Final = "binance_spot_btcusdt_ws_20240808.gz"
RULE: Final = 'strategy = "rule:ema_cross"\nparams = { fast_period = 2, slow_period = 5 }\ntrigger = "quote"\nmin_interval_ms = 100'
EXPORTS: Final = ("trades/trades_simulated.csv", "logs/trading/decision_log.csv", "logs/trading/alpha_scores.csv")


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says why it refused; fails when there is more or less, or a traceback."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        return lines[0]


class Miad:
    """Starts `miad` with a home, settings and a state directory inside of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.config = folder / "miad.toml"
        shipped = (ROOT / "config" / "miad.toml").read_text().replace('venue = "demo"             # traded', 'venue = "sim"  # traded')
        assert shipped.count('venue = "sim"') == 2
        text = shipped.replace('strategy = "demo"', RULE)
        assert RULE in text
        text, n = re.subn(r"^port = 9477", "port = 0   ", text, flags=re.MULTILINE)
        assert n == 1
        self.config.write_text(text.replace("[store]\n", "[store]\nsegment_mb = 1\nsnapshot_every_events = 4000\n"))

    def edit(self, pattern: str, replacement: str) -> None:
        """Change the settings; fails when nothing matched."""
        text, n = re.subn(pattern, replacement, self.config.read_text(), count=1, flags=re.MULTILINE)
        assert n == 1, pattern
        self.config.write_text(text)

    def start(self, *arguments: Any, config: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """A running process; its stderr and stdout are pipes."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIA_CRASH", "MIA__", "XDG_", "STATE_"))}
        paths = os.pathsep.join([str(ROOT), str(ROOT / "daemon"), *filter(None, [kept.get("PYTHONPATH", "")])])
        command = [sys.executable, "-m", "miad.app", "--paper", "--config", str(config or self.config), *map(str, arguments)]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
            env={**kept, "HOME": str(self.home), "PYTHONPATH": paths, **environment},
        )  # fmt: skip

    def run(self, *arguments: Any, config: Path | None = None, **environment: str) -> Ended:
        """Run to the end."""
        process = self.start(*arguments, config=config, **environment)
        try:
            out, err = process.communicate(timeout=100)
        finally:
            process.kill()
        return Ended(process.returncode, out, err)

    def replay(self, recording: Path, state: Path, **environment: str) -> Ended:
        """Trade a recording as fast as it goes."""
        return self.run("--replay", recording, "--speed", "max", "--state", state, **environment)

    @staticmethod
    def wait_until_trading(process: subprocess.Popen[str]) -> list[str]:
        """Read stderr up to the line that says that trading began; the lines so far."""
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if " trading " in line:
                return lines
        raise AssertionError(f"never traded: {lines}")

    @staticmethod
    def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> Ended:
        """Send a signal and collect what is left."""
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        return Ended(process.returncode, out, err)


@pytest.fixture
def miad(tmp_path: Path) -> Miad:
    """A daemon with nothing but a rule to trade."""
    return Miad(tmp_path)


@pytest.fixture(scope="session")
def recording(market_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 25,000 frames (three minutes) of a real spot session."""
    path = tmp_path_factory.mktemp("recording") / SPOT
    with gzip.open(market_data / SPOT) as whole, gzip.open(path, "wb", compresslevel=1) as part:
        for _ in range(25_000):
            part.write(whole.readline())
    return path


@pytest.fixture(scope="session")
def reference(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State directory of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("reference")
    ended = Miad(folder).replay(recording, folder / "state")
    assert ended.code == 0, ended.err
    return folder / "state"


@pytest.fixture(scope="session")
def exports() -> Callable[[Path], dict[str, bytes]]:
    """Reads the exports of a state directory that must not depend on how often the process was killed."""
    return lambda state: {name: (state / name).read_bytes() for name in EXPORTS}
