"""What the verbs of `mia data` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mia.backtest.data.resample import Sessions
    from mia.backtest.readers import Candles

app = typer.Typer(help="Candle files: resample, report, roll, compare; the catalogue.", rich_markup_mode=None, no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="Candles (.feather, .parquet, .csv[.gz]).")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write (.parquet, .feather, .csv); replaced whole.")]
Tz = Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Of times that state none: America/Chicago, UTC.")]
Session = Annotated[
    str | None, typer.Option("--session", metavar="TABLE", help="Whose sessions count: a family of trade_windows.toml, such as es.")
]


def sessions_of(family: str | None, candles: Candles) -> Sessions | None:
    """The sessions over the time of the bars; None without a family, ConfigError for one that trades around the clock."""
    from datetime import UTC, datetime, timedelta

    from mia.assemble import calendar_files
    from mia.domain.errors import ConfigError
    from mia.risk.windows import load_windows

    if family is None:
        return None
    first, last = (datetime.fromtimestamp(int(ns) // 10**9, UTC).date() for ns in (candles.open_ns[0], candles.close_ns[-1]))
    found = load_windows(*calendar_files()).sessions(family, first - timedelta(days=4), last + timedelta(days=4))
    if not found:
        raise ConfigError(f"--session {family}: it trades around the clock: leave it out")
    return found


def say(notes: list[str] | tuple[str, ...]) -> None:
    """Each on a line of stderr."""
    from mia.cli.output import print_note

    for note in notes:
        print_note(note)


def utc_text(ns: int) -> str:
    """Such as 2024-03-01 00:00:00."""
    from mia.backtest.readers import utc

    return utc(ns)
