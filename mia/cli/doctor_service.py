"""Checks of `mia doctor` that concern a daemon as a service: its venue's clock, links, ports, socket, log, unit. Asks nothing for long."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from mia.cli.doctor_check import Check
from mia.settings import Settings

_PATIENCE_S: Final = 2.0
_SKEW_WARN_MS: Final = 500
_SKEW_FAIL_MS: Final = 1000  # a venue refuses requests that come from further off (Binance: recvWindow, -1021)
_UNITS: Final = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/lib/systemd/system")


def service_checks(settings: Settings, state: Path) -> Iterator[Check]:
    """All of them, in order. state: the state directory, which need not exist."""
    status = _status(state)
    yield from _venue_clock(settings, status)
    yield from _mqtt(settings, status)
    yield from _ports(settings, status)
    yield from _socket(state, status)
    yield from _log(state)
    yield from _unit()


def _status(state: Path) -> Any:
    """What a daemon in this state directory says of itself; None when none answers."""
    from mia.control.client import ask_status
    from mia.domain.errors import MiaError

    try:
        return ask_status(state, _PATIENCE_S)
    except (MiaError, OSError):
        return None


def _venue_clock(settings: Settings, status: Any) -> Iterator[Check]:
    """Our clock against the venue's, and whether its order path answers."""
    venue = status.venue if status is not None else settings.instance.venue
    if venue != "demo":
        why = "lives in the daemon and has its clock" if venue == "sim" else "is not connected by this version"
        yield Check("venue", "ok", f"{venue}: {why}; no skew to measure")
        return
    if status is not None:
        down = [f"{link.name} {link.state}" for link in status.links if link.state not in ("up", "connecting")]
        links = ", ".join(f"{link.name} {link.state}" for link in status.links) or "no links"
        yield Check("venue", "warn" if down else "ok", f"demo: {links}" + ("; see mia logs" if down else ""))
    if not settings.demo.port:
        yield Check("venue clock", "ok", "demo: started by the daemon on a free port, on this machine's clock")
        return
    url = f"http://{settings.demo.host}:{settings.demo.port}/api/v3/time"
    try:
        skew_ms, round_trip_ms = clock_skew_ms(url)
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e) if isinstance(e, URLError) else e
        yield Check("venue clock", "warn", f"{url}: no answer ({reason}): start it with `mia venue demo`, or let miad start its own")
        return
    text = f"{skew_ms:+.0f} ms against demo (round trip {round_trip_ms:.1f} ms)"
    if not (abs(skew_ms) <= _SKEW_FAIL_MS):
        yield Check("venue clock", "fail", f"{text}: signed requests are refused; run a time service (chrony, timesyncd)")
    elif not (abs(skew_ms) <= _SKEW_WARN_MS):
        yield Check("venue clock", "warn", f"{text}: run a time service (chrony, timesyncd)")
    else:
        yield Check("venue clock", "ok", text)


def clock_skew_ms(url: str) -> tuple[float, float]:
    """(our clock minus the server's, round trip) in ms, by an endpoint that answers {"serverTime": ms}; OSError or ValueError."""
    import msgspec

    before_ms = time.time_ns() / 1e6
    with urlopen(url, timeout=_PATIENCE_S) as response:  # http on loopback: the caller's own settings
        found = msgspec.json.decode(response.read(10_000))
    after_ms = time.time_ns() / 1e6
    server_ms = found.get("serverTime") if isinstance(found, dict) else None
    if not isinstance(server_ms, int):
        raise ValueError("no serverTime in its answer")
    return (before_ms + after_ms) / 2 - server_ms, after_ms - before_ms


def _mqtt(settings: Settings, status: Any) -> Iterator[Check]:
    from mia.domain.errors import ConfigError

    mqtt = settings.mqtt
    if not mqtt.enabled:
        yield Check("mqtt", "ok", "off ([mqtt] enabled); alerts go to the alert file and the log")
        return
    try:
        mqtt.password(os.environ)
    except ConfigError as e:
        is_credential = "/" not in mqtt.password_file and "CREDENTIALS_DIRECTORY" not in os.environ
        text = f"[mqtt] password_file {mqtt.password_file!r}: a credential of the service, not visible here" if is_credential else str(e)
        yield Check("mqtt password", "ok" if is_credential else "fail", text)
    else:
        if mqtt.password_file:
            yield Check("mqtt password", "ok", f"{mqtt.password_file}: for its owner alone")
    place = f"{mqtt.host}:{mqtt.port}"
    try:
        socket.create_connection((mqtt.host, mqtt.port), _PATIENCE_S).close()
    except OSError as e:
        yield Check("mqtt", "warn", f"{place}: cannot be reached ({e.strerror or e}); trading goes on, alerts wait: start the broker")
        return
    link = next((link for link in status.links if link.name == "mqtt"), None) if status is not None else None
    if link is not None and link.state != "up":
        yield Check("mqtt", "warn", f"{place}: can be reached, the daemon's link is {link.state} ({link.detail})")
    else:
        yield Check("mqtt", "ok", f"{place}: can be reached")


def _ports(settings: Settings, status: Any) -> Iterator[Check]:
    """Ports that the daemon will want; a taken one is its own when it runs."""
    wanted = []
    if settings.metrics.enabled and settings.metrics.endpoint:
        wanted.append(("metrics port", settings.metrics.address, settings.metrics.port, "[metrics] port"))
    if settings.instance.venue == "demo":
        wanted.append(("demo port", settings.demo.host, settings.demo.port, "[demo] port"))
    for name, address, port, key in wanted:
        if port == 0:
            yield Check(name, "ok", "any free one (0)")
        elif _is_free(address, port):
            yield Check(name, "ok", f"{address}:{port} is free")
        elif status is not None and not any(name.split()[0] in reason for reason in status.reasons):
            yield Check(name, "ok", f"{address}:{port} is taken, by the daemon that runs here (pid {status.pid})")
        else:
            yield Check(name, "warn", f"{address}:{port} is taken by another process: end it, or set {key}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _socket(state: Path, status: Any) -> Iterator[Check]:
    """Does a daemon answer, and if not, what did one leave behind?"""
    from mia.control.messages import SOCKET_NAME
    from mia.store.state_dir import is_running, read_lock

    if status is not None:
        yield Check("daemon", "ok", f"runs (pid {status.pid}), {status.state}")
        return
    if _is_held(state / "lock"):
        pid = read_lock(state).get("pid", "unknown")
        yield Check("daemon", "warn", f"pid {pid} holds {state} and does not answer: it starts, recovers or hangs; see mia logs")
    elif is_running(state):
        yield Check("daemon", "warn", f"{state / 'lock'}: names a living process that does not hold it; miad takes it over at its start")
    elif (state / SOCKET_NAME).exists() or read_lock(state):
        yield Check("daemon", "ok", "not running; what a killed one left (lock, socket) is cleared at the next start")
    else:
        yield Check("daemon", "ok", "not running")


def _is_held(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _log(state: Path) -> Iterator[Check]:
    folder = state / "logs"
    if not folder.is_dir():
        return
    if os.access(folder, os.W_OK | os.X_OK):
        yield Check("log folder", "ok", f"{folder}")
    else:
        yield Check(
            "log folder", "warn", f"{folder}: this user cannot write there; the daemon would log to the terminal alone: give it rights"
        )


def _unit() -> Iterator[Check]:
    """The exposure that systemd computes, of the installed unit or else of the one that ships."""
    from mia.shipped import unit_file

    installed = next((path for path in (Path(folder) / "miad.service" for folder in _UNITS) if path.is_file()), None)
    name = f"{installed or 'shipped unit, not installed'}"
    program = shutil.which("systemd-analyze")
    if program is None:
        yield Check("unit", "ok", f"{name}: not scored, there is no systemd-analyze here")
        return
    command = [program, "security", "--offline=yes", "--threshold=20", "--no-pager", str(installed or unit_file())]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    words = (result.stdout.strip().splitlines() or [""])[-1].split()
    score = words[words.index("miad.service:") + 1] if "miad.service:" in words[:-1] else "unknown"
    if result.returncode == 0:
        yield Check("unit", "ok", f"{name}: exposure {score} of 10")
    else:
        yield Check(
            "unit", "warn", f"{name}: exposure {score}, above 2.0: `mia install --systemd --write --force` restores the shipped one"
        )
