"""`mia backtest docs`: the page on statistics, printed or written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mia.backtest.stats.catalogue import STATISTICS
from mia.cli.backtest.docs_verb import docs


def test_the_page_has_a_row_for_every_statistic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs()
    printed = capsys.readouterr().out
    docs(tmp_path / "page.md")

    assert (tmp_path / "page.md").read_text(encoding="utf-8") == printed
    for statistic in STATISTICS:
        assert sum(line.startswith(f"| `{statistic.name}`") for line in printed.splitlines()) == 1
