"""Levels: their names, TRACE below DEBUG, and which level holds for which logger."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

TRACE: Final = 5
NAMES: Final[dict[int, str]] = {TRACE: "trace", 10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
NUMBERS: Final[dict[str, int]] = {name: number for number, name in NAMES.items()}


def number_of(name: str) -> int:
    """The number of a level's name in any case; ValueError names those that there are."""
    number = NUMBERS.get(name.lower())
    if number is None:
        raise ValueError(f"{name!r} is not a level: use one of {', '.join(NUMBERS)}")
    return number


def name_of(level: int) -> str:
    """The name of the highest level at or below a number (a library's own levels lie between ours)."""
    return NAMES.get(level) or NAMES[max((known for known in NAMES if known <= level), default=TRACE)]


class Gate:
    """The threshold of one logger name. Loggers of a name share it, so that a reload reaches them all."""

    __slots__ = ("level", "name")

    def __init__(self, name: str, level: int) -> None:
        self.name: Final = name
        self.level = level


class Gates:
    """All gates; the longest configured prefix of dotted parts decides."""

    def __init__(self) -> None:
        self._gates: Final[dict[str, Gate]] = {}
        self._default = logging.INFO
        self._by_prefix: dict[str, int] = {}

    def of(self, name: str) -> Gate:
        """The gate of a logger name, always the same object."""
        gate = self._gates.get(name)
        return gate if gate is not None else self._gates.setdefault(name, Gate(name, self.level_of(name)))

    def level_of(self, name: str) -> int:
        """The threshold that the settings give a name."""
        prefix = name
        while prefix:
            if prefix in self._by_prefix:
                return self._by_prefix[prefix]
            prefix = prefix.rpartition(".")[0]
        return self._default

    def set(self, default: str, by_prefix: Mapping[str, str]) -> None:
        """New thresholds, for our loggers and the standard library's."""
        for name in self._by_prefix:
            logging.getLogger(name).setLevel(logging.NOTSET)
        self._default = number_of(default)
        self._by_prefix = {name: number_of(level) for name, level in by_prefix.items()}
        for gate in list(self._gates.values()):
            gate.level = self.level_of(gate.name)
        logging.getLogger().setLevel(self._default)
        for name, level in self._by_prefix.items():
            logging.getLogger(name).setLevel(level)
