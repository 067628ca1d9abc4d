"""The one way to reach files that ship with us: config/, models/ and systemd/, in a wheel and in an editable install alike."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve().parent
_ROOTS: Final = (_HERE / "_shipped", _HERE.parent)  # wheel, editable


def shipped(kind: str) -> Path:
    """The folder `config`, `models` or `systemd`; FileNotFoundError when the installation is damaged."""
    for root in _ROOTS:
        folder = root / kind
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the shipped folder {kind!r} is missing from {_HERE}: reinstall mia")


def config_file(name: str) -> Path:
    """A shipped configuration file, such as miad.toml."""
    return shipped("config") / name


def model_dir(name: str) -> Path:
    """A shipped model bundle's folder."""
    return shipped("models") / name


def unit_file(*, for_user: bool = False) -> Path:
    """The shipped systemd unit, of the system or of one user."""
    return shipped("systemd") / ("user/miad.service" if for_user else "miad.service")
