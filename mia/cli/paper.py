"""`mia paper`: starts `miad --paper` and shows, in one terminal, what it does above and its log below."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mia.cli.places import ConfigOption, StateOption

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment

    from mia.cli.child import Child
    from mia.cli.panel import Line
    from mia.control.messages import Status

_LOOK_S: Final = 1.0  # between questions to the daemon
_DRAW_S: Final = 0.25  # between looks at new log lines
_STATUS_LINE_S: Final = 10.0  # without a terminal
_START_S: Final = 20.0  # a daemon that has not told its status by then does not only start
_LOG_SHARE: Final = 0.4  # of the window, at least
_LINES_OF_A_FAILURE: Final = 20
_SIGNALED: Final = 128  # an exit code above it is a signal


def paper(
    context: typer.Context,
    venue: Annotated[str, typer.Option("--venue", metavar="NAME", help="Where to trade.")] = "demo",
    duration: Annotated[str, typer.Option("--duration", metavar="S", help="Stop after so many seconds.")] = "",
    speed: Annotated[
        str, typer.Option("--speed", metavar="X|max", help="Of the market: 20 is twenty times as fast; max with --venue sim only.")
    ] = "",
    state: StateOption = None,
    config: ConfigOption = None,
    plain: Annotated[bool, typer.Option("--plain", help="No live view: the log, and a line of status every 10 s.")] = False,
) -> None:
    """Paper trade on the demo exchange and watch it: status above, log below. Ctrl-C ends both; other options go to miad."""
    from rich.console import Console

    from mia.cli.child import Child
    from mia.cli.places import state_dir

    is_replay = any(argument.split("=")[0] == "--replay" for argument in context.args)
    path = state_dir(state, config, mode="replay" if is_replay else "paper")
    arguments = ["--paper", *([] if is_replay else ["--venue", venue])]
    for name, value in (("--duration", duration), ("--speed", speed), ("--state", state), ("--config", config)):
        arguments += [name, str(value)] if value else []
    console = Console(highlight=False)
    is_live = not plain and console.is_terminal and not console.is_dumb_terminal
    child = Child([*arguments, *context.args], None if is_live else _say)
    session = _Session(child, path)
    try:
        session.draw(console) if is_live else session.tell()
    except OSError:  # the terminal or the pipe is gone: the daemon still ends in order
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    code, summary = child.end()
    if code and is_live:
        for line in list(child.lines)[-_LINES_OF_A_FAILURE:]:
            _say(line)
    if code > _SIGNALED:
        _say(f"mia: miad was ended by signal {code - _SIGNALED}; {path} has all it did, the next start goes on from there")
    with contextlib.suppress(OSError):
        sys.stdout.write(summary)
        sys.stdout.flush()
        if not code and is_live:
            _say(f"mia: kept in {path}; `mia why --last-order` explains its last order, `mia history` lists its trades")
    raise typer.Exit(code)


def _say(line: str) -> None:
    """One write, so that lines of the log and of the status do not mix."""
    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), (line + "\n").encode())


class _Session:
    """The viewer's side: asks the daemon, and shows what it says and logs until it has ended."""

    def __init__(self, child: Child, state_dir: Path) -> None:
        self._child: Final = child
        self._state_dir: Final = state_dir
        self._started_s: Final = time.monotonic()
        self._status: Status | None = None
        self._was_ready = False

    def tell(self) -> None:
        """The log passes by itself; here comes a line of status now and then."""
        from mia.cli.panel import compact

        next_s = time.monotonic() + _STATUS_LINE_S
        while self._child.is_running:
            self._child.wait(_DRAW_S)
            if time.monotonic() >= next_s and self._child.is_running:
                next_s += _STATUS_LINE_S
                self._look()
                if self._status is not None:
                    _say(f"mia: {compact(self._status)}")

    def draw(self, console: Console) -> None:
        """The live view; leaves the terminal as it was."""
        from rich.live import Live

        shown: object = None
        next_look_s = 0.0
        with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
            while self._child.is_running and not self._child.terminal_is_gone:
                if time.monotonic() >= next_look_s:
                    self._look()
                    next_look_s = time.monotonic() + _LOOK_S
                now = (next_look_s, self._child.line_count, self._child.asked_to_end, console.size)
                if now != shown:
                    live.update(PaperView(self.lines(), list(self._child.lines), console.height, self._footer()), refresh=True)
                    shown = now
                self._child.wait(_DRAW_S)

    def lines(self) -> list[Line]:
        """The panel; before the daemon answers and after it stops to, what is known instead."""
        from mia.cli.panel import Line, panel
        from mia.cli.watch import REASON_CHARS_MAX

        if self._status is not None:
            return panel(self._status, reason_chars_max=REASON_CHARS_MAX)
        seconds = time.monotonic() - self._started_s
        if self._child.asked_to_end:
            return [Line("state", "STOPPING: waits for miad to end in order", "bold cyan")]
        if self._was_ready or seconds > _START_S:
            return [Line("state", "NOT ANSWERING: miad runs but does not tell its status; its log is below", "bold red")]
        return [Line("state", f"STARTING: miad starts, {seconds:.0f} s", "bold cyan"), Line("directory", str(self._state_dir))]

    def _look(self) -> None:
        from mia.control.client import ask_status
        from mia.domain.errors import MiaError

        try:
            found = ask_status(self._state_dir, _LOOK_S)
        except (MiaError, TimeoutError):
            self._status = None
            return
        self._status = found if found.pid == self._child.pid else None  # else somebody else's, and ours is about to say so
        self._was_ready = self._was_ready or self._status is not None

    def _footer(self) -> str:
        if self._child.asked_to_end:
            return "stopping in order; Ctrl-C again kills"
        return "Ctrl-C stops it; `mia why` in another terminal explains decisions"


class PaperView:
    """A panel, a rule, and the newest lines of a log, in exactly the window's rows."""

    def __init__(self, lines: Sequence[Line], log: Sequence[str], height: int, footer: str) -> None:
        self._lines: Final = lines
        self._log: Final = log
        self._height: Final = height
        self._footer: Final = footer

    def rows(self, console: Console, width: int) -> list[list[Segment]]:
        """At most `height` rows of at most `width` cells."""
        from rich.text import Text

        from mia.cli.panel import printable
        from mia.cli.watch import View

        options = console.options.update(width=width, height=None)
        room = max(self._height - 2, 2)  # the rule and the footer
        top = View(self._lines, max(room - max(int(room * _LOG_SHARE), 1), 1), says_cut=False).rows(console, width)
        space = room - len(top)
        log: list[list[Segment]] = []
        for line in reversed(self._log[-space:]):
            log[:0] = console.render_lines(Text(printable(line), overflow="fold"), options)
            if len(log) >= space:
                break
        log = log[-space:]
        rule = console.render_lines(Text("─" * width, style="dim", no_wrap=True), options)[:1]
        footer = console.render_lines(Text(self._footer, style="dim", no_wrap=True, overflow="ellipsis"), options)[:1]
        blank: list[list[Segment]] = [[] for _ in range(space - len(log))]
        return top + rule + log + blank + footer

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rows with line ends between them, none after the last: it would scroll a full screen."""
        from rich.segment import Segment

        rows = self.rows(console, console.width)
        for i, row in enumerate(rows):
            yield from row
            if i < len(rows) - 1:
                yield Segment.line()
