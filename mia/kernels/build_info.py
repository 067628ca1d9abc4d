"""Which of the compiled modules run compiled, which interpreted, and which are stale: compiled from another source.

A stale extension silently wins over an edited .py. `mia doctor`, `miad` and the tests ask here.
Wire codecs (mia/venues/*/wire.py) are compiled the same way, so they are looked at too, by name only.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, NamedTuple

from mia.domain.errors import FailStop
from mia.kernels import digests

State = Literal["compiled", "interpreted", "stale"]
PACKAGE: Final = Path(__file__).resolve().parents[1]


class KernelBuild(NamedTuple):
    """One module and how it runs."""

    module: str
    state: State


def kernel_builds() -> list[KernelBuild]:
    """Every module that the build compiles, imported, in order of name; one that does not load counts as stale."""
    builds = []
    for source in digests.compiled_sources(PACKAGE):
        name = digests.module_name(PACKAGE, source)
        try:
            module = sys.modules.get(name) or importlib.import_module(name)
        except ImportError:
            builds.append(KernelBuild(name, "stale"))
        else:
            builds.append(KernelBuild(name, state_of(module, PACKAGE, source)))
    return builds


def state_of(module: ModuleType, package: Path, source: Path) -> State:
    """How a loaded module runs, judged against the source it should be made from."""
    if (module.__file__ or "").endswith(".py"):
        return "interpreted"
    if getattr(module, "SOURCE_SHA256", "") != digests.source_sha256(source):
        return "stale"
    # A wheel ships no .pxd: there the layouts cannot have changed since the build.
    has_declarations = any((package / "kernels").glob("*.pxd"))
    if has_declarations and getattr(module, "DECLARATIONS_SHA256", "") != digests.declarations_sha256(package, source):
        return "stale"
    return "compiled"


def stale_modules() -> list[str]:
    """Names of modules whose extension was compiled from another source."""
    return [build.module for build in kernel_builds() if build.state == "stale"]


def interpreted_modules() -> list[str]:
    """Names of modules that run from their .py: right, and some hundred times slower."""
    return [build.module for build in kernel_builds() if build.state == "interpreted"]


def require_fresh() -> None:
    """FailStop naming the stale modules, if there are any."""
    if stale := stale_modules():
        raise FailStop(f"compiled modules do not match their sources: {', '.join(stale)}; run `make kernels` or reinstall mia")
