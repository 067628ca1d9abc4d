"""`mia data resample`."""

from __future__ import annotations

from typing import Annotated

import typer

from mia.cli.data.options import File, Out, Session, Tz, app, say, sessions_of, utc_text
from mia.cli.features.options import OnDuplicate, OnDuplicateOption
from mia.cli.places import ExcludeSealed, JsonOption


@app.command("resample", short_help="Bars of a longer interval.")
def resample(
    file: File,
    to: Annotated[str, typer.Option("--to", metavar="T", help="15m, 1h, 4h, 1d, 1w: a multiple of the file's interval.")],
    out: Out,
    session: Session = None,
    tz: Tz = None,
    on_duplicate: OnDuplicateOption = OnDuplicate.error,
    exclude_sealed: ExcludeSealed = False,
    as_json: JsonOption = False,
) -> None:
    """Make longer bars, labelled by their open time, UTC; a bar that the file does not hold whole is left out, and said."""
    from mia.backtest.data.resample import parse_interval
    from mia.backtest.data.resample import resample as make
    from mia.backtest.data.writing import check_out, write_candles
    from mia.backtest.readers import read_candles
    from mia.cli.output import print_json, print_pairs

    to_ns = parse_interval(to)
    check_out(out, [file])
    candles = read_candles(
        [file],
        tz=tz,
        on_duplicate="drop" if on_duplicate is OnDuplicate.drop else "error",
        sealed="exclude" if exclude_sealed else "refuse",
    )
    made = make(candles, to_ns, sessions_of(session, candles))
    sha256 = write_candles(out, made.open_ns, made.ohlcv, candles.sha256)
    notes = [*candles.notes, *made.notes]
    say(notes)
    label = "open time, UTC" if session is None else f"open time in sessions of {session}, UTC"
    if session is not None and to_ns == 86_400_000_000_000:
        label = f"UTC date on which the session of {session} closes; known at the end of that date"
    if as_json:
        facts = {"file": str(out), "sha256": sha256, "bars": len(made.open_ns), "interval_ns": to_ns, "label": label}
        span = {"first_ns": int(made.open_ns[0]), "last_ns": int(made.open_ns[-1])}
        print_json(
            {**facts, **span, "thin": made.thin, "rows_left_out": made.dropped_rows, "source_sha256": candles.sha256, "notes": notes}
        )
        return
    print_pairs(
        [
            ("file", f"{out}, {len(made.open_ns)} bars of {to} from {len(candles.open_ns)} rows"),
            ("label", label),
            ("span", f"{utc_text(int(made.open_ns[0]))} to {utc_text(int(made.open_ns[-1]))} UTC (open of the first and the last bar)"),
        ]
    )
