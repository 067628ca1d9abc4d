"""Generated pages are what their generators give, and leave no key or column unexplained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mia.cli.docs import codes, configuration, files, pages
from mia.domain.codes import Code
from mia.settings import load_settings

DOCS = Path(__file__).resolve().parents[3] / "docs"
Mia = Callable[..., Any]


@pytest.mark.parametrize("name", ["configuration", "features", "files", "refusal_codes", "statistics", "strategies"])
def test_page_is_current(name: str) -> None:
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == pages()[name](), "run: mia docs build"


def test_every_setting_has_a_meaning() -> None:
    assert [f"{s.name} {row.key}" for s in configuration.sections() for row in s.rows if not row.meaning] == []


def test_every_setting_of_the_loaded_tree_is_on_the_page() -> None:
    listed = {f"{section.name.strip('`[]')}.{row.key}" for section in configuration.sections() for row in section.rows}
    loaded = {key.split("[")[0] + key.partition("]")[2] if "[" in key else key for key in load_settings(environ={}).values()}
    tables = {key for key in listed if any(other.startswith(f"{key}.") for other in loaded)}  # a table's own keys are the user's

    assert {key for key in loaded if not any(key.startswith(f"{table}.") for table in tables)} - listed == set()


def test_every_column_is_explained_and_no_explanation_is_left_over() -> None:
    used = {column for _, _, _, columns, _ in files.described() for column in columns}
    own = {column for _, column in files._BY_FILE}

    assert used - set(files.COLUMNS) - own == set()
    assert set(files.COLUMNS) - used == set()


def test_every_code_has_a_line_with_an_explanation() -> None:
    for code in Code:
        assert f"| `{code.value}` |" in codes.page()
        assert code.explanation.endswith(".")


def test_build_writes_what_changed_and_check_tells(tmp_path: Path, mia: Mia) -> None:
    before = mia("docs", "build", "--check", "--to", tmp_path)
    built = mia("docs", "build", "--to", tmp_path)
    after = mia("docs", "build", "--check", "--to", tmp_path)

    assert (before.code, built.code, after.code) == (1, 0, 0)
    assert {path.stem for path in tmp_path.iterdir()} == set(pages())


def test_a_page_can_be_read_and_an_unknown_one_is_refused(mia: Mia) -> None:
    assert mia("docs", "show", "refusal_codes").out == codes.page()
    assert mia("docs", "show", "nothing").code == 2
