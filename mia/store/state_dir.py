"""The state directory of one instance and mode: where it lies, who holds it, which run this is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from mia.domain.errors import AlreadyRunning, DataError

FOLDERS: Final = ("journal", "snapshots", "trades", "trade_snapshots", "risk_snapshots", "logs", "logs/trading")
_NETWORK_FILE_SYSTEMS: Final = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs")


def resolve_state_dir(
    explicit: Path | None, *, instance: str, mode: Literal["paper", "live", "replay"], environment: Mapping[str, str]
) -> Path:
    """Where the state lies: --state, else $STATE_DIRECTORY/<instance>-<mode>, else $XDG_STATE_HOME/miad/<instance>-<mode>.

    environment: os.environ of the shell. Never relative to the working directory unless --state says so.
    """
    if explicit is not None:
        return explicit.expanduser().absolute()
    name = f"{instance}-{mode}"
    by_unit = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if by_unit:
        return Path(by_unit) / name
    by_user = environment.get("XDG_STATE_HOME", "")
    if by_user and Path(by_user).is_absolute():  # the specification says to ignore a relative one
        return Path(by_user) / "miad" / name
    home = environment.get("HOME", "")
    return (Path(home) if home else Path.home()) / ".local" / "state" / "miad" / name


def data_home(environment: Mapping[str, str] | None = None) -> Path:
    """$XDG_DATA_HOME/mia, else ~/.local/share/mia: catalogue/, runs/, models/, trials.db, seals.jsonl. It need not exist."""
    environment = os.environ if environment is None else environment
    by_user = environment.get("XDG_DATA_HOME", "")
    if by_user and Path(by_user).is_absolute():  # the specification says to ignore a relative one
        return Path(by_user) / "mia"
    return Path(environment.get("HOME") or "/") / ".local" / "share" / "mia"


class StateDir:
    """A state directory held by this process until `close`. Only one process can hold it."""

    def __init__(self, path: Path) -> None:
        """Create what is missing (0700) and take the lock.

        DataError: no rights, or a network file system (locks and mapped files do not hold there). AlreadyRunning names the holder.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in FOLDERS:
                (path / name).mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            where = e.filename or path
            raise DataError(
                f"{where}: the state directory cannot be used ({e.strerror}): give this user rights or choose another --state"
            ) from e
        kind = file_system_of(path)
        if kind in _NETWORK_FILE_SYSTEMS:
            os.close(self._fd)
            raise DataError(f"{path}: lies on a network file system ({kind}), which keeps no locks and maps: choose a local --state")
        self._lock()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            holder = read_lock(self.path)
            raise AlreadyRunning(f"{self.path}: held by a running miad (pid {holder.get('pid', 'unknown')}): stop it first") from None
        self.describe({})

    def describe(self, facts: Mapping[str, object]) -> None:
        """Write the lock file's text: pid, start of the process, and what `mia status` should know (run, mode, venue, ...)."""
        text = json.dumps({"pid": os.getpid(), "process_start": process_start(os.getpid()), **facts}, sort_keys=True).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text + b"\n", 0)

    def claim(self, venue: str) -> None:
        """Tie the directory to the venue whose account it holds; DataError when that is another one."""
        path = self.path / "venue"
        try:
            known = path.read_text().strip() if path.exists() else ""
            if not known:
                path.write_text(venue + "\n")
        except OSError as e:
            raise DataError(f"{path}: cannot be used ({e.strerror}): give this user rights or choose another --state") from e
        if known not in ("", venue):
            raise DataError(f"{self.path}: holds the account at venue {known}: use --venue {known}, or another --state")

    def next_run(self, above: int = 0) -> int:
        """The number of this run: durable before it is returned, larger than every earlier one and than `above` (venue history)."""
        path = self.path / "run"
        try:
            last = int(path.read_text()) if path.exists() else 0
        except (OSError, ValueError) as e:
            raise DataError(f"{path}: the run counter is unreadable: write the number of the last run into it") from e
        run = max(last, above) + 1
        partial = path.with_suffix(".tmp")
        try:
            with partial.open("w") as file:
                file.write(f"{run}\n")
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as e:
            raise DataError(f"{path}: the run counter cannot be written ({e.strerror}): check the disk and its rights") from e
        return run

    def close(self) -> None:
        """Give the directory back."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)

    @property
    def journal(self) -> Path:
        """Folder of the journal."""
        return self.path / "journal"

    @property
    def snapshots(self) -> Path:
        """Folder of engine snapshots."""
        return self.path / "snapshots"


def read_lock(state_dir: Path) -> dict[str, object]:
    """What the lock file says; empty when there is none or it is being written."""
    try:
        found = json.loads((state_dir / "lock").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_running(state_dir: Path) -> bool:
    """True when the process named in the lock file lives (compared by its start, because pids are given again)."""
    lock = read_lock(state_dir)
    pid = lock.get("pid")
    return isinstance(pid, int) and process_start(pid) is not None and process_start(pid) == lock.get("process_start")


def process_start(pid: int) -> int | None:
    """Start of a process in ticks since boot; None when there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def file_system_of(path: Path) -> str:
    """Type of the file system that holds path, by /proc/self/mountinfo; empty when not known."""
    best, kind = -1, ""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return ""
    resolved = path.resolve()
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(left.split()[4].replace("\\040", " "))
        if resolved.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), right.split()[0]
    return kind
