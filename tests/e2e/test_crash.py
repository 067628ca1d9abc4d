"""kill -9 at any moment, restart: the same trades and decisions as without, nothing twice, nothing lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.domain.effects import SubmitOrder
from mia.domain.events import OrderFilled
from mia.store.reader import JournalReader

Exports = Callable[[Path], dict[str, bytes]]
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.data


def assert_nothing_happened_twice(state: Path) -> None:
    orders: Counter[str] = Counter()
    fills: Counter[str] = Counter()
    seqs = []
    for entry in JournalReader(state / "journal"):
        seqs.append(entry.seq)
        if isinstance(entry.event, OrderFilled):
            fills[entry.event.fill_id] += 1
        for effect in entry.effects:
            if isinstance(effect, SubmitOrder):
                orders[effect.client_order_id] += 1
    assert seqs == list(range(1, len(seqs) + 1))
    assert set(orders.values()) == {1}
    assert set(fills.values()) == {1}
    assert len(fills) > 10


def kill_until_done(miad: Any, recording: Path, state: Path, seed: int, kills_max: int, delay_s_max: float) -> int:
    """Restart and kill at random moments, paced and (every fourth time) as fast as it goes; returns how often it was killed."""
    chance = random.Random(seed)
    for kills in range(kills_max):
        process = miad.start("--replay", recording, "--speed", "max" if kills % 4 == 3 else "150", "--state", state)
        miad.wait_until_trading(process)
        time.sleep(chance.uniform(0.0, delay_s_max))
        ended = miad.end(process)
        if ended.code == 0:
            return kills
        assert ended.code == -9, ended.err
    ended = miad.replay(recording, state)
    assert ended.code == 0, ended.err
    return kills_max


def test_two_fresh_runs_write_the_same_bytes(miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports) -> None:
    ended = miad.replay(recording, tmp_path / "state", PYTHONHASHSEED="7")

    assert ended.code == 0, ended.err
    assert exports(tmp_path / "state") == exports(reference)
    assert len(exports(reference)["trades/trades_simulated.csv"].splitlines()) > 5


def test_killed_eight_times_at_random_it_ends_in_the_same_bytes(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports
) -> None:
    state = tmp_path / "state"

    kills = kill_until_done(miad, recording, state, seed=1, kills_max=8, delay_s_max=0.04)

    assert kills >= 4  # it may reach the end before the eighth
    assert exports(state) == exports(reference)
    assert_nothing_happened_twice(state)


def killed_in_the_middle(miad: Any, recording: Path, state: Path) -> None:
    process = miad.start("--replay", recording, "--speed", "150", "--state", state)
    miad.wait_until_trading(process)
    time.sleep(0.4)
    assert miad.end(process).code == -9


@pytest.mark.parametrize(
    ("pattern", "replacement"), [(r"^dead_band_share = .*$", "dead_band_share = 0.9"), (r"^cash = .*$", 'cash = "777"')]
)
def test_settings_that_changed_since_the_kill_hold_from_the_restart_on(
    miad: Any, recording: Path, tmp_path: Path, pattern: str, replacement: str
) -> None:
    state = tmp_path / "state"
    killed_in_the_middle(miad, recording, state)
    miad.edit(pattern, replacement)

    ended = miad.replay(recording, state)

    assert ended.code == 0, ended.err
    assert_nothing_happened_twice(state)


def test_a_calendar_that_changed_since_the_kill_holds_from_the_restart_on(miad: Any, recording: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    killed_in_the_middle(miad, recording, state)
    own = miad.home / ".config" / "mia"
    own.mkdir(parents=True)
    windows = (ROOT / "config" / "trade_windows.toml").read_text()
    (own / "trade_windows.toml").write_text(windows + "# one more line, another digest\n")
    (own / "macro_events.csv").write_text((ROOT / "config" / "macro_events.csv").read_text().splitlines()[0] + "\n")

    ended = miad.replay(recording, state)

    assert ended.code == 0, ended.err


def test_lanes_that_changed_since_the_kill_are_refused_with_what_to_do(miad: Any, recording: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    killed_in_the_middle(miad, recording, state)
    text = miad.config.read_text()
    miad.config.write_text(text.replace("params = { fast_period = 2, slow_period = 5 }", "params = { fast_period = 3, slow_period = 9 }"))

    ended = miad.replay(recording, state)

    assert ended.code == 1
    assert "start with the settings and models of before, or with a new --state" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_many_times_it_ends_in_the_same_bytes(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports, seed: int
) -> None:
    state = tmp_path / "state"

    kill_until_done(miad, recording, state, seed=100 + seed, kills_max=25, delay_s_max=0.03 + 0.03 * seed)

    assert exports(state) == exports(reference)
    assert_nothing_happened_twice(state)


def projection_of(state: Path) -> int | None:
    """Pid of the process that writes the rows and files of a state directory."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if b"mia.store.project" in words and str(state).encode() in words:
                return int(entry.parent.name)
    return None


def test_killing_the_projection_alone_changes_nothing(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports
) -> None:
    state = tmp_path / "state"
    process = miad.start("--replay", recording, "--speed", "60", "--state", state)
    miad.wait_until_trading(process)
    seen: set[int] = set()
    while len(seen) < 2 and process.poll() is None:
        pid = projection_of(state)
        if pid is not None and pid not in seen and (seen or (state / "logs" / "trading" / "decision_log.csv").exists()):
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    err = process.communicate(timeout=60)[1]

    assert process.returncode == 0, err
    assert len(seen) == 2
    assert err.count("was killed by signal 9") == 2
    assert exports(state) == exports(reference)
    assert_nothing_happened_twice(state)


@pytest.mark.parametrize("point", ["pre_intent:37", "post_intent:401", "post_send:402", "in_snapshot:2"])
def test_dying_between_intent_and_action_changes_nothing(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports, point: str
) -> None:
    state = tmp_path / "state"

    died = miad.replay(recording, state, MIA_CRASH_AT=point)
    ended = miad.replay(recording, state)

    assert died.code == 137, died.err
    assert ended.code == 0, ended.err
    assert exports(state) == exports(reference)
    assert_nothing_happened_twice(state)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["pre_intent", "post_intent", "post_send"])
def test_dying_at_every_order_changes_nothing(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports, point: str
) -> None:
    """Every restart dies again a few effects later, until the recording ends."""
    state = tmp_path / "state"

    for step in range(60):
        ended = miad.replay(recording, state, MIA_CRASH_AT=f"{point}:{1 + 7 * step}")
        if ended.code == 0:
            break
        assert ended.code == 137, ended.err

    assert ended.code == 0
    assert exports(state) == exports(reference)
    assert_nothing_happened_twice(state)


def test_the_shipped_model_ends_in_the_same_bytes_when_killed(miad: Any, recording: Path, tmp_path: Path, exports: Exports) -> None:
    miad.config.write_text((ROOT / "config" / "miad.toml").read_text().replace("[store]\n", "[store]\nsegment_mb = 1\n"))
    whole = miad.replay(recording, tmp_path / "whole")

    kill_until_done(miad, recording, tmp_path / "killed", seed=5, kills_max=3, delay_s_max=0.1)

    assert whole.code == 0, whole.err
    assert exports(tmp_path / "killed") == exports(tmp_path / "whole")
    assert len(exports(tmp_path / "whole")["logs/trading/alpha_scores.csv"].splitlines()) > 500


def test_a_finished_replay_prints_its_summary_again(miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports) -> None:
    state = tmp_path / "state"
    first = miad.replay(recording, state)

    again = miad.replay(recording, state)

    assert (first.code, again.code) == (0, 0)
    assert exports(state) == exports(reference)
    for label in ("decisions", "orders", "P&L", "codes"):
        assert line_of(first.out, label) == line_of(again.out, label)
    assert "no decision in this process" in line_of(again.out, "latency")


def line_of(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(label))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_polite_end_exits_with_zero_and_goes_on_later(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports, name: str
) -> None:
    import signal

    state = tmp_path / "state"
    process = miad.start("--replay", recording, "--speed", "20", "--state", state)
    miad.wait_until_trading(process)
    time.sleep(0.3)

    ended = miad.end(process, getattr(signal, name))
    rest = miad.replay(recording, state)

    assert ended.code == 0, ended.err
    assert f"stopping ({name})" in ended.err
    assert "Traceback" not in ended.err
    assert line_of(ended.out, "events")
    assert rest.code == 0, rest.err
    assert exports(state) == exports(reference)


def test_a_run_of_limited_duration_stops_by_itself_and_goes_on_later(
    miad: Any, recording: Path, reference: Path, tmp_path: Path, exports: Exports
) -> None:
    state = tmp_path / "state"

    ended = miad.run("--replay", recording, "--speed", "50", "--state", state, "--duration", "0.5")
    rest = miad.replay(recording, state)

    assert (ended.code, rest.code) == (0, 0), ended.err + rest.err
    assert "stopping (duration)" in ended.err
    assert exports(state) == exports(reference)
