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
    from mia.assemble import calendar_files
    from mia.backtest.report import page, view_of
    from mia.backtest.report.verdict import overall
    from mia.backtest.run.artifacts import read
    from mia.backtest.run.counting import seals_of, trials_of
    from mia.backtest.run.find import find_run
    from mia.backtest.run.stored import stored
    from mia.cli.output import print_json
    from mia.domain.errors import DataError
    from mia.risk.windows import load_windows

    folder = find_run(run)
    others = [stored(read(find_run(other))) for other in against or ()]
    shown = stored(read(folder))
    view = view_of(
        shown, load_windows(*calendar_files()), against=others, trials=trials_of(shown.facts), seals=seals_of(shown.facts), samples=samples
    )
    file = out or folder / "report.html"
    try:
        file.write_text(page(view), encoding="utf-8")
    except OSError as e:
        raise DataError(f"{file}: cannot be written: {e.strerror or e}") from None
    word, sentence = overall(view.answers)
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
