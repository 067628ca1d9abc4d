"""What one check of `mia doctor` found."""

from __future__ import annotations

from typing import NamedTuple


class Check(NamedTuple):
    """One finding; `text` ends with what to do unless it is ok."""

    name: str
    state: str  # ok | warn | fail
    text: str
