"""`mia alerts tail`: the alerts of a state directory as its file has them; needs neither a broker nor a running daemon."""

from __future__ import annotations

import enum
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

if TYPE_CHECKING:
    from mia.alerts.message import Alert

_POLL_S: Final = 0.2
_NOT_RUNNING: Final = 3
_COLOURS: Final = {"warning": "33", "error": "31", "urgent": "1;31"}
Keep = Callable[[bytes], str | None]
app = typer.Typer(no_args_is_help=True, help="Alerts that the daemon raised.", rich_markup_mode=None)


class Severity(enum.StrEnum):
    """As they rise."""

    info = "info"
    warning = "warning"
    error = "error"
    urgent = "urgent"


@app.callback()
def _group() -> None:
    """Alerts that the daemon raised."""


@app.command("tail", short_help="The newest alerts; -f goes on with those to come.")
def tail(
    severity: Annotated[Severity, typer.Option("--severity", help="At least this one.")] = Severity.info,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=0, max=1_000_000, help="How many, the newest.")] = 20,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what is raised from now on.")] = False,
    state: StateOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the newest alerts, the newest last; --json one object a line. Exit 3 when there are none and no daemon runs."""
    from mia.alerts.files import FOLDER, NAME
    from mia.cli.logs import Tail, newest
    from mia.cli.output import print_note
    from mia.cli.places import missing, state_dir
    from mia.store.state_dir import is_running

    path = state_dir(state, config)
    file = path / FOLDER / NAME
    keep = _keep(severity, as_json)
    ahead = Tail(file) if follow else None  # opened first: what is raised while the past is read is not missed
    shown = newest(file, lines, keep, until=ahead.position() if ahead is not None else None)
    for text in shown:
        print(text)
    runs = is_running(path)
    if not path.is_dir():
        print_note(f"not running: {missing(path)}")
    elif not shown:
        print_note(f"no alerts of severity {severity} or above in {path}")
    if not runs and path.is_dir():
        print_note(f"miad is not running with {path}" + (": this is what it left behind" if shown else ""))
    if ahead is not None:
        _follow(ahead, keep, path, runs)
    elif not shown and not runs:
        raise typer.Exit(_NOT_RUNNING)


def _follow(ahead: object, keep: Keep, path: Path, runs: bool) -> None:
    """Until Ctrl-C; says when the daemon ends or begins."""
    from mia.cli.logs import Tail
    from mia.cli.output import print_note
    from mia.store.state_dir import is_running

    assert isinstance(ahead, Tail)
    try:
        while True:
            for line in ahead.lines():
                text = keep(line)
                if text is not None:
                    print(text)
            sys.stdout.flush()
            if is_running(path) != runs:
                runs = not runs
                print_note(f"miad {'runs' if runs else 'is not running'} with {path}" + ("" if runs else "; waiting for it"))
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        return


def _keep(severity: Severity, as_json: bool) -> Keep:
    """How a line of the file is shown; None when it was not asked for, or a full disk cut it off."""
    from mia.alerts.files import parse
    from mia.alerts.message import RANK

    is_terminal = sys.stdout.isatty()
    colours = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = os.get_terminal_size(sys.stdout.fileno()).columns if is_terminal else 0

    def keep(line: bytes) -> str | None:
        alert = parse(line)
        if alert is None or RANK.get(alert.severity, 0) < RANK[severity]:
            return None
        if as_json:
            return _json(alert)
        return _wrapped(alert, width, colours) if width else f"{_head(alert)}: {_words(alert)}"

    return keep


def _json(alert: Alert) -> str:
    import msgspec

    from mia.telemetry.log_format import json_line

    return json_line(msgspec.structs.asdict(alert))


def _head(alert: Alert) -> str:
    from mia.telemetry.log_format import escape

    return escape(f"{alert.ts[:19].replace('T', ' ')} {alert.severity:<7} {alert.title}")


def _words(alert: Alert) -> str:
    from mia.telemetry.log_format import escape

    times = f" ({alert.count} times since {alert.first_ts[11:19]})" if alert.count > 1 else ""
    return escape(f"{alert.text}{times} [{alert.code}]")


def _wrapped(alert: Alert, width: int, colours: bool) -> str:
    """For a terminal: time, severity and title, the text below; nothing is wider than the window."""
    import textwrap

    head = textwrap.fill(_head(alert), max(width, 20), subsequent_indent="  ")
    text = textwrap.fill(_words(alert), max(width, 20), initial_indent="  ", subsequent_indent="  ")
    colour = _COLOURS.get(alert.severity) if colours else None
    return f"\x1b[{colour}m{head}\x1b[0m\n{text}" if colour else f"{head}\n{text}"
