"""What a compiled module was made from: the digests that the build writes into it and that a running process compares.

Standard library only, and nothing of ours: setup.py loads this file by its path, before MIA is installed.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_IMPORTS_CYTHON = re.compile(rb"^import cython$", re.MULTILINE)
_CIMPORT = re.compile(rb"(?:cython\.cimports\.|^\s*from\s+|^\s*cimport\s+)(mia(?:\.\w+)+)", re.MULTILINE)


def compiled_sources(package: Path) -> list[Path]:
    """The sources that the build compiles: kernels/*.py and venues/*/wire.py that import cython. package: the folder `mia`."""
    candidates = sorted([*package.glob("kernels/*.py"), *package.glob("venues/*/wire.py")])
    return [path for path in candidates if _IMPORTS_CYTHON.search(path.read_bytes())]


def module_name(package: Path, source: Path) -> str:
    """Dotted name of a source below the folder `mia`."""
    return ".".join(["mia", *source.relative_to(package).with_suffix("").parts])


def source_sha256(source: Path) -> str:
    """Hex digest of the .py; compiled in as SOURCE_SHA256."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def declarations_sha256(package: Path, source: Path) -> str:
    """Hex digest of every .pxd that decides the memory layout of this module; compiled in as DECLARATIONS_SHA256.

    A module compiled against an older layout of another one reads the wrong memory, although its own source is unchanged.
    """
    digest = hashlib.sha256()
    todo, seen = [source.with_suffix(".pxd")], {source}
    for match in _CIMPORT.findall(source.read_bytes()):
        todo.append(_declaration(package, match))
    while todo:
        path = todo.pop(0)
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        text = path.read_bytes()
        digest.update(path.name.encode() + b"\0" + text + b"\0")
        todo.extend(_declaration(package, match) for match in _CIMPORT.findall(text))
    return digest.hexdigest()


def _declaration(package: Path, dotted: bytes) -> Path:
    return package.joinpath(*dotted.decode().split(".")[1:]).with_suffix(".pxd")
