"""MIA: a live trading daemon for learned policies.

MIA_KERNELS=interpreted makes every compiled module run from its .py source instead (the fallback, and the oracle).
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

__version__: Final = "0.1.0"


class _SourceFinder(importlib.abc.MetaPathFinder):
    """Finds the .py of modules whose compiled twin would win otherwise."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("mia.") or path is None:
            return None
        for folder in path:
            source = Path(folder) / f"{fullname.rpartition('.')[2]}.py"
            if source.is_file():
                return importlib.util.spec_from_file_location(fullname, source)
        return None


# ONNX Runtime 1.31 otherwise writes an identifier into ~/.cache/Microsoft and reports its use over the network. Read at its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

KERNELS_MODE: Final = os.environ.get("MIA_KERNELS", "compiled")
if KERNELS_MODE not in ("compiled", "interpreted"):
    raise ImportError(f"MIA_KERNELS={KERNELS_MODE!r}: use 'compiled' (default) or 'interpreted'")
if KERNELS_MODE == "interpreted":
    sys.meta_path.insert(0, _SourceFinder())
