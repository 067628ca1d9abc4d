"""A run's directory -> its page in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mia.assemble import calendar_files
from mia.backtest.report.page import page
from mia.backtest.report.verdict import overall
from mia.backtest.report.view import View, view_of
from mia.backtest.run.artifacts import read
from mia.backtest.run.counting import seals_of, trials_of
from mia.backtest.run.stored import stored
from mia.domain.errors import DataError
from mia.risk.windows import load_windows


def write_page(folder: Path, file: Path, against: Sequence[Path], samples: int) -> tuple[View, str, str]:
    """(what is on it, the answer in a word, in a sentence). It tells the registry and the holdouts as they stand now.

    DataError for a folder that is no run, or when the file cannot be written.
    """
    others = [stored(read(other)) for other in against]
    shown = stored(read(folder))
    view = view_of(
        shown, load_windows(*calendar_files()), against=others, trials=trials_of(shown.facts), seals=seals_of(shown.facts), samples=samples
    )
    try:
        file.write_text(page(view), encoding="utf-8")
    except OSError as e:
        raise DataError(f"{file}: cannot be written: {e.strerror or e}") from None
    return view, *overall(view.answers)
