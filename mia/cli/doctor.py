"""`mia doctor`: is this installation sound? Each check says ok, warn or fail, and what to do."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mia.cli.doctor_check import Check
from mia.cli.places import ConfigOption, JsonOption, StateOption

if TYPE_CHECKING:
    from mia.settings import Loaded

_GB = 1_000_000_000
_SPACE_WARN = 10 * _GB  # about two days of journal
_MONTH_NS = 30 * 86_400 * 10**9
# Flags of x86-64-v3 as /proc/cpuinfo spells them (abm: lzcnt).
_V3 = ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")
_CLOCK_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)


def doctor(config: ConfigOption = None, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Check the installation, settings, models, calendar, disk and clock. Exit 1 when something failed."""
    from mia.cli.output import print_json, print_note, print_table

    checks = list(run_checks(config, state))
    counts = {word: sum(c.state == word for c in checks) for word in ("ok", "warn", "fail")}
    if as_json:
        print_json({"checks": [c._asdict() for c in checks], **counts})
    else:
        print_table(("check", "state", "finding"), checks)
        print(f"\n{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failed")
    if counts["fail"]:
        print_note(f"{counts['fail']} check{'s' * (counts['fail'] > 1)} failed: {', '.join(c.name for c in checks if c.state == 'fail')}")
        raise typer.Exit(1)


def run_checks(config: Path | None, state: Path | None) -> Iterator[Check]:
    """All checks in order; one that breaks is a failed check, not an end."""
    loaded, settings_check = _settings(config)
    parts: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("versions", _versions),
        ("kernels", _kernels),
        ("cpu", _cpu),
        ("uvloop", _uvloop),
        ("clock", _clock),
        ("settings", lambda: iter([settings_check])),
    ]
    if loaded is not None:
        parts += [("models", lambda: _models(loaded)), ("calendar", lambda: _calendar(loaded))]
    parts.append(("state", lambda: _state(state, loaded)))
    if loaded is not None:
        parts.append(("service", lambda: _service(state, loaded)))
    for name, part in parts:
        try:
            yield from part()
        except Exception as e:  # a check that breaks must not hide the others
            yield Check(name, "fail", f"the check itself broke ({type(e).__name__}: {' '.join(str(e).split())})")


def _versions() -> Iterator[Check]:
    from mia.assemble import versions

    found = versions()
    absent = [name for name, text in found.items() if text == "absent"]
    text = ", ".join(f"{name} {value}" for name, value in found.items() if name not in ("kernels", "calendar"))
    if absent:
        yield Check("versions", "fail", f"missing: {', '.join(absent)}; install mia again")
    else:
        yield Check("versions", "ok", text)


def _kernels() -> Iterator[Check]:
    from mia import KERNELS_MODE
    from mia.kernels.build_info import kernel_builds

    builds = kernel_builds()
    stale = [b.module for b in builds if b.state == "stale"]
    interpreted = [b.module for b in builds if b.state == "interpreted"]
    if stale:
        yield Check("kernels", "fail", f"compiled from another source: {', '.join(stale)}; run `make kernels`, or install mia again")
    elif interpreted:
        why = "MIA_KERNELS=interpreted" if KERNELS_MODE == "interpreted" else "no C compiler at install?"
        what = f"{len(interpreted)} of {len(builds)} run interpreted, some hundred times slower ({why})"
        yield Check("kernels", "warn", f"{what}; unset it, or install a C compiler and mia again")
    else:
        yield Check("kernels", "ok", f"all {len(builds)} compiled, each from its present source")


def _cpu() -> Iterator[Check]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = facts.get("flags", "").split()
    missing = [flag for flag in _V3 if flag not in flags]
    name = f"{facts.get('model name', os.uname().machine)}, {os.cpu_count()} cores"
    if not flags:
        yield Check(
            "cpu", "warn", f"{name}: not x86-64, so journals of other machines may not replay to the same bits; trade and replay on one"
        )
    elif missing:
        text = f"{name}: below x86-64-v3 (no {', '.join(missing)}), so bits may differ from other machines; trade and replay on one"
        yield Check("cpu", "warn", text)
    else:
        yield Check("cpu", "ok", f"{name}: x86-64-v3")


def _uvloop() -> Iterator[Check]:
    from importlib.metadata import version

    try:
        import uvloop  # noqa: F401  # does it load?
    except ImportError as e:
        yield Check("uvloop", "warn", f"does not load ({e}): the slower asyncio loop is used; pip install uvloop")
    else:
        yield Check("uvloop", "ok", f"{version('uvloop')}, on Python {sys.version.split()[0]}")


def _clock() -> Iterator[Check]:
    import ctypes

    started_wall, started = time.time_ns(), time.monotonic_ns()
    time.sleep(0.02)
    drift_us = ((time.time_ns() - started_wall) - (time.monotonic_ns() - started)) // 1000
    installed_ns = Path(__file__).stat().st_mtime_ns
    if time.time_ns() < installed_ns - 86_400 * 10**9:
        yield Check(
            "clock", "fail", "the clock is behind the files of this installation: set it, and run a time service (chrony, timesyncd)"
        )
        return
    if abs(drift_us) > 5000:
        yield Check("clock", "warn", f"the wall clock moved {drift_us} us against the monotonic one within 20 ms: something sets it")
        return
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        word = libc.adjtimex(ctypes.create_string_buffer(512))  # modes 0: reads only
    except (OSError, AttributeError):
        word = 0
    if word == _CLOCK_UNSYNCHRONISED:
        yield Check("clock", "warn", "the kernel says it is not synchronised: run a time service (chrony, timesyncd) before trading live")
    else:
        yield Check("clock", "ok", f"steady{', synchronised' if word >= 0 else ''}")


def _settings(config: Path | None) -> tuple[Loaded | None, Check]:
    from mia.domain.errors import ConfigError
    from mia.settings import load_settings

    try:
        loaded = load_settings(config)
    except ConfigError as e:
        return None, Check("settings", "fail", f"{e}")
    others = {source.split()[0] for source in loaded.sources.values()} - {"default", "file"}
    text = f"{loaded.path}, {len(loaded.settings.instruments)} instruments, {len(loaded.settings.lanes)} lanes"
    return loaded, Check("settings", "ok", text + (f", some from the {' and '.join(sorted(others))}" if others else ""))


def _models(loaded: Loaded) -> Iterator[Check]:
    """Each lane's strategy as the daemon would load it: hashes, graph, catalogue, golden vectors."""
    from mia.assemble import load_strategy
    from mia.domain.errors import ConfigError

    family = {f"{i.venue}:{i.symbol}": i.family for i in loaded.settings.instruments}
    for lane in loaded.settings.lanes:
        name = f"lane {lane.instrument}"
        try:
            strategy = load_strategy(lane, family[lane.instrument])
        except (ConfigError, OSError) as e:
            yield Check(name, "fail", str(e))
        else:
            what = f"rule {lane.rule}" if lane.rule else f"model {strategy.name}, sha256 {strategy.sha256[:12]}, golden vectors hold"
            yield Check(name, "ok", f"{what}; {len(strategy.columns)} columns, trigger {strategy.trigger}")


def _calendar(loaded: Loaded) -> Iterator[Check]:
    from mia.assemble import calendar_files
    from mia.domain.codes import Code
    from mia.domain.errors import ConfigError
    from mia.risk.windows import load_events, load_windows

    windows_file, events_file = calendar_files()
    now_ns = time.time_ns()
    try:
        windows = load_windows(windows_file, events_file)
        events = load_events(events_file)
        for family in dict.fromkeys(i.family for i in loaded.settings.instruments):
            name = f"windows {family}"
            now, then = windows.state(now_ns, family), windows.state(now_ns + _MONTH_NS, family)
            if now.code is Code.CALENDAR_EXPIRED:
                yield Check(
                    name, "fail", f"{windows_file}: family.{family}.valid_until has passed, nothing is opened: check it, then move it"
                )
            elif then.code is Code.CALENDAR_EXPIRED:
                yield Check(name, "warn", f"{windows_file}: family.{family}.valid_until is less than 30 days away: check it, then move it")
            else:
                yield Check(name, "ok", "open now" if now.code is Code.OK else f"closed now ({now.code})")
    except ConfigError as e:
        yield Check("windows", "fail", str(e))
        return
    coming = [e for e in events if e.end_ns > now_ns]
    if coming:
        yield Check("macro events", "ok", f"{len(coming)} to come of {len(events)}")
    else:
        yield Check("macro events", "warn", f"{events_file}: no event lies ahead, so none blocks trading: add those that are announced")


def _state(state: Path | None, loaded: Loaded | None) -> Iterator[Check]:
    from mia.cli.output import size
    from mia.store.state_dir import file_system_of, resolve_state_dir

    if state is None and loaded is None:
        yield Check("state", "warn", "not looked at: its place follows from the settings; repair them, or name it with --state")
        return
    instance = loaded.settings.instance.name if loaded is not None else "mia"
    path = resolve_state_dir(state, instance=instance, mode="paper", environment=os.environ)
    home = next(p for p in (path, *path.parents) if p.exists())
    if not (home.is_dir() and os.access(home, os.R_OK | os.W_OK | os.X_OK)):
        yield Check("state", "fail", f"{home}: this user cannot write there: give it rights or choose another --state")
    elif path.is_dir() and path.stat().st_mode & 0o077:
        yield Check("state", "warn", f"{path}: others may look into it: chmod 700 {path}")
    else:
        yield Check("state", "ok", f"{path}" if path.is_dir() else f"{path} (made at the first start)")
    kind = file_system_of(home)
    if kind in ("tmpfs", "ramfs", "overlay"):
        yield Check("file system", "warn", f"{home} lies on {kind}: it may be gone after a reboot; put the state on a disk")
    free = shutil.disk_usage(home).free
    needed = 4 * (loaded.settings.store.segment_bytes if loaded is not None else 256 << 20)
    if free < needed:
        yield Check(
            "disk", "fail", f"{size(free)} free at {home}, the journal alone needs {size(needed)}: free space or choose another --state"
        )
    elif free < _SPACE_WARN:
        yield Check("disk", "warn", f"{size(free)} free at {home}: less than {size(_SPACE_WARN)}, about two days of journal; free space")
    else:
        yield Check("disk", "ok", f"{size(free)} free at {home}")
    if (path / "journal").is_dir():
        yield from _record(path)


def _service(state: Path | None, loaded: Loaded) -> Iterator[Check]:
    from mia.cli.doctor_service import service_checks
    from mia.store.state_dir import resolve_state_dir

    name = loaded.settings.instance.name
    yield from service_checks(loaded.settings, resolve_state_dir(state, instance=name, mode="paper", environment=os.environ))


def _record(path: Path) -> Iterator[Check]:
    """Journal and database of an existing state directory; the whole journal is looked at by `mia replay`."""
    from mia.domain.errors import DataError
    from mia.store.queries import read_status
    from mia.store.reader import JournalReader, read_headers

    try:
        headers = read_headers(path / "journal")
        records = sum(1 for _ in JournalReader(path / "journal").records())
    except DataError as e:
        yield Check("journal", "fail", str(e))
    else:
        if not records and (path / "miad.db").is_file():
            yield Check("journal", "fail", f"{path / 'journal'} holds nothing, the database does: restore the journal, or move both away")
        else:
            yield Check("journal", "ok", f"{len(headers)} segment{'s' * (len(headers) != 1)}, {records} records, every checksum right")
    if not (path / "miad.db").is_file():
        yield Check("database", "warn", f"{path / 'miad.db'} is missing: miad rebuilds it from the journal at its next start")
        return
    try:
        found: dict[str, Any] = read_status(path)
    except DataError as e:
        yield Check("database", "fail", f"{e}; move miad.db away, it is rebuilt from the journal")
        return
    ahead_s = (found["last_ns"] or 0) / 1e9 - time.time()
    if ahead_s > 1:
        what = f"its last record lies {ahead_s:.0f} s in the future"
        yield Check("database", "warn", f"{what}: it was run faster than real time, or the clock is behind: check the clock before trading")
    else:
        yield Check("database", "ok", f"readable, up to event {found['applied_seq']}")
