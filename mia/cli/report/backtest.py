"""`mia report backtest`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mia.cli.places import JsonOption


def report_backtest(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, or the first digits of its id: mia backtest runs.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The page; else report.html in the run's folder.")] = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", metavar="RUN", help="Another run as a baseline, ema_cross say; may be repeated.")
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", metavar="N", min=0, max=100_000, help="Resamples behind each interval; 0: none.")
    ] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page: in words whether the run made money after costs and how sure that is, then everything behind it."""
    from mia.backtest.report.file import write_page
    from mia.backtest.run.find import find_run
    from mia.cli.output import print_json

    folder = find_run(run)
    file = out or folder / "report.html"
    view, word, sentence = write_page(folder, file, [find_run(other) for other in against or ()], samples)
    if as_json:
        print_json(
            {
                "page": str(file),
                "run": view.facts["id"],
                "answer": word,
                "sentence": sentence,
                "answers": view.answers,
                "summary": view.summary,
            }
        )
        return
    print(f"{word[:1].upper()}{word[1:]}. {sentence}\n{file}")
