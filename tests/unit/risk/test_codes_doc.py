"""The documentation's table of codes is the enum's."""

from __future__ import annotations

from pathlib import Path

from mia.domain.codes import Code
from mia.risk.codes_doc import table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "refusal_codes.md"


def test_page_of_codes_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run: python -m mia.risk.codes_doc > docs/refusal_codes.md"


def test_every_code_has_a_line_with_an_explanation() -> None:
    for code in Code:
        assert f"| `{code.value}` |" in table()
        assert code.explanation.endswith(".")
