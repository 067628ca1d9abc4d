"""A stale extension silently wins over its edited source: these tests notice."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

import mia
from mia.domain.errors import FailStop
from mia.kernels import build_info, digests

PACKAGE: Final = build_info.PACKAGE  # of the installation under test: the checkout, or a wheel
SOURCES: Final = digests.compiled_sources(PACKAGE)


def _twin(package: Path, source: Path, **changes: str) -> ModuleType:
    """What a module compiled from `source` would say of itself."""
    module = ModuleType("twin")
    module.__file__ = str(source.with_suffix(".so"))
    stamps = {"SOURCE_SHA256": digests.source_sha256(source), "DECLARATIONS_SHA256": digests.declarations_sha256(package, source)}
    module.__dict__.update({**stamps, **changes})
    return module


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package: `user` is compiled against the layout that child.pxd declares."""
    kernels = tmp_path / "mia" / "kernels"
    kernels.mkdir(parents=True)
    (kernels / "child.py").write_text("import cython\n\nx = 1\n")
    (kernels / "child.pxd").write_text("cdef class Child:\n    cdef double[::1] s\n")
    (kernels / "user.py").write_text("import cython\n\nif cython.compiled:\n    from cython.cimports.mia.kernels.child import Child\n")
    (kernels / "plain.py").write_text("x = 1\n")
    return tmp_path / "mia"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_extension_was_compiled_from_the_source_beside_it(source: Path) -> None:
    module = importlib.import_module(digests.module_name(PACKAGE, source))

    expected = "interpreted" if mia.KERNELS_MODE == "interpreted" or not _has_extension(source) else "compiled"
    assert build_info.state_of(module, PACKAGE, source) == expected


def _has_extension(source: Path) -> bool:
    return any(source.parent.glob(f"{source.stem}.*.so"))


def test_every_compiled_module_is_listed_once() -> None:
    builds = build_info.kernel_builds()

    assert [b.module for b in builds] == [digests.module_name(PACKAGE, source) for source in SOURCES]
    assert builds
    build_info.require_fresh()


def test_only_sources_that_import_cython_are_compiled(package: Path) -> None:
    assert [path.name for path in digests.compiled_sources(package)] == ["child.py", "user.py"]


@pytest.mark.parametrize("name", ["child", "user"])
def test_untouched_source_counts_as_compiled(package: Path, name: str) -> None:
    source = package / "kernels" / f"{name}.py"

    assert build_info.state_of(_twin(package, source), package, source) == "compiled"


def test_edited_source_makes_its_extension_stale(package: Path) -> None:
    source = package / "kernels" / "child.py"
    module = _twin(package, source)

    source.write_text(source.read_text().replace("1", "2"))

    assert build_info.state_of(module, package, source) == "stale"


@pytest.mark.parametrize("name", ["child", "user"])
def test_edited_layout_makes_its_own_and_its_users_extension_stale(package: Path, name: str) -> None:
    source = package / "kernels" / f"{name}.py"
    module = _twin(package, source)

    (package / "kernels" / "child.pxd").write_text("cdef class Child:\n    cdef longlong[::1] s\n")

    assert build_info.state_of(module, package, source) == "stale"


def test_extension_without_digest_is_stale(package: Path) -> None:
    source = package / "kernels" / "child.py"

    assert build_info.state_of(_twin(package, source, SOURCE_SHA256=""), package, source) == "stale"


def test_wheel_without_declarations_is_not_stale(package: Path) -> None:
    source = package / "kernels" / "user.py"
    module = _twin(package, source)

    (package / "kernels" / "child.pxd").unlink()

    assert build_info.state_of(module, package, source) == "compiled"


def test_edited_copy_of_the_package_is_caught_by_a_real_process(tmp_path: Path) -> None:
    compiled = [source for source in SOURCES if _has_extension(source)]
    if not compiled:
        pytest.skip("no compiled kernels here: run `make kernels`")
    shutil.copytree(PACKAGE, tmp_path / "mia", ignore=shutil.ignore_patterns("__pycache__"))
    edited = tmp_path / compiled[0].relative_to(PACKAGE.parent)
    edited.write_text(edited.read_text() + "\n# edited\n")
    script = "from mia.kernels import build_info; print(*build_info.stale_modules())"

    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "MIA_KERNELS": "compiled"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.split() == [digests.module_name(PACKAGE, compiled[0])]


def test_stale_modules_stop_the_start_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_info, "kernel_builds", lambda: [build_info.KernelBuild("mia.kernels.x", "stale")])

    with pytest.raises(FailStop, match=r"mia\.kernels\.x.*make kernels"):
        build_info.require_fresh()
