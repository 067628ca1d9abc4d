"""`mia backtest seal | unseal | seals`: the holdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mia.cli.places import JsonOption, instant

if TYPE_CHECKING:
    from mia.backtest.validation.seal_match import Seal


def seal(
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="Such as 2025-01-01, or with a time: 2025-01-01T12:00Z; UTC.")],
    to: Annotated[str, typer.Option("--to", metavar="DATE", help="Exclusive; UTC.")],
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="FILE", help="Candles or a recording, and copies of it; may be repeated.")
    ] = None,
    instrument: Annotated[
        list[str] | None, typer.Option("--instrument", metavar="SYM", help="Any file that names it, at any venue; may be repeated.")
    ] = None,
    tz: Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="Of candle times that state none.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Seal a span: grid, mia-train, optimise and our readers refuse its rows from now on. Live trading does not ask."""
    from mia.backtest.readers import file_sha256, is_candle_file, read_for_seal
    from mia.backtest.stats.registry import counted
    from mia.backtest.trials import Registry
    from mia.backtest.validation.seal import SealLog
    from mia.cli.output import print_json, print_note
    from mia.domain.errors import DataError

    from_ns, to_ns = instant("--from", since), instant("--to", to)
    files = {file_sha256(path): path.name for path in data or ()}
    bars = None
    if candles := [path for path in data or () if is_candle_file(path)]:
        read = read_for_seal(candles, tz=tz)
        bars = read.reading
        if from_ns < to_ns and not ((bars.begin_ns < to_ns) & (bars.end_ns > from_ns)).any():
            raise DataError(f"{read.name}: holds no row from {since} to {to}: nothing would be sealed")
    log = SealLog()
    made = log.seal(from_ns, to_ns, files=files, instruments=instrument or (), bars=bars)
    with Registry() as registry:
        seen = registry.count(data=sorted(log.related(files)), span=(from_ns, to_ns - 1)).trials if files else 0
    if as_json:
        print_json({"seal": _facts(made), "trials_before": seen})
        return
    print(f"sealed {made.text}")
    if seen:
        print_note(f"{counted(seen, 'trial')} read rows of this span before: for what they chose it is no holdout")


def unseal(
    seal_id: Annotated[str, typer.Argument(metavar="SEAL", help="Its id, as mia backtest seals shows it.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; every later report on this data repeats it.")],
    as_json: JsonOption = False,
) -> None:
    """Open a sealed span for good. There is no way back: what was seen cannot be unseen."""
    from mia.backtest.validation.seal import SealLog
    from mia.cli.output import print_json

    opened = SealLog().unseal(seal_id, reason)
    if as_json:
        print_json(_facts(opened))
        return
    print(f"opened {opened.text}: {opened.reason}")


def seals(as_json: JsonOption = False) -> None:
    """List seals: what is sealed, and what was opened when, by whom and why."""
    from mia.backtest.validation.seal import SealLog
    from mia.cli.output import print_json, print_note, print_table

    found = SealLog().seals()
    if as_json:
        print_json([_facts(s) for s in found])
        return
    if not found:
        print_note("nothing is sealed")
        return
    rows = [
        (s.id, _utc(s.from_ns), _utc(s.to_ns), f"{s.by} {_utc(s.at_ns)}",
         f"opened by {s.opened_by} {_utc(s.opened_ns)}: {s.reason}" if s.opened_ns is not None else "sealed",
         ", ".join([*s.instruments, *s.files.values()]))
        for s in found
    ]  # fmt: skip
    print_table(("seal", "from UTC", "to UTC", "made by", "state", "of"), rows)


def _facts(s: Seal) -> dict[str, object]:
    import msgspec

    return {k: v for k, v in msgspec.to_builtins(s).items() if k != "marks"}


def _utc(ns: int) -> str:
    from mia.backtest.readers import utc

    return utc(ns)[:16]
