"""`mia replay`: prove that a recorded session still decides as it did, byte for byte."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.cli.rerun import Rerun


def replay(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A state directory, or the journal folder in it.")],
    as_json: JsonOption = False,
) -> None:
    """Run a journal again and compare every decision and order. Exit 1 at the first difference, 4 when a model is not that of then."""
    from mia.cli.output import print_json, print_note, print_pairs
    from mia.cli.rerun import rerun
    from mia.store.state_dir import is_running

    result = rerun(path)
    if is_running(Path(result.journal).parent):
        result.notes.append("miad is writing this journal: compared up to its end of now")
    if as_json:
        print_json(result)
    else:
        print_pairs(_lines(result))
    if result.verdict == "differs":
        calendar = "; the calendar files are not those of then" if "calendar" in result.versions_differ else ""
        print_note(f"{result.journal}: event {result.difference.seq if result.difference else 0} decides otherwise than recorded{calendar}")
        raise typer.Exit(1)


def _lines(r: Rerun) -> list[tuple[str, str]]:
    verdict = {
        "agrees": "agrees, byte for byte",
        "differs": "DIFFERS",
        "other_machine_class": "other machine class: the same bits are not promised here",
    }[r.verdict]
    compared = f"{r.events} events, {r.decisions} decisions, {r.orders} orders, {r.effects} effects"
    lines = [
        ("journal", r.journal),
        ("verdict", verdict),
        ("compared", compared),
        ("from", f"{r.begins}, to event {r.last_seq}, run{'s' * (len(r.runs) != 1)} {', '.join(map(str, r.runs)) or 'begun earlier'}"),
    ]
    if r.torn_bytes:
        lines.append(("torn tail", f"{r.torn_bytes} bytes after event {r.last_seq} are no whole record: left out, nobody acted on them"))
    lines += [("note", note) for note in r.notes]
    lines += [("version", f"{name}: recorded with {then}, here {here}") for name, (then, here) in r.versions_differ.items()]
    if r.difference is not None:
        lines += [
            ("difference", f"event {r.difference.seq}, {r.difference.event}"),
            *_first_difference(r.difference.recorded, r.difference.now),
        ]
    return lines


def _first_difference(recorded: list[object], now: list[object]) -> list[tuple[str, str]]:
    """The first effect that differs: only its differing fields when both are of one type."""
    for i in range(max(len(recorded), len(now))):
        then, here = (side[i] if i < len(side) else None for side in (recorded, now))
        if isinstance(then, dict) and isinstance(here, dict) and then["type"] == here["type"]:
            fields = [name for name in then if repr(then[name]) != repr(here[name])]
            if fields:
                where = f"{then['type']} ({i + 1} of {len(recorded)})"
                return [("", f"{where} {name}: recorded {then[name]!r}, now {here[name]!r}") for name in fields]
        elif then != here:
            return [("recorded", _short(then)), ("now", _short(here))]
    return [("", "equal values in other bytes: another version encoded them")]


def _short(effect: object) -> str:
    if effect is None:
        return "nothing"
    if isinstance(effect, dict):
        return f"{effect['type']} " + ", ".join(f"{k}={v!r}" for k, v in effect.items() if k != "type")
    return str(effect)
