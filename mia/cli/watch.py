"""`mia status --watch`: one panel drawn again and again. What is not live is said to be of the past, in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mia.cli.output import age
from mia.cli.panel import Line, compact, last_known, panel
from mia.control.client import ask_status
from mia.control.messages import Status
from mia.domain.errors import MiaError, NotRunning

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.segment import Segment
    from rich.table import Table

REASON_CHARS_MAX: Final = 120  # in a view that has few rows; `mia status` tells all
_NARROW: Final = 60  # columns


class Watcher:
    """Asks, and remembers when the daemon last answered; survives one that goes away and comes back."""

    def __init__(self, state_dir: Path, timeout_s: float) -> None:
        self._state_dir: Final = state_dir
        self._timeout_s: Final = timeout_s
        self._last: Status | None = None
        self._last_s = 0.0  # Unix time of the last answer
        self._why = ""
        self._missing_s = 0.0  # Unix time since when there is none
        self.status: Status | None = None  # of this moment; None while there is no answer

    def look(self) -> None:
        """Ask once."""
        now_s = time.time()
        try:
            self.status = self._last = ask_status(self._state_dir, self._timeout_s)
        except NotRunning:
            why = "NOT RUNNING"
        except TimeoutError:
            why = "NOT ANSWERING"
        except MiaError as e:
            why = f"NOT READABLE: {e}"
        else:
            self._last_s, self._why = now_s, ""
            return
        self.status = None
        if not self._why:
            self._missing_s = now_s
        self._why = why

    def lines(self) -> list[Line]:
        """The panel of now, or that there is none, since when, and what was known last."""
        if self.status is not None:
            return panel(self.status, reason_chars_max=REASON_CHARS_MAX)
        lines = [Line("state", self._missing(), "bold red")]
        if self._last is None:
            return [*lines, Line("directory", str(self._state_dir)), Line("", "waiting for miad to start with it")]
        lines.append(Line("not live", f"below is of {_clock(self._last_s)}, {age(time.time() - self._last_s)} ago"))
        return lines + last_known(self._last)

    def line(self) -> str:
        """The same in one line."""
        if self.status is not None:
            return compact(self.status)
        return f"{_clock(time.time())} {self._missing()} ({self._state_dir})"

    def _missing(self) -> str:
        return f"{self._why} since {_clock(self._missing_s)}" + (f", {age(time.time() - self._missing_s)}" if self._last else "")


def watch(state_dir: Path, *, interval_s: float, timeout_s: float, as_json: bool) -> None:
    """Until Ctrl-C: a live view on a terminal, else a line (or a JSON object) each interval."""
    from rich.console import Console

    console = Console(highlight=False)
    watcher = Watcher(state_dir, timeout_s)
    try:
        if as_json or not console.is_terminal or console.is_dumb_terminal:
            _print_for_ever(watcher, interval_s, as_json)
        else:
            _draw_for_ever(watcher, console, interval_s)
    except KeyboardInterrupt:
        return


def _print_for_ever(watcher: Watcher, interval_s: float, as_json: bool) -> None:
    import msgspec

    while True:
        watcher.look()
        if as_json:
            found = {"is_live": watcher.status is not None, **(msgspec.to_builtins(watcher.status) if watcher.status else {})}
            sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        else:
            sys.stdout.write(watcher.line() + "\n")
        sys.stdout.flush()
        time.sleep(interval_s)


def _draw_for_ever(watcher: Watcher, console: Console, interval_s: float) -> None:
    from rich.live import Live

    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        while True:
            watcher.look()
            footer = f"{_clock(time.time())}, Ctrl-C leaves" + ("" if console.width < _NARROW else ", the daemon goes on")
            live.update(View(watcher.lines(), console.height, footer), refresh=True)
            time.sleep(interval_s)


class View:
    """Lines of a panel in at most `height` rows; a last row says so when some are cut, unless `says_cut` is off."""

    def __init__(self, lines: Sequence[Line], height: int, footer: str = "", *, says_cut: bool = True) -> None:
        self._lines: Final = lines
        self._height: Final = height
        self._footer: Final = footer
        self._says_cut: Final = says_cut

    def rows(self, console: Console, width: int) -> list[list[Segment]]:
        """As rows of segments of exactly `width` cells."""
        from rich.text import Text

        options = console.options.update(width=width, height=None)
        rows = console.render_lines(_grid(self._lines, width), options)
        room = self._height - bool(self._footer)
        if len(rows) > room and not self._says_cut:
            rows = rows[:room]
        elif len(rows) > room:
            cut = len(rows) - room + 1
            more = Text(f"({cut} more rows in a taller window)", style="dim", no_wrap=True, overflow="crop")
            rows = rows[: room - 1] + console.render_lines(more, options)[:1]
        if self._footer:
            rows += [[] for _ in range(room - len(rows))]
            rows += console.render_lines(Text(self._footer, style="dim", no_wrap=True, overflow="ellipsis"), options)[:1]
        return rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Rows with line ends between them, none after the last: it would scroll a full screen."""
        from rich.segment import Segment

        rows = self.rows(console, console.width)
        for i, row in enumerate(rows):
            yield from row
            if i < len(rows) - 1:
                yield Segment.line()


def _grid(lines: Sequence[Line], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1 if width < _NARROW else 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row(Text(line.label, style="dim"), Text(line.text, style=line.style))
    return table


def _clock(unix_s: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(unix_s))
