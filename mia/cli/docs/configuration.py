"""docs/configuration.md, from the settings structs: keys, types, defaults and units from the types, meanings from their source.

A meaning is the comment behind the attribute, or `name, other: text` in the docstring of its struct.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
import typing
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple

import msgspec

from mia.settings import Settings
from mia.shipped import config_file

_HEAD: Final = """# Configuration

Generated from the settings structs by `mia docs build`; do not edit.

Settings are one TOML file: `--config FILE`, else `~/.config/mia/miad.toml`, else the file that ships with MIA. Strongest first:
the command line, the environment (`MIA__SECTION__KEY`, such as `MIA__RISK__DRAWDOWN_MAX=0.05`), the file, the default.
`mia show-config` prints the merged result and where each value came from; an unknown or misspelt key refuses the start and is named
with its file and line. `required`: there is no default, the shipped value follows in brackets. Beside the file lie, when they are
yours, `trade_windows.toml` and `macro_events.csv`.
"""
# The last words of a name tell the unit; the longest that fits counts.
_UNITS: Final = {
    "ms": "ms", "s": "s", "us": "us", "ns": "ns", "days": "days", "mb": "MB", "gb": "GB", "bytes": "bytes", "bps": "1e-4 of the price",
    "bps_max": "1e-4 of the price", "share": "share of 1", "share_max": "share of 1", "lots_max": "lots", "ms_max": "ms", "s_max": "s",
    "s_min": "s", "mb_max": "MB", "max_mb": "MB", "notional": "quote currency", "notional_max": "quote currency",
    "balance": "whole coins",
    "ticks": "ticks", "lots_max_by_symbol": "lots", "per_minute_max": "per minute", "per_hour": "per hour", "per_s": "per s",
    "loss_max": "share of 1", "drawdown_max": "share of 1", "fee": "share of 1", "margin": "share of 1", "cash": "quote currency",
    "tick_size": "quote currency", "lot_size": "base units", "start_price": "quote currency", "bps_per_s_min": "1e-4 per s",
    "bps_per_s_max": "1e-4 per s", "gb_max": "GB", "max_gb": "GB", "hz": "Hz",
}  # fmt: skip


class Row(NamedTuple):
    """One key."""

    key: str
    type: str
    default: str
    unit: str
    meaning: str


class Section(NamedTuple):
    """One table of the file."""

    name: str
    text: str
    rows: list[Row]


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    parts = [_HEAD]
    for section in sections():
        parts.append(f"\n## {section.name}\n{section.text}\n\n| key | type | default | unit | meaning |\n|---|---|---|---|---|\n")
        parts.extend(f"| `{r.key}` | {_cell(r.type)} | {_cell(r.default)} | {r.unit} | {_cell(r.meaning)} |\n" for r in section.rows)
    return "".join(parts)


def sections() -> list[Section]:
    """Every table, in the order of the settings."""
    shipped = tomllib.loads(config_file("miad.toml").read_text(encoding="utf-8"), parse_float=Decimal)
    return list(_walk(Settings, "", shipped))


def _walk(struct: type[msgspec.Struct], name: str, shipped: Any, preset: Any = None) -> Iterator[Section]:
    """preset: what the section above gives this one when the file says nothing."""
    meanings, text = meanings_of(struct)
    rows, below = [], []
    for field in msgspec.structs.fields(struct):
        nested, is_array = _nested(field.type)
        values = shipped.get(field.name, {}) if isinstance(shipped, dict) else {}
        if nested is not None:
            inner = f"{name}.{field.name}" if name else field.name
            below.append((nested, f"[[{inner}]]" if is_array else inner, values, getattr(preset, field.name, field.default)))
        else:
            kind = _type(field.type)
            unit = _unit(field.name) if kind not in ("true or false", "text") else ""
            rows.append(Row(field.name, kind, _default(field, values, preset), unit, meanings.get(field.name, "")))
    if name:
        yield Section(f"`{name}`" if name.startswith("[") else f"`[{name}]`", text, rows)
    for nested, inner, values, given in below:
        yield from _walk(nested, inner, values, given)


def meanings_of(struct: type[msgspec.Struct]) -> tuple[dict[str, str], str]:
    """(meaning by key, what the docstring says of the whole)."""
    names = struct.__struct_fields__
    source = inspect.getsource(struct)
    doc = inspect.getdoc(struct) or ""
    starts = list(re.finditer(rf"(?:^|(?<=; )|(?<=\. ))((?:{'|'.join(names)})(?:, (?:{'|'.join(names)}))*): ", doc, re.MULTILINE))
    found = {}
    for here, following in zip_longest(starts, starts[1:]):
        text = " ".join(doc[here.end() : following.start() if following else len(doc)].split("\n\n")[0].split())
        found.update(dict.fromkeys(here.group(1).split(", "), text.rstrip(" .;")))
    tree = ast.parse(source).body[0]
    assert isinstance(tree, ast.ClassDef)
    lines = source.splitlines()
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.end_lineno is not None:
            _, mark, comment = lines[node.end_lineno - 1][node.end_col_offset or 0 :].partition("#")
            if mark:
                found[node.target.id] = comment.strip()
    whole = " ".join(doc[: starts[0].start()].split()) if starts else " ".join(doc.split())
    whole = re.sub(r"^(?:The )?\[+[a-z.]+\]+(?: section(?: of the settings)?)?[:.]? ?", "", whole)
    return found, whole[:1].upper() + whole[1:]


def _nested(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind, False
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple and arguments and isinstance(arguments[0], type) and issubclass(arguments[0], msgspec.Struct):
        return arguments[0], True
    return None, False


def _type(kind: Any) -> str:
    plain = {int: "integer", float: "number", bool: "true or false", str: "text", Decimal: "decimal", type(None): ""}
    if kind in plain:
        return plain[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{a}"' if isinstance(a, str) else str(a) for a in arguments)
    if origin is dict:
        return f"table of {_type(arguments[1])}"
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    return " or ".join(filter(None, (_type(a) for a in arguments)))


def _default(field: Any, shipped: Any, preset: Any) -> str:
    if isinstance(preset, msgspec.Struct):
        return _shown(getattr(preset, field.name))
    if field.default is not msgspec.NODEFAULT:
        return _shown(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return _shown(field.default_factory())
    return f"required ({_shown(shipped)})" if shipped not in ({}, "") else "required"


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return str(msgspec.to_builtins(value)).replace("(", "[").replace(")", "]")
    return str(value)


def _unit(name: str) -> str:
    words = name.split("_")
    return next((_UNITS[tail] for tail in ("_".join(words[i:]) for i in range(len(words))) if tail in _UNITS), "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
