"""Builds the compiled modules, and puts config/, models/ and systemd/ into the wheel; all else is in pyproject.toml.

A compiled source is a copy (under build/kernels) with the digests of its original appended, so that a stale extension
can be recognised. Without a C compiler the build still succeeds and the .py sources run interpreted.
"""

import hashlib
import importlib.util
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "mia"
STAGE = Path("build", "kernels")  # relative: setuptools refuses absolute sources
SHARED = "mia.kernels._cyutility"  # what Cython would else put into every module: most of the code, and of the time to compile it
SHIPPED = ("config", "models", "systemd")
FLAGS = ["-O2", "-g0", "-ffp-contract=off", *os.environ.get("MIA_XCFLAGS", "").split()]
DIRECTIVES = {"language_level": "3", "boundscheck": False, "wraparound": False, "cdivision": False, "initializedcheck": False}


def load(name: str) -> ModuleType:
    """A module below mia/ by its path: mia itself is not importable in an isolated build."""
    spec = importlib.util.spec_from_file_location(f"mia_{name.replace('/', '_')}", PACKAGE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_if_changed(path: Path, data: bytes) -> None:
    """Keep the time stamp of an unchanged file, so that it is not compiled again; replace at once for builds side by side."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    draft.replace(path)


def stage() -> list[Extension]:
    """Bring the staging tree up to date; return one extension for each compiled source."""
    digests = load("kernels/digests")
    recipe = hashlib.sha256(repr((Path(__file__).read_bytes(), Cython.__version__, FLAGS)).encode()).hexdigest().encode()
    if not (STAGE / "recipe").is_file() or (STAGE / "recipe").read_bytes() != recipe:
        shutil.rmtree(STAGE, ignore_errors=True)
    write_if_changed(STAGE / "recipe", recipe)
    for pxd in PACKAGE.rglob("*.pxd"):
        write_if_changed(STAGE / pxd.relative_to(ROOT), pxd.read_bytes())
    for stale in set(STAGE.rglob("*.pxd")) - {STAGE / pxd.relative_to(ROOT) for pxd in PACKAGE.rglob("*.pxd")}:
        stale.unlink(missing_ok=True)
    extensions = []
    for source in digests.compiled_sources(PACKAGE):
        staged = STAGE / source.relative_to(ROOT)
        for folder in staged.relative_to(STAGE).parents[:-1]:
            write_if_changed(STAGE / folder / "__init__.py", b"")
        trailer = f'\nSOURCE_SHA256 = "{digests.source_sha256(source)}"\n'
        trailer += f'DECLARATIONS_SHA256 = "{digests.declarations_sha256(PACKAGE, source)}"\n'
        write_if_changed(staged, source.read_bytes() + trailer.encode())
        extensions.append(Extension(digests.module_name(PACKAGE, source), [str(staged)], extra_compile_args=FLAGS))
    return extensions


def shared_utility() -> Extension:
    """Cython's own code for views of memory, once for all modules."""
    source = STAGE / Path(*SHARED.split(".")).with_suffix(".c")
    if not source.is_file():
        subprocess.run([sys.executable, "-m", "cython", f"--generate-shared={source}"], check=True)
    return Extension(SHARED, [str(source)], extra_compile_args=FLAGS)


class BuildPy(build_py):
    """Adds mia/_shipped and the commit that it is of; an editable install reads the checkout instead (mia/shipped.py)."""

    def run(self) -> None:
        """Copy the packages, then the shipped folders."""
        super().run()
        if not self.editable_mode:
            for folder in filter(os.path.isdir, SHIPPED):
                target = Path(self.build_lib, "mia", "_shipped", folder)
                shutil.rmtree(target, ignore_errors=True)
                shutil.copytree(ROOT / folder, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            Path(self.build_lib, "mia", "_shipped", "commit").write_text(f"{load('commit').commit_of(ROOT)}\n", encoding="ascii")


def compiled_modules() -> list[Extension]:
    """The extensions, translated to C; each optional, so that a failing compiler does not fail the build.

    cythonize() would translate all again whenever Cython's own files look newer, as they do in every new environment;
    the staged source and the recipe hold all that the C depends on, so a stamp of them decides.
    """
    modules = stage()
    todo = []
    for module in modules:
        source = Path(module.sources[0])
        stamp = hashlib.sha256(source.read_bytes()).hexdigest().encode()
        done = source.with_suffix(".done")
        if done.is_file() and done.read_bytes() == stamp and source.with_suffix(".c").is_file():
            module.sources = [str(source.with_suffix(".c"))]
        else:
            done.unlink(missing_ok=True)
            todo.append((module, done, stamp))
    workers = (os.cpu_count() or 1) if multiprocessing.get_start_method() == "fork" else 0
    translated = cythonize(
        [module for module, _, _ in todo], include_path=[str(STAGE)], nthreads=workers, force=True, compiler_directives=DIRECTIVES,
        shared_utility_qualified_name=SHARED,
    )  # fmt: skip
    sources = {result.name: result.sources for result in translated}
    for module, done, stamp in todo:
        module.sources = sources[module.name]
        write_if_changed(done, stamp)
    modules = [shared_utility(), *modules]
    for module in modules:
        module.optional = True  # cythonize() drops it when it is given earlier
    return modules


os.chdir(ROOT)
setup(
    ext_modules=compiled_modules(),
    cmdclass={"build_py": BuildPy},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
