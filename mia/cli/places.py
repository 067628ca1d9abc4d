"""Options that verbs share, and where the state directory lies when none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; else ~/.config/mia/miad.toml, else the shipped ones.")
]
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State directory; else the paper one of the configured instance.")
]
ExcludeSealed = Annotated[bool, typer.Option("--exclude-sealed", help="Leave rows of sealed holdouts out instead of stopping at them.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def state_dir(state: Path | None, config: Path | None, *, mode: Literal["paper", "replay"] = "paper") -> Path:
    """--state, else the directory of the configured instance and mode; it need not exist. ConfigError when settings are needed and bad."""
    from mia.settings import load_settings
    from mia.store.state_dir import resolve_state_dir

    instance = "mia" if state is not None else load_settings(config).settings.instance.name
    return resolve_state_dir(state, instance=instance, mode=mode, environment=os.environ)


def missing(path: Path) -> str:
    """One line for a state directory that is not there, naming those that are."""
    try:
        others = sorted(p for p in path.parent.iterdir() if (p / "miad.db").is_file() or (p / "journal").is_dir())
    except OSError:
        others = []
    hint = (
        f"there is {', '.join(map(str, others[:3]))}: name it with --state"
        if others
        else "start `miad --paper`, or name another with --state"
    )
    return f"{path}: no such state directory; {hint}"


def instant(option: str, text: str) -> int:
    """Unix ns of a date or time, UTC unless it says otherwise."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r}: give a date such as 2025-01-01, or 2025-01-01T12:00Z") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 1_000_000_000
