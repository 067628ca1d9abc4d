"""The projection: the same rows and files whether live, caught up, killed in between or rebuilt.

What it writes is tested in this process (`project`, `Script`), how the daemon keeps it with real processes (`Rig`).
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import apsw
import pytest

from mia.domain.effects import AnyEffect, Halt, RaiseAlert, RecordDecision, RecordRisk, RecordTrade, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent, BalanceReported, OrderAccepted, OrderCanceled, OrderFilled, RunStarted, Timer
from mia.domain.text import csv_line, iso_time, number
from mia.store.exports import money
from mia.store.journal import Journal
from mia.store.project import Control, serve
from mia.store.projection import Projector

T0 = 1_723_075_200_000_000_000
FILES = ("trades/trades_simulated.csv", "logs/trading/decision_log.csv", "logs/trading/alpha_scores.csv", "logs/trading/penalty_log.csv")


def session(seq: int) -> tuple[AnyEvent, list[AnyEffect]]:
    """Event `seq` of a made-up session and its effects: orders, fills, trades, decisions, alerts in a fixed pattern."""
    ts = T0 + seq * 100_000_123
    n = seq // 10
    order = f"mia{n:013d}"
    probs = (0.7, 0.2, 0.1)
    match seq % 10:
        case 0:
            return BalanceReported(seq, 0, ts, "USDT", 10**12 + seq), []
        case 1:
            decision = RecordDecision(
                n, ts, 0, 0, f"t-{n}" if n % 2 else "", "buy", 0.1234567 + n, math.nan if n < 2 else 0.5, probs, (0.1, 0.2, math.nan),
                "ok", 0.0, math.nan, 0, n, 7, (order,),
            )  # fmt: skip
            submit = SubmitOrder(order, 0, 1 if n % 2 == 0 else -1, "market", 5, 100, 0, False, False, "entry", n, "")
            return Timer(seq, 0, ts), [decision, submit]
        case 2:
            return OrderAccepted(seq, ts, ts, order, f"v{n}"), []
        case 3:
            return OrderFilled(seq, ts, ts, order, f"f{n}a", 0, 1 if n % 2 == 0 else -1, 100, 2, 300, False), []
        case 4:
            return OrderFilled(seq, ts, ts, order, f"f{n}a", 0, 1 if n % 2 == 0 else -1, 100, 2, 300, False), []  # repeated
        case 5:
            fill = OrderFilled(seq, ts, ts, order, f"f{n}b", 0, 1 if n % 2 == 0 else -1, 101, 3, 300, True)
            closes = n % 2 == 1
            trade = RecordTrade(
                f"t-{n // 2}", 0, closes, 1, T0 + n // 2, ts if closes else 0, 100.6, 101.25 if closes else 0.0, 5,
                123_456_789 * (1 - 2 * (n % 4 // 2)) if closes else -600, 1200, 4 if closes else 2, probs,
            )  # fmt: skip
            return fill, [trade]
        case 6:
            return Timer(seq, 0, ts), [RecordRisk(ts, 10**12, 10**12, 0.0125, 1 / 3, n % 3 == 0), RaiseAlert("info", "x", 'say "a, b"')]
        case 7:
            return OrderCanceled(seq, ts, ts, order, "too late"), []
        case 8:
            return Timer(seq, 0, ts), [Halt("test")] if n % 50 == 49 else []
        case _:
            return Timer(seq, 0, ts), []


def write(journal: Journal, first: int, last: int) -> None:
    for seq in range(first, last + 1):
        event, effects = session(seq)
        journal.append_event(event)
        journal.append_effects(seq, effects)


class Script(Control):
    """Where the daemon's words would be waited for: the next step, and `stop` after the last one."""

    def __init__(self, steps: Iterable[Callable[[], object]] = ()) -> None:
        super().__init__(-1)
        self._steps = iter(steps)

    def wait(self, seconds: float) -> None:
        if seconds:
            step = next(self._steps, None)
            self.is_stopping = step is None
            if step is not None:
                step()


def project(folder: Path, steps: Iterable[Callable[[], object]] = ()) -> list[str]:
    """Everything the projection has to say about a journal that another run opens now: catch up, then the steps."""
    lines: list[str] = []
    journal = Journal(folder / "journal", segment_bytes=65536)
    last_seq = journal.last_seq
    journal.close()
    serve(folder, "paper", last_seq, Script(steps), lines.append)
    return [line for line in lines if not line.startswith("applied")]


def words(lines: list[str]) -> list[str]:
    """The kinds of lines, with the codes of warnings."""
    return [" ".join(line.split()[: 2 if line.startswith("warning") else 1]) for line in lines]


class Rig:
    """A journal and its projection's process on one state directory, as the daemon runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_closed = False
        self.warnings: list[str] = []
        self.failures: list[str] = []
        self.journal = Journal(folder / "journal", segment_bytes=65536)
        self.projector = Projector(
            folder,
            mode="paper",
            journal_last_seq=self.journal.last_seq,
            on_warning=lambda code, text: self.warnings.append(code),
            on_failure=self.failures.append,
        )

    def write(self, first: int, last: int) -> None:
        write(self.journal, first, last)

    def flush(self, timeout_s: float = 30.0) -> bool:
        return self.projector.flush(self.journal.last_seq, timeout_s)

    def kill(self) -> None:
        pid = self.projector.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: self.projector.pid != pid or self.projector.failed is not None)

    def stop(self) -> None:
        self.projector.stop()
        if not self.is_closed:
            self.journal.close()
        self.is_closed = True


def until(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "rig")
    yield rig
    rig.stop()


def make(folder: Path, last: int) -> Path:
    """A journal and its projection, followed while it is written."""
    journal = Journal(folder / "journal", segment_bytes=65536)
    lines: list[str] = []
    steps = [lambda n=n: write(journal, n + 1, min(n + 90, last)) for n in range(0, last, 90)]  # type: ignore[misc]
    assert serve(folder, "paper", 0, Script(steps), lines.append) == 0
    journal.close()
    assert [line for line in lines if not line.startswith("applied")] == ["ready"]
    return folder


def dump(folder: Path) -> dict[str, list[object]]:
    connection = apsw.Connection(str(folder / "miad.db"), flags=apsw.SQLITE_OPEN_READONLY)
    tables = ("runs", "decisions", "orders", "fills", "trades", "risk", "alerts", "balances", "counters", "positions", "meta")
    found = {t: sorted(map(tuple, connection.execute(f"SELECT * FROM {t}")), key=repr) for t in tables}
    connection.close()
    return found


def files(folder: Path) -> dict[str, bytes]:
    paths = [*FILES, *(str(p.relative_to(folder)) for kind in ("trade", "risk") for p in sorted((folder / f"{kind}_snapshots").iterdir()))]
    return {name: (folder / name).read_bytes() for name in paths}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    return make(tmp_path_factory.mktemp("whole"), 1000)


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_rows_hold_what_the_journal_says(whole: Path) -> None:
    rows = dump(whole)

    assert (len(rows["decisions"]), len(rows["orders"]), len(rows["fills"]), len(rows["trades"])) == (100, 100, 200, 50)
    order = next(r for r in rows["orders"] if r[1] == f"mia{7:013d}")  # type: ignore[index]
    assert order[15:18] == ("filled", 5, "v7")  # type: ignore[index]
    counters = dict(rows["counters"])  # type: ignore[call-overload]
    assert (counters["decisions"], counters["fills"], counters["trades"], counters["fees_e8"]) == (100, 200, 50, 60_000)
    assert [r[:2] for r in rows["positions"]] == [(0, 0)]  # type: ignore[index]
    assert dict(rows["meta"])["applied_seq"] == 998 or dict(rows["meta"])["applied_seq"] == 1000  # type: ignore[call-overload]


def test_exports_open_with_the_promised_columns(whole: Path) -> None:
    def head(name: str) -> tuple[list[str], list[str], int]:
        rows = list(csv.reader((whole / name).open(newline="")))
        assert all(len(r) == len(rows[0]) for r in rows)
        return rows[0], rows[3], len(rows) - 1

    columns, row, n = head("trades/trades_simulated.csv")
    assert columns[:5] == ["trade_id", "timestamp", "entry_price", "profit", "regime_probs"]
    assert row[:1] + row[2:5] == ["t-2", "100.6", "1.23456789", '{"range": 0.7, "trend": 0.2, "defensive": 0.1}']
    assert n == 50
    columns, row, n = head("logs/trading/decision_log.csv")
    assert columns[:5] == ["timestamp", "trade_id", "decision", "signal_score", "regime_probs"]
    assert row[:4] == [iso_time(T0 + 21 * 100_000_123), "", "buy", "2.123457"]
    assert n == 100
    columns, row, n = head("logs/trading/alpha_scores.csv")
    assert columns[:3] == ["timestamp", "alpha_score", "regime_probs"]
    assert row[1] == "0.5"
    assert ",," in (whole / "logs/trading/alpha_scores.csv").read_text().splitlines()[1]
    columns, row, n = head("logs/trading/penalty_log.csv")
    assert columns == ["timestamp", "penalty_active", "overtrade_risk_score"]
    assert row[1:] == ["0", "0.333333"]
    trade = json.loads((whole / "trade_snapshots/trade_t-2.json").read_text())
    assert (trade["trade_id"], trade["entry_price"], trade["profit"]) == ("t-2", 100.6, 1.23456789)
    risk = json.loads(next((whole / "risk_snapshots").iterdir()).read_text())
    assert set(risk) >= {"timestamp", "drawdown", "overtrade_risk_score", "penalty_active"}


def test_catching_up_from_the_journal_gives_the_same_as_live(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "journal", tmp_path / "journal")

    lines = project(tmp_path)

    assert words(lines) == ["warning projection_rebuilt", "ready"]
    assert dump(tmp_path) == dump(whole)
    assert files(tmp_path) == files(whole)


@pytest.mark.parametrize("table", ["orders", "fills", "decisions", "trades", "counters", "meta", "exports", "risk"])
def test_a_missing_table_is_rebuilt_with_one_warning(whole: Path, copy: Path, table: str) -> None:
    apsw.Connection(str(copy / "miad.db")).execute(f"DROP TABLE {table}")

    lines = project(copy)

    assert words(lines) == ["warning projection_rebuilt", "ready"]
    assert dump(copy) == dump(whole)
    assert files(copy) == files(whole)


def edit_in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3] + b"9\r\n")


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:-10]),
        lambda p: p.write_bytes(p.read_bytes() + b"half a li"),
        edit_in_place,
    ],
    ids=["missing", "empty", "shorter", "longer", "edited"],
)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_csv_is_written_anew(whole: Path, copy: Path, damage: Callable[[Path], object], name: str) -> None:
    damage(copy / name)

    project(copy)

    assert files(copy) == files(whole)
    assert (copy / (name + ".bak")).exists() == (damage is edit_in_place)


def test_a_csv_that_cannot_be_written_is_warned_of_once_and_written_later(whole: Path, tmp_path: Path) -> None:
    blocked = tmp_path / FILES[1]
    blocked.mkdir(parents=True)
    journal = Journal(tmp_path / "journal", segment_bytes=65536)
    steps = (lambda: write(journal, 1, 500), lambda: write(journal, 501, 990), blocked.rmdir, lambda: write(journal, 991, 1000))
    lines: list[str] = []

    code = serve(tmp_path, "paper", 0, Script(steps), lines.append)

    journal.close()
    assert code == 0
    assert [w for w in words(lines) if w != "applied"] == ["ready", "warning export_blocked"]
    assert files(tmp_path) == files(whole)


@pytest.fixture
def locker(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Another process that holds BEGIN EXCLUSIVE until its standard input closes."""
    started: list[subprocess.Popen[str]] = []

    def lock(database: Path) -> subprocess.Popen[str]:
        steps = ("import apsw, sys", f"c = apsw.Connection({str(database)!r})", "c.execute('BEGIN EXCLUSIVE')", "print('held', flush=True)")
        code = "\n".join((*steps, "sys.stdin.read()"))
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        started.append(process)
        return process

    yield lock
    for process in started:
        process.communicate(timeout=10)


def test_a_locked_database_lets_the_projection_lag_and_nothing_is_lost(
    whole: Path, rig: Rig, locker: Callable[[Path], subprocess.Popen[str]]
) -> None:
    rig.projector.start()
    rig.write(1, 200)
    assert rig.flush()
    process = locker(rig.folder / "miad.db")
    rig.write(201, 1000)
    assert not rig.flush(1.0)
    assert rig.projector.is_lagging
    assert rig.warnings == ["projection_lags"]

    process.communicate(timeout=10)
    assert rig.flush()
    assert not rig.projector.is_lagging
    rig.projector.stop()

    assert (rig.warnings, rig.failures) == (["projection_lags"], [])
    assert dump(rig.folder) == dump(whole)
    assert files(rig.folder) == files(whole)


def test_a_database_that_is_locked_at_the_start_does_not_hold_trading_up(
    whole: Path, copy: Path, locker: Callable[[Path], subprocess.Popen[str]]
) -> None:
    process = locker(copy / "miad.db")
    rig = Rig(copy)
    rig.projector.start()
    rig.write(1001, 1010)
    until(lambda: rig.projector.is_lagging)

    process.communicate(timeout=10)
    assert rig.flush()
    rig.stop()

    assert rig.warnings == ["projection_lags"]
    assert len(dump(copy)["decisions"]) == len(dump(whole)["decisions"]) + 1


def test_stopping_while_the_database_is_locked_ends_and_the_next_start_goes_on(
    whole: Path, rig: Rig, locker: Callable[[Path], subprocess.Popen[str]]
) -> None:
    rig.projector.start()
    rig.write(1, 200)
    assert rig.flush()
    process = locker(rig.folder / "miad.db")
    rig.write(201, 1000)
    until(lambda: rig.projector.is_lagging)
    rig.stop()
    process.communicate(timeout=10)

    lines = project(rig.folder)

    assert lines == ["ready"]
    assert dump(rig.folder) == dump(whole)
    assert files(rig.folder) == files(whole)


class BrokenDisk(apsw.VFS):
    """A file system whose syncs or writes fail once told to, and then work again, as SQLite sees it after an fsync error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.armed = False
        self.seen = 0
        super().__init__("broken", "unix")

    def xOpen(self, name: object, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return BrokenFile(self, name, flags)


class BrokenFile(apsw.VFSFile):
    def __init__(self, disk: BrokenDisk, name: object, flags: list[int]) -> None:
        self.disk = disk
        super().__init__("unix", name, flags)  # type: ignore[arg-type]

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.disk.armed and self.disk.kind != "sync":
            self.disk.armed = False
            self.disk.seen += 1
            raise apsw.IOError("write") if self.disk.kind == "write" else apsw.FullError("full")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self.disk.armed and self.disk.kind == "sync":
            self.disk.armed = False
            self.disk.seen += 1
            raise apsw.IOError("sync")
        super().xSync(flags)


@pytest.mark.parametrize("kind", ["write", "full", "sync"])
def test_the_first_database_error_ends_the_projection(tmp_path: Path, kind: str) -> None:
    before = apsw.vfs_names()[0]
    disk = BrokenDisk(kind)
    journal = Journal(tmp_path / "journal", segment_bytes=65536)
    write(journal, 1, 100)
    lines: list[str] = []

    def steps() -> Iterator[Callable[[], object]]:
        yield lambda: setattr(disk, "armed", True)
        while len(lines) < 1000:  # a sync comes with a checkpoint only
            yield lambda: write(journal, journal.last_seq + 1, journal.last_seq + 500)

    apsw.set_default_vfs("broken")
    try:
        code = serve(tmp_path, "paper", 0, Script(steps()), lines.append)
    finally:
        apsw.set_default_vfs(before)
    journal.close()

    assert (code, disk.seen) == (1, 1)
    assert lines[-1].startswith(f"failed {tmp_path / 'miad.db'}: the projection failed")
    assert lines[-1].endswith("check the disk, then restart")


def test_a_newer_schema_is_refused_with_both_versions(copy: Path) -> None:
    apsw.Connection(str(copy / "miad.db")).pragma("user_version", 7)

    with pytest.raises(DataError, match=r"schema version 7 is newer than this version of mia knows \(3\)"):
        Rig(copy)


def test_a_newer_schema_that_only_the_log_of_the_database_knows_ends_the_projection(copy: Path) -> None:
    connection = apsw.Connection(str(copy / "miad.db"))
    connection.execute("BEGIN; PRAGMA user_version = 7; COMMIT")
    rig = Rig(copy)

    rig.projector.start()
    until(lambda: rig.projector.failed is not None)
    rig.stop()
    connection.close()

    assert "schema version 7 is newer" in str(rig.projector.failed)
    assert rig.failures == [rig.projector.failed]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "miad.db").write_bytes(b"no database" * 1000)

    with pytest.raises(DataError, match=r"miad\.db: damaged database"):
        Rig(tmp_path)


def test_a_database_that_lost_its_pages_ends_the_projection(whole: Path, copy: Path) -> None:
    size = (copy / "miad.db").stat().st_size
    with (copy / "miad.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    rig = Rig(copy)

    rig.projector.start()
    rig.write(1001, 1010)

    assert not rig.flush()
    assert "miad.db" in str(rig.projector.failed)
    assert rig.failures == [rig.projector.failed]
    rig.stop()


def test_rows_that_the_journal_lost_to_a_power_failure_go(whole: Path, copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "journal")
    shutil.copytree(make(tmp_path / "short", 777) / "journal", copy / "journal")
    rig = Rig(copy)

    rig.write(778, 800)  # the daemon does not wait for the projection: it may be far ahead when the rows are compared
    rig.projector.start()
    assert rig.flush()
    rig.write(801, 1000)
    assert rig.flush()
    rig.kill()
    assert rig.flush()
    rig.stop()

    assert rig.warnings == ["projection_cut", "projector_restarted"]
    assert {k: v for k, v in dump(copy).items() if k != "orders"} == {k: v for k, v in dump(whole).items() if k != "orders"}
    assert {n: files(copy)[n] for n in FILES} == {n: files(whole)[n] for n in FILES}


def test_a_journal_that_is_gone_is_refused_before_trading(copy: Path) -> None:
    shutil.rmtree(copy / "journal")
    rig = Rig(copy)

    with pytest.raises(DataError, match="the journal is gone"):
        rig.projector.start()
    rig.stop()


# --- the process ------------------------------------------------------------------------------------------------------
def test_rows_and_files_follow_a_journal_that_is_being_written(whole: Path, rig: Rig) -> None:
    rig.projector.start()
    for seq in range(1, 1001, 3):
        rig.write(seq, min(seq + 2, 1000))
        if seq % 30 == 1:
            time.sleep(0.005)

    assert rig.flush()
    until(lambda: rig.projector.applied_seq == 1000)

    assert dump(rig.folder) == dump(whole)
    assert files(rig.folder) == files(whole)
    assert rig.warnings == []


def test_a_database_that_somebody_deletes_while_it_is_written_is_made_again(whole: Path, copy: Path) -> None:
    rig = Rig(copy)
    rig.projector.start()
    assert rig.flush()

    for path in rig.folder.glob("miad.db*"):
        path.unlink()
    until(lambda: "projection_rebuilt" in rig.warnings)
    assert rig.flush()
    rig.stop()

    assert rig.warnings == ["projection_removed", "projector_restarted", "projection_rebuilt"]
    assert dump(rig.folder) == dump(whole)


def test_the_daemon_does_not_wait_for_the_process_of_a_known_database(copy: Path) -> None:
    rig = Rig(copy)

    rig.projector.start()

    assert not rig.projector.is_ready
    assert rig.flush()
    assert rig.projector.is_ready
    rig.stop()


def test_a_killed_process_is_started_again_and_goes_on(whole: Path, rig: Rig) -> None:
    rig.projector.start()
    rig.write(1, 300)
    assert rig.flush()
    rig.kill()
    rig.write(301, 700)
    assert rig.flush()
    rig.kill()
    rig.write(701, 1000)
    assert rig.flush()

    assert rig.warnings == ["projector_restarted"] * 2
    assert rig.failures == []
    assert dump(rig.folder) == dump(whole)
    assert files(rig.folder) == files(whole)


def test_a_flush_that_the_killed_process_owes_is_answered_by_the_next(whole: Path, rig: Rig) -> None:
    rig.projector.start()
    assert rig.flush()
    pid = rig.projector.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    rig.write(1, 1000)
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()

    assert rig.flush()

    assert dump(rig.folder) == dump(whole)


def test_a_process_that_keeps_dying_ends_the_daemon(rig: Rig) -> None:
    rig.projector.start()
    for _ in range(4):
        rig.kill()

    until(lambda: rig.failures != [])

    assert rig.warnings == ["projector_restarted"] * 3
    assert "ended 4 times within a minute" in rig.failures[0]
    assert not rig.flush(0.1)


def test_the_process_ends_with_the_daemon(rig: Rig) -> None:
    command = [sys.executable, "-m", "mia.store.project", str(rig.folder), "--mode", "paper", "--journal-last-seq", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    process.stdin.close()

    assert process.wait(20) == 0
    process.stdout.close()


def test_a_second_process_waits_until_the_first_has_gone(copy: Path) -> None:
    rig = Rig(copy)
    command = [sys.executable, "-m", "mia.store.project", str(copy), "--mode", "paper", "--journal-last-seq", "1000"]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == b"ready\n"
    rig.projector.start()
    assert not rig.flush(0.7)
    assert not rig.projector.is_ready

    first.stdin.close()

    assert rig.flush()
    assert first.wait(20) == 0
    first.stdout.close()
    assert rig.warnings == []
    rig.stop()


def test_the_projection_of_a_dead_daemon_leaves_the_next_run_alone(whole: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", segment_bytes=65536)
    write(journal, 1, 100)

    class Orphan(Script):
        """The daemon dies, the next one begins its run, before we look again."""

        def wait(self, seconds: float) -> None:
            if journal.last_seq > 100:
                self.is_closed = True
            elif seconds:
                journal.append_event(RunStarted(101, 0, T0, 2, "demo", "paper", {}, "{}", "abc"))

    assert serve(tmp_path, "paper", 0, Orphan(), lambda line: None) == 0
    journal.close()

    assert dump(tmp_path)["runs"] == []
    assert dict(dump(tmp_path)["meta"])["applied_seq"] <= 100  # type: ignore[call-overload]


def test_the_daemon_imports_no_database() -> None:
    code = "import miad.app, sys; sys.exit('apsw' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_started_becomes_a_row(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", segment_bytes=65536)
    journal.append_event(RunStarted(1, 0, T0, 3, "demo", "paper", {"b": "2", "a": "1"}, "{}", "abc"))
    journal.close()

    project(tmp_path)

    assert dump(tmp_path)["runs"] == [(65536, 3, T0, "demo", "paper", '{"a":"1","b":"2"}', "{}", "abc")]


def test_texts_of_numbers_are_the_same_everywhere() -> None:
    assert [number(x) for x in (0.1 + 0.2, -1e-9, 1, math.nan, None)] == ["0.3", "0.0", "1.0", "", ""]
    assert [money(x) for x in (0, -1, 100_000_000, -250_000_000, 123)] == ["0.0", "-0.00000001", "1.0", "-2.5", "0.00000123"]
    assert iso_time(1_723_075_200_123_456_999) == "2024-08-08T00:00:00.123456Z"
    assert csv_line(('{"range": 0.7}', "a\nb", 5)) == '"{""range"": 0.7}","a\nb",5\n'


# --- kill -9 --------------------------------------------------------------------------------------------------------
RUNNER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from session_module import Rig, session
rig = Rig(Path(sys.argv[1]))
rig.projector.start()
seq = rig.journal.last_seq
if seq and not rig.journal.recovery.has_effects:
    rig.journal.append_effects(seq, session(seq)[1])
print("up", rig.projector.pid, flush=True)
import time
while seq < 3000:
    rig.write(seq + 1, seq + 1)
    seq += 1
    if seq % 20 == 0:
        time.sleep(0.004)
rig.flush()
rig.stop()
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_files(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    lib.mkdir()
    shutil.copy(__file__, lib / "session_module.py")
    clean, killed = make(tmp_path / "clean", 3000), tmp_path / "killed"
    rng = random.Random(5)
    kills = 0
    for _ in range(200):
        process = subprocess.Popen([sys.executable, "-c", RUNNER, str(killed), str(lib)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        word, pid = process.stdout.readline().split()
        assert word == "up"
        if kills < 20 and kills % 2:  # its projection alone: it is started again
            with contextlib.suppress(ProcessLookupError):
                time.sleep(rng.random() * 0.2)
                os.kill(int(pid), signal.SIGKILL)
        timer = threading.Timer(rng.random() * 0.06, process.send_signal, (signal.SIGKILL,))
        timer.start()
        if kills >= 20:
            timer.cancel()
        code = process.wait()
        timer.cancel()
        process.stdout.close()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1

    assert kills >= 5
    assert dump(killed) == dump(clean)
    assert files(killed) == files(clean)
