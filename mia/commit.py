"""The git commit that the running code comes from: of its checkout, or the one that was written into the wheel when it was built."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

UNKNOWN: Final = "unknown"
_HERE: Final = Path(__file__).resolve().parent
_SHA: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_LINKS_MAX: Final = 5  # a ref may name a ref


@cache
def git_commit() -> str:
    """40 (or 64) hex digits, or "unknown": neither a checkout nor a wheel that was built in one. What was changed since is not told."""
    recorded = _text(_HERE / "_shipped" / "commit")
    return recorded if _SHA.fullmatch(recorded) else commit_of(_HERE.parent)


def commit_of(checkout: Path) -> str:
    """The commit that a checkout has out, read from its files: git need not be there. A folder merely below a repository has none."""
    folder = checkout / ".git"
    if folder.is_file():  # a work tree of its own: "gitdir: PATH"
        folder = checkout / _text(folder).removeprefix("gitdir:").strip()
    common = folder / (_text(folder / "commondir") or ".")
    head = _text(folder / "HEAD")
    for _ in range(_LINKS_MAX):
        if _SHA.fullmatch(head):
            return head
        ref = head.removeprefix("ref:").strip()
        if not ref or ref == head:
            break
        head = _text(folder / ref) or _text(common / ref) or _packed(common, ref)
    return UNKNOWN


def _packed(folder: Path, ref: str) -> str:
    for line in _text(folder / "packed-refs").splitlines():
        sha, _, name = line.partition(" ")
        if name == ref:
            return sha
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
