"""The table of refusal codes for the documentation, generated from the enum: `python -m mia.risk.codes_doc > docs/refusal_codes.md`."""

from __future__ import annotations

import sys

from mia.domain.codes import Code

_HEAD = """# Refusal codes

Generated from `mia/domain/codes.py` by `python -m mia.risk.codes_doc`; do not edit. They appear in the decision log, in
`mia history` and in summaries. "shrinks": the order went out smaller than asked; "refuses": it did not go out. Nothing
but a missing or stale quote and a kill refuses an order that reduces a position.

| code | effect | meaning |
|---|---|---|
"""


def table() -> str:
    """The page as Markdown text, ending in a newline."""
    rows = (f"| `{code.value}` | {_effect(code)} | {code.explanation} |\n" for code in Code)
    return _HEAD + "".join(rows)


def _effect(code: Code) -> str:
    if code is Code.OK:
        return "none"
    return "shrinks" if code.shrinks else "refuses"


if __name__ == "__main__":
    sys.stdout.write(table())
