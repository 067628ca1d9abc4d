"""Which runs there are, and which one is meant by a folder or by the first digits of an id."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.backtest.run.artifacts import RUN_FILE
from mia.domain.errors import DataError
from mia.store.state_dir import data_home

_NAMED_MAX: Final = 8  # in an error


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A run among the others. written: UTC, of its run.json; problem: why the rest is not known, else empty. Money in units."""

    id: str
    folder: str
    written: str
    strategy: str = ""
    instruments: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    first_ns: int = 0
    last_ns: int = 0
    start_equity: float = 0.0
    end_equity: float = 0.0
    currency: str = ""
    trades: int = 0
    problem: str = ""


def runs_home() -> Path:
    """Where runs lie that no --out named."""
    return data_home() / "runs"


def find_run(text: str) -> Path:
    """The folder of a run, given as a folder or as the first digits of its id; DataError lists what is there instead."""
    folder = Path(text).expanduser()
    if text and (folder / RUN_FILE).is_file():
        return folder
    found = [path for path in _folders() if path.name.startswith(text)] if text else []
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"run {text}: could be {', '.join(sorted(path.name for path in found)[:_NAMED_MAX])}: give more digits")
    if text and folder.is_dir():
        raise DataError(f"{folder}: no run: there is no {RUN_FILE} in it; {_there(_folders())}")
    raise DataError(f"run {text or '(empty)'}: no such folder, and no run whose id begins so; {_there(_folders())}")


def listed(home: Path | None = None) -> list[Listed]:
    """All runs, the one written last first; a folder that cannot be read is listed with its problem."""
    return [_listed(path) for path in _folders(home)]


def _folders(home: Path | None = None) -> list[Path]:
    try:
        found = [path for path in (home or runs_home()).iterdir() if (path / RUN_FILE).is_file() and not path.name.startswith(".")]
    except OSError:
        return []
    return sorted(found, key=lambda path: (-(path / RUN_FILE).stat().st_mtime_ns, path.name))


def _there(folders: list[Path]) -> str:
    if not folders:
        return f"there is none in {runs_home()}: make one with `mia backtest run`"
    more = f" and {len(folders) - _NAMED_MAX} more" if len(folders) > _NAMED_MAX else ""
    return f"there is {', '.join(path.name for path in folders[:_NAMED_MAX])}{more} in {runs_home()}"


def _listed(folder: Path) -> Listed:
    file = folder / RUN_FILE
    written = datetime.fromtimestamp(int(file.stat().st_mtime), UTC).isoformat().replace("+00:00", "Z")
    try:
        facts = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        data = facts["data"]
        return Listed(
            id=str(facts["id"]),
            folder=str(folder),
            written=written,
            strategy=strategy_name(facts),
            instruments=tuple(dict.fromkeys(str(d["instrument"]) for d in data)),
            bars=tuple(dict.fromkeys(str(d["bars"] or d["kind"]) for d in data)),
            first_ns=min(int(d["first_ns"]) for d in data),
            last_ns=max(int(d["last_ns"]) for d in data),
            start_equity=int(facts["start_equity_e8"]) / 1e8,
            end_equity=int(facts["end_equity_e8"]) / 1e8,
            currency=str(facts["currency"]),
            trades=int(facts["counters"]["trades"]),
        )
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, ValueError) as e:
        return Listed(id=folder.name, folder=str(folder), written=written, problem=f"{RUN_FILE}: {type(e).__name__}: {e}")


def strategy_name(facts: dict[str, Any]) -> str:
    """Of all lanes, each once; parameters apart, so that a line can break between them."""
    return "; ".join(dict.fromkeys(str(s["name"]).replace(",", ", ") for s in facts["strategies"]))
