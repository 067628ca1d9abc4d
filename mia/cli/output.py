"""What the verbs print: aligned columns, JSON, ages and sizes. Plain when piped; colours only on a terminal without NO_COLOR."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

_PIPED_WIDTH: Final = 2000  # a pipe has no width: nothing is cut or wrapped there
STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def print_json(value: Any) -> None:
    """Indented JSON on stdout; NaN becomes null, what JSON does not know its text."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n")


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Labels and values in two columns; a value too long for the terminal goes on below itself."""
    _print(list(pairs), None, ())


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """Columns under their names; those named in `right` end flush. The last of up to 3 wraps; more that do not fit become blocks."""
    _print([[str(cell) for cell in row] for row in rows], head, right)


def print_note(text: str) -> None:
    """One line on stderr, after what stdout has."""
    sys.stdout.flush()
    print(f"mia: {text}", file=sys.stderr, flush=True)


def _print(rows: Sequence[Sequence[str]], head: Sequence[str] | None, right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    is_terminal = console.is_terminal
    if is_terminal and head is not None and len(head) > 3 and _natural_width(rows, head) > console.width:
        _print_blocks(rows, head)
        return
    if not is_terminal:
        console = Console(highlight=False, width=_PIPED_WIDTH, color_system=None)
    table = Table(box=None, show_header=head is not None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    width = len(head) if head is not None else 2
    for i in range(width):
        name = head[i] if head is not None else ""
        is_last = i == width - 1
        table.add_column(
            Text(name), justify="right" if name in right else "left", no_wrap=not is_last, overflow="fold" if is_last else "ellipsis"
        )
    for row in rows:
        table.add_row(*[Text(cell, style=STYLES.get(cell, "")) for cell in row])
    if is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))


def _natural_width(rows: Sequence[Sequence[str]], head: Sequence[str]) -> int:
    return sum(max(len(row[i]) for row in [head, *rows]) + 2 for i in range(len(head))) - 2


def _print_blocks(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """A table too wide for the terminal: each row as a block of names and values."""
    for i, row in enumerate(rows):
        if i:
            print()
        _print([pair for pair in zip(head, row, strict=True) if pair[1]], None, ())


def age(seconds: float) -> str:
    """A duration in the unit that a person would use."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"


def size(n: int) -> str:
    """Bytes for people."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def amount(value_e8: object) -> str:
    """Money from 1e-8, rounded to cents for reading; what rounds to 0 has no sign."""
    text = f"{int(str(value_e8)) / 1e8:,.2f}"
    return "0.00" if text == "-0.00" else text
