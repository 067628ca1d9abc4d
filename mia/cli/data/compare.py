"""`mia data compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.data.options import File, Tz, app, say, utc_text
from mia.cli.places import ExcludeSealed, JsonOption

if TYPE_CHECKING:
    from mia.backtest.validation.seal import Sealed


@app.command("compare", short_help="Two sources of one series, side by side.")
def compare(
    a: File,
    b: File,
    tz: Tz = None,
    tz_b: Annotated[str | None, typer.Option("--tz-b", metavar="ZONE", help="Of the second file; else --tz.")] = None,
    exclude_sealed: ExcludeSealed = False,
    as_json: JsonOption = False,
) -> None:
    """Compare bars of the time that both files cover: each field, bars that one lacks, and whether one is late."""
    from mia.backtest.data.comparing import compare as look
    from mia.backtest.data.resample import interval_text
    from mia.backtest.readers import read_candles
    from mia.cli.output import print_json, print_pairs, print_table

    sealed: Sealed = "exclude" if exclude_sealed else "refuse"
    found = look(
        read_candles([a], tz=tz, sealed=sealed),
        read_candles([b], tz=tz_b or tz, sealed=sealed),
    )
    if as_json:
        print_json(found)
        return
    say(found.notes)
    lag = f"correlation {found.lag_correlation:.4f}"
    late = abs(found.lag_bars) * found.interval_ns // 10**9
    print_pairs(
        [
            ("a, b", f"{found.a}, {found.b}; bars of {interval_text(found.interval_ns)}"),
            ("span of both", f"{utc_text(found.first_ns)} to {utc_text(found.last_ns)} UTC (open)"),
            ("bars in both", str(found.common)),
            ("only in a", _lone(found.only_a, found.only_a_rows)),
            ("only in b", _lone(found.only_b, found.only_b_rows)),
            ("returns", f"correlation {found.correlation:.4f} bar to bar"),
            (
                "lag",
                f"none ({lag})"
                if not found.lag_bars
                else f"b is {abs(found.lag_bars)} bars ({late // 3600} h {late % 3600 // 60} min) "
                f"{'later' if found.lag_bars > 0 else 'earlier'} than a ({lag}): another time zone, or labels at the other end of the bar",
            ),
        ]
    )
    head = ("field", "equal", "mean |b - a|", "bps", "max |b - a|", "where it is", "row a", "row b", "a", "b")
    rows = [
        (f.field, f"{f.share_equal:.2%}", f"{f.mean_abs:.6g}",
         "-" if f.mean_abs_bps is None else f"{f.mean_abs_bps:.3f}", f"{f.max_abs:.6g}",
         utc_text(f.worst_ns), str(f.worst_row_a), str(f.worst_row_b), f"{f.worst_a:.10g}", f"{f.worst_b:.10g}")
        for f in found.fields
    ]  # fmt: skip
    if rows:
        print_table(head, rows, right=("equal", *head[2:5], *head[6:]))


def _lone(count: int, rows: list[int]) -> str:
    return str(count) if not count else f"{count} (rows {', '.join(map(str, rows[:8]))}{', ...' if count > 8 else ''})"
