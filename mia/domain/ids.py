"""Ids that carry their meaning: client order ids as a function of (instance, run, decision, order), trade ids."""

from __future__ import annotations

from typing import Final

from mia.domain.errors import ConfigError, FailStop

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"  # base32hex, lower case: sorts like the number
_WIDTHS: Final = (2, 4, 6, 1)  # instance, run, decision, order
PREFIX: Final = "mia"


def base32(value: int, width: int) -> str:
    """value as exactly `width` base32hex digits; FailStop when it does not fit (an id is never truncated)."""
    if not 0 <= value < 32**width:
        raise FailStop(f"id field {value} does not fit in {width} base32 digits")
    return "".join(_ALPHABET[(value >> (5 * i)) & 31] for i in range(width - 1, -1, -1))


def instance_number(instance: str) -> int:
    """Stable number in [0, 1024) of an instance name (1-32 of a-z, 0-9, '-'), by FNV-1a."""
    if not (1 <= len(instance) <= 32 and all(c.isdigit() or c == "-" or "a" <= c <= "z" for c in instance)):
        raise ConfigError(f"instance {instance!r}: use 1 to 32 of a-z, 0-9 and '-'")
    h = 2166136261
    for byte in instance.encode():
        h = ((h ^ byte) * 16777619) & 0xFFFFFFFF
    return (h ^ (h >> 10) ^ (h >> 20)) & 1023


def client_order_id(instance: int, run: int, decision: int, order: int) -> str:
    """`mia` + instance(2) run(4) decision(6) order(1): 16 characters, the same at every venue."""
    fields = zip((instance, run, decision, order), _WIDTHS, strict=True)
    return PREFIX + "".join(base32(value, width) for value, width in fields)


def run_of(client_id: str) -> int | None:
    """The run counter inside one of our client order ids; None when the id is not ours."""
    if len(client_id) != 16 or not client_id.startswith(PREFIX):
        return None
    try:
        return sum(_ALPHABET.index(c) << (5 * i) for i, c in enumerate(reversed(client_id[5:9])))  # ints
    except ValueError:
        return None
