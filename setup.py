"""Builds the compiled modules: every mia/kernels/*.py that imports cython, and every mia/venues/*/wire.py.

The compiled source is a copy with the sha256 of the original appended, so that a stale extension can be recognised.
Without a C compiler the build still succeeds (optional extensions) and the .py sources run interpreted.
"""

import hashlib
import os
import shutil
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
STAGE = ROOT / "build" / "kernels"


def stage() -> list[Extension]:
    """Copy sources (and .pxd files) into the staging tree; return one extension for each."""
    shutil.rmtree(STAGE, ignore_errors=True)
    sources = sorted([*ROOT.glob("mia/kernels/*.py"), *ROOT.glob("mia/venues/*/wire.py")])
    for folder in ("mia", "mia/kernels", "mia/venues", *(f"mia/venues/{p.parent.name}" for p in ROOT.glob("mia/venues/*/wire.py"))):
        (STAGE / folder).mkdir(parents=True, exist_ok=True)
        (STAGE / folder / "__init__.py").touch()
    for pxd in [*ROOT.glob("mia/kernels/*.pxd"), *ROOT.glob("mia/venues/*/*.pxd")]:
        shutil.copy(pxd, STAGE / pxd.relative_to(ROOT))
    extensions = []
    for source in sources:
        text = source.read_bytes()
        if b"import cython" not in text:
            continue
        staged = STAGE / source.relative_to(ROOT)
        digest = hashlib.sha256(text).hexdigest()
        staged.write_bytes(text + f'\nSOURCE_SHA256 = "{digest}"\n'.encode())
        name = ".".join(source.relative_to(ROOT).with_suffix("").parts)
        flags = ["-O3", "-ffp-contract=off", *os.environ.get("MIA_XCFLAGS", "").split()]
        extensions.append(Extension(name, [str(staged.relative_to(ROOT))], extra_compile_args=flags))
    return extensions


modules = cythonize(
    stage(),
    include_path=[str(STAGE)],
    nthreads=os.cpu_count() or 1,
    compiler_directives={
        "language_level": "3",
        "boundscheck": False,
        "wraparound": False,
        "cdivision": False,
        "initializedcheck": False,
    },
)
for module in modules:
    module.optional = True  # cythonize() drops it: a machine without a compiler gets the interpreted sources
setup(ext_modules=modules)
