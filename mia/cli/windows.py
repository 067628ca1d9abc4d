"""`mia windows`: tables for trade_windows.toml."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mia.cli.output import print_json
from mia.cli.places import JsonOption

app = typer.Typer(no_args_is_help=True, help="Trade windows: when an instrument family may be traded (trade_windows.toml).")


@app.callback()
def _group() -> None:
    """Keeps `sessions` a word of its own while it is the only one."""


@app.command("sessions", short_help="An exchange's sessions as a table of trade_windows.toml.")
def sessions(
    exchange: Annotated[str, typer.Option("--exchange", metavar="NAME", help="Of exchange_calendars: XNYS, CMES, XFRA, ...")],
    first: Annotated[datetime, typer.Option("--from", metavar="DAY", formats=["%Y-%m-%d"], help="First day, such as 2027-01-01.")],
    last: Annotated[datetime, typer.Option("--to", metavar="DAY", formats=["%Y-%m-%d"], help="Last day.")],
    family: Annotated[str, typer.Option("--family", metavar="NAME", help="Names the table.")] = "es",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it there, a new file, instead of printing it.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print weekly rules, days without a session, early closes and valid_until. Compare with the exchange's calendar before use."""
    from mia.backtest.calendars import session_table
    from mia.domain.errors import DataError

    if not family.replace("_", "").isalnum() or not family.isascii():
        raise typer.BadParameter(f"--family {family!r}: use letters, digits and _")
    found = session_table(exchange, first.date(), last.date())
    if as_json:
        print_json(found)
        return
    if out is None:
        print(found.toml(family), end="")
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(found.toml(family))
    except OSError as e:
        raise DataError(f"{out}: cannot be written: {e.strerror}") from None
    print(f"wrote: {out}: {found.sessions} sessions, {len(found.holidays)} days without one, valid until {found.valid_until}")
