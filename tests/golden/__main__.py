"""`python -m tests.golden [--write --reason TEXT]`: what the strategies come to now against the golden file; --write makes it the file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mia.policy.rules import RULES
from tests.golden.lines import FILE, REASONS, differences, lines_of, parse, render, text_digest
from tests.golden.sets import SETS

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """0: nothing differs, or it was written; 1: something differs; 2: no reason, no recordings."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the golden file")
    parser.add_argument("--reason", default="", help="why the results changed; goes into REASONS.md")
    asked = parser.parse_args()
    reason = " ".join(asked.reason.split())
    if asked.write and len(reason) < 10:
        print("--write needs --reason TEXT: a sentence that says why results change (make golden REASON='...')", file=sys.stderr)
        return 2
    folder = Path(os.environ.get("MIA_DATA") or ROOT.parent / "shared" / "data" / "market")
    if not folder.is_dir():
        print(f"{folder}: no recordings there: set MIA_DATA; a part of the file cannot be regenerated", file=sys.stderr)
        return 2
    new = {line.key: line for bar_set in SETS for line in lines_of(bar_set, RULES, folder)}
    said = differences(parse(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}, new)
    print("\n".join(said) or "nothing differs")
    if not said or not asked.write:
        return int(bool(said))
    text = render(new.values())
    FILE.write_text(text, encoding="utf-8")
    with REASONS.open("a", encoding="utf-8") as log:
        log.write(f"- {text_digest(text)} ({len(said)} of {len(new)} lines): {reason}\n")
    print(f"written: {len(said)} of {len(new)} lines differ; look at the diff of {FILE.name} before you commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
