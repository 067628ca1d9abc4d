"""`mia data report`."""

from __future__ import annotations

from mia.cli.data.options import File, Session, Tz, app, say, sessions_of, utc_text
from mia.cli.features.options import Bars
from mia.cli.places import ExcludeSealed, JsonOption

_TOLD = 5  # of each kind in the text


@app.command("report", short_help="Gaps, outliers, repeated rows, doubts about the time zone.")
def report(
    file: File,
    session: Session = None,
    tz: Tz = None,
    bars: Bars = None,
    exclude_sealed: ExcludeSealed = False,
    as_json: JsonOption = False,
) -> None:
    """Look at a candle file and name what is odd, with row numbers (the first row after the header is 1). Nothing is changed."""
    from mia.backtest.data.report import report as look
    from mia.backtest.data.resample import interval_text
    from mia.backtest.readers import read_candles
    from mia.cli.output import print_json, print_pairs
    from mia.features.bars import BarSpec

    spec = BarSpec.parse(bars) if bars else None
    candles = read_candles([file], bars=spec, tz=tz, on_duplicate="drop", sealed="exclude" if exclude_sealed else "refuse")
    found = look(candles, sessions_of(session, candles))
    if as_json:
        print_json(found)
        return
    say(found.notes)
    print_pairs(
        [
            ("file", f"{found.file}, {found.rows} rows, bars of {interval_text(found.interval_ns)}"),
            ("span", f"{utc_text(found.first_ns)} to {utc_text(found.last_ns)} UTC, if its times are what they were taken for"),
            *(("time zone", doubt) for doubt in found.doubts),
            *((f.kind, f"{f.count}") for f in found.findings),
        ]
    )
    for f in found.findings:
        print(f"\n{f.kind}{' (the longest first)' if f.kind == 'gap' else ' (the largest first)' if f.kind == 'outlier' else ''}")
        for text in f.texts[:_TOLD]:
            print(f"  {text}")
        if f.count > _TOLD:
            print(f"  and {f.count - _TOLD} more (--json lists {len(f.texts)})")
    if not found.findings and not found.doubts:
        print("nothing odd found")
