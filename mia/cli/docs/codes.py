"""docs/refusal_codes.md, from the enum."""

from __future__ import annotations

from typing import Final

from mia.domain.codes import Code

_HEAD: Final = """# Refusal codes

Generated from `mia/domain/codes.py` by `mia docs build`; do not edit. They appear in the decision log, in
`mia history` and in summaries. "shrinks": the order went out smaller than asked; "refuses": it did not go out. Nothing
but a missing or stale quote and a kill refuses an order that reduces a position.

| code | effect | meaning |
|---|---|---|
"""


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    return _HEAD + "".join(f"| `{code.value}` | {_effect(code)} | {code.explanation} |\n" for code in Code)


def _effect(code: Code) -> str:
    if code is Code.OK:
        return "none"
    return "shrinks" if code.shrinks else "refuses"
