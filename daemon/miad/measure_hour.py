"""The daemon as a process of its own, watched from outside for a while: memory, loop, alerts, the exchange's share of a core.

It trades on the demo exchange at 20 x with MQTT (a real Mosquitto, where there is one) and metrics on. Alerts are provoked as an operator
and a bad network would: pause, resume, kill, reset, and a broker that hangs for a while.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.control.client import ask, ask_status
from mia.control.messages import Request, Status
from mia.domain.errors import DataError
from mia.shipped import shipped
from miad.measure import throw_away

_MOSQUITTO: Final = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
_PR_SET_PDEATHSIG: Final = 1
_READY_S: Final = 60.0
_END_S: Final = 30.0
_TURN_S: Final = 6.0  # one of pause, resume, kill and reset
_HANG_S: Final = 20.0  # of the broker
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def start(command: list[str], environment: Mapping[str, str], stderr: int) -> subprocess.Popen[str]:
    """A process that a Ctrl-C of the terminal does not reach and that does not outlive us."""
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, text=True,
        process_group=0, preexec_fn=in_child,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> None:
    """In order, else by force."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Lines:
    """What a process writes on stderr, read by a thread so that it never has to wait."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process: Final = process
        self.lines: Final[list[str]] = []
        self._thread: Final = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        self.lines.extend(iter(self._process.stderr.readline, ""))

    @property
    def last(self) -> str:
        """The newest one."""
        return (self.lines or ["it said nothing"])[-1].strip()

    def wait(self) -> None:
        """Until all who share its stderr have gone: the process and those that it began."""
        self._thread.join(_END_S)


@contextmanager
def until_trading(state: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], Lines, float]]:
    """A daemon on the demo exchange, once it trades: the process, its log, the seconds that took.

    It is ended in order, unless it has ended; all that it began has gone afterwards.
    """
    config = str(shipped("config") / "miad.toml")
    command = [sys.executable, "-m", "miad.app", "--paper", "--venue", "demo", "--config", config, "--state", str(state)]
    began_s = time.monotonic()
    process = start(command, {"MIA__METRICS__PORT": "0", **environment}, subprocess.PIPE)
    log = Lines(process)
    try:
        while not any(" trading " in line for line in log.lines):
            if process.poll() is not None or time.monotonic() - began_s > _READY_S:
                raise DataError(f"miad did not start trading: {log.last}")
            time.sleep(0.002)
        yield process, log, time.monotonic() - began_s
    finally:
        if process.poll() is None:
            end(process)
        process.wait()
        log.wait()


@contextmanager
def broker(folder: Path) -> Iterator[tuple[int, subprocess.Popen[str]] | None]:
    """A Mosquitto on a free port of loopback; None without one on this machine."""
    if _MOSQUITTO is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n" + ("user root\n" if os.geteuid() == 0 else "")
    )
    process = start([_MOSQUITTO, "-c", str(config)], {}, subprocess.DEVNULL)
    try:
        yield port, process
    finally:
        end(process)


def memory_kb(pid: int) -> dict[str, int]:
    """VmRSS, RssAnon, VmHWM (the peak) of a process, from /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines if line.startswith(("VmRSS", "RssAnon", "VmHWM")))
    return {name: int(value.split()[0]) for name, value in pairs}


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def exchange_of(pid: int) -> int:
    """The pid of a daemon's demo exchange; DataError when it has none."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            with suppress(OSError):
                if b"mia.sim.servers.demo" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
    raise DataError(f"miad (pid {pid}) has no demo exchange")


def alerts_in(state: Path) -> Counter[str]:
    """Alerts that a daemon raised, by severity, of its own file."""
    lines = (line for path in (state / "alerts").glob("alerts.jsonl*") for line in path.read_bytes().splitlines())
    return Counter(str(msgspec.json.decode(line).get("severity")) for line in lines)


def growth_pct(kb: list[int]) -> float:
    """Over the second half, in percent: its last tenth against its first, each by its median."""
    half = kb[len(kb) // 2 :]
    n = max(1, len(half) // 10)
    first, last = sorted(half[:n])[n // 2], sorted(half[-n:])[n // 2]
    return round(100 * (last - first) / first, 2)


class Hour:
    """`measure` takes `seconds` of wall time and gives the figures."""

    def __init__(self, seconds: float, speed: float) -> None:
        """speed: of the exchange."""
        self._seconds: Final = seconds
        self._speed: Final = speed
        self._rss_kb: Final[list[int]] = []
        self._anon_kb: Final[list[int]] = []
        self._delays_p99_ms: Final[list[float]] = []

    def measure(self) -> dict[str, Any]:
        """Start broker and daemon, watch, end both."""
        with throw_away() as folder, broker(folder) as found:
            settings = {"MIA__DEMO__SPEED": str(self._speed), "MIA__ALERTS__MERGE_WINDOW_S": "1"}
            if found is not None:
                settings |= {"MIA__MQTT__ENABLED": "true", "MIA__MQTT__PORT": str(found[0])}
            state = folder / "state"
            with until_trading(state, **settings) as (miad, log, _):
                exchange = exchange_of(miad.pid)
                began_s, cpu_before_s = time.monotonic(), cpu_s(exchange)
                self._watch(state, miad, log, found[1] if found is not None else None)
                wall_s = time.monotonic() - began_s
                status, memory = ask_status(state, 10.0), memory_kb(miad.pid)
                share = (cpu_s(exchange) - cpu_before_s) / wall_s
            return self._figures(status, alerts_in(state), memory, share, wall_s, has_mqtt=found is not None)

    def _watch(self, state: Path, miad: subprocess.Popen[str], log: Lines, mosquitto: subprocess.Popen[str] | None) -> None:
        """A look each second; in between somebody commands, and once the broker hangs."""
        began_s = next_s = time.monotonic()
        acts = self._acts(state, mosquitto)
        while (passed_s := time.monotonic() - began_s) < self._seconds:
            if miad.poll() is not None:
                raise DataError(f"miad ended after {passed_s:.0f} s: {log.last}")
            kb = memory_kb(miad.pid)
            self._rss_kb.append(kb["VmRSS"])
            self._anon_kb.append(kb["RssAnon"])
            while acts and acts[0][0] <= passed_s:
                acts.pop(0)[1]()
            if len(self._rss_kb) % 30 == 0:
                self._delays_p99_ms.append(ask_status(state, 10.0).loop_delay.p99_ms)
            next_s += 1.0
            time.sleep(max(0.0, min(next_s, began_s + self._seconds) - time.monotonic()))

    def _acts(self, state: Path, mosquitto: subprocess.Popen[str] | None) -> list[tuple[float, Callable[[], object]]]:
        """When somebody does what: each turn a pause that is taken back, now and then a kill; the broker hangs in the middle."""

        def tell(verb: str, **args: Any) -> Callable[[], object]:
            return lambda: ask(state, Request(verb=verb, args=args), 10.0)

        acts: list[tuple[float, Callable[[], object]]] = []
        turns = int(self._seconds / _TURN_S)
        for turn in range(turns):
            at_s = turn * _TURN_S + 2.0
            acts.append((at_s, tell("kill", reason="bench") if turn % 4 == 3 else tell("pause", reason="bench")))
            acts.append((at_s + 1.0, tell("resume", reset=True)))
        if mosquitto is not None and self._seconds > 1.5 * _HANG_S:
            middle_s = self._seconds / 3
            acts.append((middle_s, lambda: mosquitto.send_signal(signal.SIGSTOP)))
            acts.append((middle_s + _HANG_S, lambda: mosquitto.send_signal(signal.SIGCONT)))
        return sorted(acts, key=lambda act: act[0])

    def _figures(
        self, status: Status, raised: Mapping[str, int], memory: Mapping[str, int], share: float, wall_s: float, *, has_mqtt: bool
    ) -> dict[str, Any]:
        delays = [*self._delays_p99_ms, status.loop_delay.p99_ms]
        dropped = {name: n for name, n in status.dropped.items() if name.startswith("alerts_")}
        return {
            "wall_s": round(wall_s, 1),
            "market_s": round(wall_s * self._speed),
            "rss_growth_pct": growth_pct(self._rss_kb),
            "rss_anon_growth_pct": growth_pct(self._anon_kb),
            "rss_mb": [round(self._rss_kb[i] / 1024, 1) for i in (0, len(self._rss_kb) // 2, -1)],
            "rss_peak_mb": round(memory["VmHWM"] / 1024, 1),
            "loop_delay_p99_ms": round(status.loop_delay.p99_ms, 2),
            "loop_delay_p99_ms_worst": round(max(delays), 2),
            "loop_delay_max_ms": round(status.loop_delay.max_ms, 1),
            "alerts": dict(raised),
            "alerts_dropped": sum(dropped.get(f"alerts_{severity}", 0) for severity in ("error", "urgent")),
            "alerts_dropped_below": sum(dropped.get(f"alerts_{severity}", 0) for severity in ("info", "warning")),
            "alerts_waiting": status.queues.get("alerts", 0),
            "exchange_cpu_share": round(share, 3),
            "decisions": status.decisions,
            "orders": status.orders,
            "fills": status.fills,
            "refused": status.refused,
            "events": status.events,
            "mqtt": has_mqtt,
            "state": f"{status.state} {', '.join(status.reasons)}".strip(),
        }
