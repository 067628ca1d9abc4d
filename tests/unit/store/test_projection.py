"""The projection: the same rows and files whether live, caught up, killed in between or rebuilt."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from mia.domain.effects import AnyEffect, Halt, RaiseAlert, RecordDecision, RecordRisk, RecordTrade, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent, BalanceReported, OrderAccepted, OrderCanceled, OrderFilled, RunStarted, Timer
from mia.store.exports import csv_line, iso_time, money, number
from mia.store.journal import Journal
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


class Rig:
    """A journal and its projector in one state directory, run as the core runs them."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self.failures: list[str] = []
        self.journal = Journal(folder / "journal", segment_bytes=65536)
        self.projector = Projector(
            folder,
            mode="paper",
            journal_last_seq=self.journal.last_seq,
            journal_position=lambda: self.journal.position,
            on_warning=lambda code, text: self.warnings.append(code),
            on_failure=self.failures.append,
            **options,  # type: ignore[arg-type]
        )

    def write(self, first: int, last: int) -> None:
        for seq in range(first, last + 1):
            event, effects = session(seq)
            self.journal.append_event(event)
            self.journal.append_effects(seq, effects)
            self.projector.publish(seq, event.ts_recv_ns, event)
            for effect in effects:
                self.projector.publish(seq, event.ts_recv_ns, effect)

    def stop(self) -> None:
        self.projector.stop()
        self.journal.close()


def make(folder: Path, last: int) -> Path:
    rig = Rig(folder)
    rig.projector.start()
    rig.write(1, last)
    assert rig.projector.flush()
    rig.stop()
    assert rig.warnings == []
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


def test_rows_hold_what_was_published(whole: Path) -> None:
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

    rig = Rig(tmp_path)
    rig.projector.start()
    assert rig.projector.flush()
    rig.stop()

    assert rig.warnings == ["projection_rebuilt"]
    assert dump(tmp_path) == dump(whole)
    assert files(tmp_path) == files(whole)


def test_an_overflowing_queue_is_caught_up_from_the_journal(whole: Path, tmp_path: Path) -> None:
    rig = Rig(tmp_path, queue_max=20, interval_s=0.001)
    rig.projector.start()
    rig.projector.flush()
    rig.write(1, 1000)
    assert rig.projector.flush()
    rig.stop()

    assert rig.projector.overflows > 0
    assert dump(tmp_path) == dump(whole)
    assert files(tmp_path) == files(whole)


@pytest.mark.parametrize("table", ["orders", "fills", "decisions", "trades", "counters", "meta", "exports", "risk"])
def test_a_missing_table_is_rebuilt_with_one_warning(whole: Path, copy: Path, table: str) -> None:
    apsw.Connection(str(copy / "miad.db")).execute(f"DROP TABLE {table}")

    rig = Rig(copy)
    rig.projector.start()
    assert rig.projector.flush()
    rig.stop()

    assert rig.warnings == ["projection_rebuilt"]
    assert dump(copy) == dump(whole)
    assert files(copy) == files(whole)


def edit_nothing(path: Path) -> None:
    pass


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

    rig = Rig(copy)
    rig.projector.start()
    assert rig.projector.flush()
    rig.stop()

    assert files(copy) == files(whole)
    assert (copy / (name + ".bak")).exists() == (damage is edit_in_place)


def test_a_csv_that_cannot_be_written_is_warned_of_once_and_written_later(whole: Path, tmp_path: Path) -> None:
    blocked = tmp_path / FILES[1]
    blocked.mkdir(parents=True)
    rig = Rig(tmp_path, interval_s=0.001)
    rig.projector.start()
    rig.write(1, 500)
    rig.projector.flush()
    rig.write(501, 990)
    rig.projector.flush()
    assert rig.warnings == ["export_blocked"]

    blocked.rmdir()
    rig.write(991, 1000)
    rig.projector.flush()
    rig.stop()

    assert rig.warnings == ["export_blocked"]
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
    whole: Path, tmp_path: Path, locker: Callable[[Path], subprocess.Popen[str]]
) -> None:
    rig = Rig(tmp_path, queue_max=100)
    rig.projector.start()
    rig.write(1, 200)
    assert rig.projector.flush()
    process = locker(tmp_path / "miad.db")
    rig.write(201, 1000)
    assert not rig.projector.flush(1.0)
    assert rig.projector.is_lagging
    assert rig.warnings == ["projection_lags"]

    process.communicate(timeout=10)
    assert rig.projector.flush()
    rig.stop()

    assert rig.failures == []
    assert dump(tmp_path) == dump(whole)
    assert files(tmp_path) == files(whole)


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
    apsw.set_default_vfs("broken")
    try:
        rig = Rig(tmp_path, interval_s=0.001)
        rig.projector.start()
        rig.write(1, 100)
        assert rig.projector.flush()
        disk.armed = True
        seq = 101
        deadline = time.monotonic() + 20
        while rig.projector.failed is None and time.monotonic() < deadline:  # a sync comes with a checkpoint only
            rig.write(seq, seq + 499)
            seq += 500
            rig.projector.flush(5)
        applied = rig.projector.applied_seq
        rig.write(seq, seq + 20)
        assert not rig.projector.flush(0.1)
        rig.stop()
    finally:
        apsw.set_default_vfs(before)

    assert disk.seen == 1
    assert rig.projector.failed is not None
    assert "check the disk" in rig.projector.failed
    assert rig.failures == [rig.projector.failed]
    assert rig.projector.applied_seq == applied


def test_a_newer_schema_is_refused_with_both_versions(copy: Path) -> None:
    apsw.Connection(str(copy / "miad.db")).pragma("user_version", 7)

    with pytest.raises(DataError, match=r"schema version 7 is newer than this version of mia knows \(1\)"):
        Rig(copy)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "miad.db").write_bytes(b"no database" * 1000)

    with pytest.raises(DataError, match=r"miad\.db: damaged database"):
        Rig(tmp_path)


def test_rows_that_the_journal_lost_to_a_power_failure_go(whole: Path, copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "journal")
    shutil.copytree(make(tmp_path / "short", 777) / "journal", copy / "journal")

    rig = Rig(copy)
    rig.projector.start()
    assert rig.projector.flush()
    rig.write(778, 1000)
    assert rig.projector.flush()
    rig.stop()

    assert rig.warnings == ["projection_cut"]
    assert {k: v for k, v in dump(copy).items() if k != "orders"} == {k: v for k, v in dump(whole).items() if k != "orders"}
    assert {n: files(copy)[n] for n in FILES} == {n: files(whole)[n] for n in FILES}


def test_a_journal_that_is_gone_is_not_taken_for_a_new_one(copy: Path) -> None:
    shutil.rmtree(copy / "journal")

    with pytest.raises(DataError, match="the journal is gone"):
        Rig(copy)


def test_run_started_becomes_a_row(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.projector.start()
    rig.journal.append_event(RunStarted(1, 0, T0, 3, "demo", "paper", {"b": "2", "a": "1"}, "{}", "abc"))
    rig.projector.publish(1, T0, RunStarted(1, 0, T0, 3, "demo", "paper", {"b": "2", "a": "1"}, "{}", "abc"))
    assert rig.projector.flush()
    rig.stop()

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
rig = Rig(Path(sys.argv[1]), interval_s=0.002)
rig.projector.start()
seq = rig.journal.last_seq
if seq and not rig.journal.recovery.has_effects:
    event, effects = session(seq)
    rig.journal.append_effects(seq, effects)
    for effect in effects:
        rig.projector.publish(seq, event.ts_recv_ns, effect)
print("up", flush=True)
import time
while seq < 3000:
    rig.write(seq + 1, seq + 1)
    seq += 1
    if seq % 20 == 0:
        time.sleep(0.001)
rig.projector.flush()
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
        assert process.stdout.readline() == "up\n"
        timer = threading.Timer(rng.random() * 0.06, process.send_signal, (signal.SIGKILL,))
        timer.start()
        if kills >= 20:
            timer.cancel()
        code = process.wait()
        timer.cancel()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1

    assert kills >= 5
    assert dump(killed) == dump(clean)
    assert files(killed) == files(clean)
