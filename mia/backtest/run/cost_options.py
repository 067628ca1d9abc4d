"""Costs as a user gives them: a file with [costs], and single switches over it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from mia.domain.errors import ConfigError
from mia.sim.costs import Costs


def costs_of(file: Path | None, switches: Sequence[str], half_spread_ticks: int | None = None, base: Costs | None = None) -> Costs:
    """Costs of a TOML file's [costs] (else `base`), then half_spread_ticks, then switches such as `impact.kind=square_root`.

    Files that the file names lie relative to it. ConfigError names the file or the switch, the key, and what is allowed.
    """
    costs = base or Costs()
    if file is not None:
        costs = _beside(_convert(_read(file), str(file)), file.parent)
    tree: dict[str, Any] = msgspec.to_builtins(costs)
    if half_spread_ticks is not None:
        tree["spread"] = {"kind": "ticks", "half": half_spread_ticks}
    for text in switches:
        _set(tree, text)
    keys = [text.partition("=")[0] for text in switches]
    if twice := [key for k, key in enumerate(keys) if key in keys[:k]]:
        raise ConfigError(f"--cost {twice[0]}: given twice")
    return _convert(tree, "--cost")


def _read(file: Path) -> Any:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"{file}: costs cannot be read: {e}") from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{file}: not valid TOML: {e}") from None
    if set(tree) != {"costs"}:
        raise ConfigError(f"{file}: must hold the table [costs] and nothing else, holds {', '.join(sorted(tree)) or 'nothing'}")
    return tree["costs"]


def _beside(costs: Costs, folder: Path) -> Costs:
    changed = {}
    for name in costs.__struct_fields__:
        part = getattr(costs, name)
        if getattr(part, "file", ""):
            changed[name] = msgspec.structs.replace(part, file=str(folder / part.file))
    return msgspec.structs.replace(costs, **changed)


def _set(tree: dict[str, Any], text: str) -> None:
    """Put one switch into the tree; a list is written with commas."""
    key, equals, value = text.partition("=")
    place, _, name = key.rpartition(".")
    table = tree.get(place) if place else tree
    if not (equals and value):
        raise ConfigError(f"--cost {text}: write part.field=value, such as impact.kind=square_root")
    if not isinstance(table, dict) or name not in table or isinstance(table[name], dict):
        if isinstance(table, dict) and place:
            raise ConfigError(f"--cost {text}: {place} has no {name!r}: use one of {', '.join(table)}")
        raise ConfigError(f"--cost {text}: there is no {key!r}: use PART.FIELD=VALUE with one of {', '.join(tree)}")
    allowed = _words(place, name)
    if allowed and value not in allowed:
        raise ConfigError(f"--cost {text}: use one of {', '.join(allowed)}")
    table[name] = value.split(",") if isinstance(table[name], list | tuple) else value


def _words(place: str, name: str) -> tuple[str, ...]:
    """What may stand there, where only a few words may."""
    hints = get_type_hints(get_type_hints(Costs)[place] if place else Costs)
    return get_args(hints[name]) if get_origin(hints[name]) is Literal else ()


def _convert(tree: Any, where: str) -> Costs:
    try:
        return msgspec.convert(tree, Costs, strict=False)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from None
    except msgspec.ValidationError as e:
        raise ConfigError(f"{where}: {e.__cause__ if isinstance(e.__cause__, ConfigError) else f'[costs] {e}'}") from None
