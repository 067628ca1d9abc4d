"""The hub: numbered, merged, kept on disk, bounded, and never in the way of who raises."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.alerts.files import AlertFiles, alert_files, parse
from mia.alerts.hub import AlertHub
from mia.alerts.message import TITLES, Alert, make_alert
from mia.alerts.outbox import Outbox
from mia.alerts.settings import AlertSettings
from mia.domain.effects import RecordDecision
from mia.domain.events import OrderFilled

T0 = 1_790_000_000_000_000_000
S = 1_000_000_000
ROOT = Path(__file__).resolve().parents[3]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ns = T0

    def __call__(self) -> int:
        return self.ns


class Phone:
    """A channel into a list; deaf while `is_up` is not set."""

    name = "phone"
    severity_min = "info"

    def __init__(self, *, is_up: bool = True) -> None:
        self.got: list[Alert] = []
        self.is_up = asyncio.Event()
        if is_up:
            self.is_up.set()

    async def run(self, outbox: Outbox) -> None:
        while True:
            alert = await outbox.head()
            await self.is_up.wait()
            self.got.append(alert)
            outbox.done(alert)

    def publish_status(self, state: str, reasons: Sequence[str]) -> None: ...
    def publish_decision(self, decision: RecordDecision) -> None: ...
    def publish_fill(self, fill: OrderFilled) -> None: ...
    def publish_health(self, health: dict[str, Any]) -> None: ...

    def counters(self) -> dict[str, int]:
        return {}


def hub_at(state: Path, clock: Clock, *channels: Phone, **settings: Any) -> AlertHub:
    return AlertHub(AlertSettings(**settings), instance="mia", state_dir=state, now_ns=clock, channels=channels)


def on_disk(state: Path) -> list[Alert]:
    lines = [line for path in alert_files(state / "alerts") for line in path.read_bytes().splitlines()]
    return [alert for alert in map(parse, lines) if alert is not None]


async def running(hub: AlertHub, flush_s: float = 2.0) -> bool:
    """Run the hub until everything is delivered or time is out; then cancel it."""
    task = asyncio.create_task(hub.run())
    await asyncio.sleep(0)
    done = await hub.flush(flush_s)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


def test_an_alert_says_all_that_the_schema_promises(tmp_path: Path) -> None:
    hub = hub_at(tmp_path, Clock())

    hub.raise_alert("urgent", "killed", "by the operator")
    hub.close()

    (line,) = (tmp_path / "alerts" / "alerts.jsonl").read_bytes().splitlines()
    found = msgspec.json.decode(line)
    assert re.fullmatch(r"[0-9a-v]{13}", found.pop("id"))
    assert found == {
        "ts": "2026-09-21T14:13:20.000Z", "severity": "urgent", "priority": 5, "code": "killed", "title": "Kill switch: trading is off",
        "text": "by the operator", "instance": "mia", "dedup_key": "killed", "count": 1, "first_ts": "2026-09-21T14:13:20.000Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("severity", "code", "priority"),
    [("info", "feed_up", 1), ("warning", "feed_down", 2), ("error", "late_fill", 3), ("urgent", "something", 4), ("urgent", "halt", 5)],
)
def test_priorities_run_from_one_to_five(severity: str, code: str, priority: int) -> None:
    assert make_alert(T0, severity, code, "x").priority == priority


def test_repeats_within_the_window_become_one_message_with_their_count(tmp_path: Path) -> None:
    clock = Clock()
    hub = hub_at(tmp_path, clock)

    for n in range(5):
        clock.ns = T0 + n * S
        hub.raise_alert("warning", "feed_gap", f"gap {n}")
    clock.ns = T0 + 59 * S
    hub.work()
    before = [(a.text, a.count) for a in on_disk(tmp_path)]
    clock.ns = T0 + 61 * S
    hub.work()

    assert before == [("gap 0", 1)]
    last = on_disk(tmp_path)[-1]
    assert (last.text, last.count, last.first_ts[-7:], last.ts[-7:]) == ("gap 4", 4, "21.000Z", "24.000Z")
    assert (hub.counters()["raised"], hub.counters()["merged"]) == (5, 4)


def test_a_raised_severity_breaks_out_of_the_window(tmp_path: Path) -> None:
    hub = hub_at(tmp_path, Clock())

    for severity in ("warning", "warning", "error", "warning", "urgent"):
        hub.raise_alert(severity, "venue", severity, dedup_key="venue")
    hub.work()

    assert [(a.severity, a.count) for a in on_disk(tmp_path)] == [("warning", 1), ("error", 2), ("urgent", 2)]


def test_counts_of_all_messages_add_up_however_keys_are_mixed(tmp_path: Path) -> None:
    clock = Clock()
    hub = hub_at(tmp_path, clock, merge_window_s=5)

    for n in range(4000):
        clock.ns += S // 100
        hub.raise_alert("info", "x", "y", dedup_key=f"key {n * n % 1500}")
    hub.close()

    found = on_disk(tmp_path)
    assert sum(a.count for a in found) == 4000
    assert len(found) < 4000
    assert [a.id for a in found] == sorted({a.id for a in found})


def test_nothing_that_is_raised_can_fail_or_break_a_line(tmp_path: Path) -> None:
    hub = hub_at(tmp_path, Clock())

    hub.raise_alert("dreadful", "what\nis\x1b[31mthis", "line\r\n\x00{evil} %s \ud800" + "x" * 100_000, dedup_key="k" * 1000)
    hub.raise_alert("info", "", "")
    hub.raise_alert(None, None, None)  # type: ignore[arg-type]
    hub.close()

    raw = (tmp_path / "alerts" / "alerts.jsonl").read_bytes()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", raw)
    assert [a.severity for a in on_disk(tmp_path)] == ["error", "info", "error"]
    assert max(map(len, raw.splitlines())) < 10_000


async def _restart(state: Path) -> list[list[str]]:
    clock = Clock()
    first = hub_at(state, clock, Phone(is_up=False))
    task = asyncio.create_task(first.run())
    for severity in ("info", "error", "warning", "urgent", "error"):
        first.raise_alert(severity, f"code_{severity}", severity)  # the second error is a repeat and held back
    await asyncio.sleep(0.02)
    heard = []
    for _ in range(2):  # a kill -9 leaves the files as they are: no close, no flush
        phone = Phone()
        clock.ns += S
        await running(hub_at(state, clock, phone))
        heard.append([a.severity for a in phone.got])
    task.cancel()
    return heard


def test_error_and_urgent_are_delivered_after_a_kill_and_once(tmp_path: Path) -> None:
    heard = asyncio.run(_restart(tmp_path))

    assert heard == [["error", "urgent", "error"], []]


def test_a_full_outbox_keeps_what_is_critical_and_counts_what_it_drops(tmp_path: Path) -> None:
    async def scene() -> tuple[Phone, AlertHub, int]:
        phone = Phone(is_up=False)
        hub = hub_at(tmp_path, Clock(), phone, outbox_max=10)
        task = asyncio.create_task(hub.run())
        for n in range(300):
            hub.raise_alert("error" if n % 3 == 0 else "info", "x", str(n), dedup_key=str(n))
            if n % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting = hub.counters()["waiting"]
        phone.is_up.set()
        assert await hub.flush(5)
        task.cancel()
        return phone, hub, waiting

    phone, hub, waiting = asyncio.run(scene())

    assert waiting <= 10
    assert [a.text for a in phone.got if a.severity == "error"] == [str(n) for n in range(0, 300, 3)]
    counters = hub.counters()
    assert counters["dropped_error"] == counters["dropped_urgent"] == 0
    assert counters["dropped_info"] + len(phone.got) >= 300


def test_a_channel_that_is_new_does_not_send_history(tmp_path: Path) -> None:
    clock, phone = Clock(), Phone()
    earlier = hub_at(tmp_path, clock)
    earlier.raise_alert("urgent", "old", "history")
    earlier.close()
    clock.ns += S

    asyncio.run(running(hub_at(tmp_path, clock, phone)))

    assert phone.got == []


def test_a_disk_that_takes_nothing_is_one_line_and_alerts_still_go_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "alerts").write_text("a file where the folder should be")
    phone = Phone()
    hub = hub_at(tmp_path, Clock(), phone)

    for n in range(5):
        hub.raise_alert("error", f"code{n}", "x")
    assert asyncio.run(running(hub))

    assert [a.code for a in phone.got] == [f"code{n}" for n in range(5)]
    assert hub.counters()["disk_errors"] > 0
    assert len(caplog.records) == 1


def test_a_line_that_a_full_disk_cut_off_costs_no_other_line(tmp_path: Path) -> None:
    clock = Clock()
    first = hub_at(tmp_path, clock)
    first.raise_alert("info", "one", "x")
    first.close()
    path = tmp_path / "alerts" / "alerts.jsonl"
    path.write_bytes(path.read_bytes() + b'{"id":"0001","ts":"20')

    second = hub_at(tmp_path, clock)
    second.raise_alert("info", "two", "x")
    second.close()

    assert [a.code for a in on_disk(tmp_path)] == ["one", "two"]
    assert on_disk(tmp_path)[0].id < on_disk(tmp_path)[1].id


def test_files_are_rotated_and_bounded(tmp_path: Path) -> None:
    files = AlertFiles(tmp_path, file_bytes_max=2000, files=3)
    alert = make_alert(T0, "info", "x", "y" * 200)

    for n in range(100):
        files.append(msgspec.structs.replace(alert, id=f"{n:013}"))
    files.close()

    paths = alert_files(tmp_path / "alerts")
    assert [p.name for p in paths] == ["alerts.jsonl.2", "alerts.jsonl.1", "alerts.jsonl"]
    assert all(p.stat().st_size <= 2000 for p in paths)
    assert [a.id for a in on_disk(tmp_path)][-1] == f"{99:013}"
    assert paths[-1].stat().st_mode & 0o077 == 0


def test_an_alert_of_another_thread_arrives(tmp_path: Path) -> None:
    async def scene() -> list[str]:
        phone = Phone()
        hub = hub_at(tmp_path, Clock(), phone)
        task = asyncio.create_task(hub.run())
        await asyncio.sleep(0)
        thread = threading.Thread(target=hub.raise_alert, args=("urgent", "journal", "the disk failed"))
        thread.start()
        await asyncio.to_thread(thread.join)
        await hub.flush(2)
        task.cancel()
        return [a.code for a in phone.got]

    assert asyncio.run(scene()) == ["journal"]


def test_a_channel_that_breaks_harms_nobody(tmp_path: Path) -> None:
    class Broken(Phone):
        name = "broken"

        async def run(self, outbox: Outbox) -> None:
            raise RuntimeError("a fault of ours")

    phone = Phone()
    hub = hub_at(tmp_path, Clock(), Broken(), phone)
    hub.raise_alert("info", "hello", "x")

    asyncio.run(running(hub, 0.1))

    assert {a.code for a in phone.got} == {"hello", "alert_channel_failed"}


def test_every_code_that_is_raised_has_a_title() -> None:
    text = "".join(p.read_text() for folder in ("mia", "daemon") for p in (ROOT / folder).rglob("*.py"))

    codes = set(re.findall(r'(?:RaiseAlert|raise_alert)\(\s*"\w+",\s*"(\w+)"', text))

    assert len(codes) > 15
    assert codes <= set(TITLES)


def test_a_storm_of_alerts_costs_a_bounded_memory(tmp_path: Path) -> None:
    hub = hub_at(tmp_path, Clock(), outbox_max=100)

    for n in range(20_000):
        hub.raise_alert("warning", "storm", "x", dedup_key=str(n % 3000))

    assert len(hub._windows) <= 1000
    assert len(hub._unwritten) <= 256
