"""The wheel: complete, and running in an empty environment with an empty home, from `/`, with and without a compiler.

Dependencies come from the environment that runs the tests (a .pth file), so that nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.wheel, pytest.mark.timeout(240)]

ROOT: Final = Path(__file__).resolve().parents[2]
NOT_SOURCE: Final = shutil.ignore_patterns(
    ".venv*", ".git", ".*_cache", ".hypothesis", "__pycache__", "*.so", "*.egg-info", "build", "dist", "state"
)
SHIPPED: Final = ("config", "models", "systemd")

# Commands of an installation that must work from `/` with an empty home; `{home}` is that home. Each exits 0.
COMMANDS: Final[list[list[str]]] = [
    ["python", "-c", "from mia.shipped import config_file, model_dir; print(config_file('miad.toml').stat(), model_dir('').is_dir())"],
    ["python", "-c", "from mia.kernels.build_info import require_fresh; require_fresh()"],
    ["miad", "--paper", "--duration", "1", "--state", "{home}/state"],
    ["mia", "replay", "{home}/state"],
    ["mia", "models", "check", "demo"],
    ["mia", "install", "--systemd"],
    ["mia", "db", "tables", "--state", "{home}/state"],
]


class Installed(NamedTuple):
    """A wheel in an environment of its own."""

    wheel: Path
    bin: Path
    home: Path

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """Run from `/`; a failure shows what the command said."""
        result = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd="/",
            env={"HOME": str(self.home), "PATH": f"{self.bin}:/usr/bin:/bin", "LANG": "C.UTF-8"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert result.returncode == 0, f"{command}: exit {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result.stdout


def _python(*arguments: str, cwd: Path, **environment: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIA", "PYTHON", "PIP_CONSTRAINT"))}
    result = subprocess.run([sys.executable, *arguments], cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def _install(wheel: Path, folder: Path) -> Installed:
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    _python("-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel), cwd=folder)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    Path(site.stdout.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    home = folder / "home"
    home.mkdir()
    return Installed(wheel, python.parent, home)


def _reuse(source: Path, *patterns: str) -> None:
    """Spare a copy the minutes of translating and compiling what the checkout has built; the build looks at digests itself."""
    for built in (path for pattern in patterns for path in (ROOT / "build").glob(pattern)):
        shutil.copytree(built, source / "build" / built.name)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from a copy of the checkout; objects of the checkout are used again where their sources are the same."""
    folder = tmp_path_factory.mktemp("compiled")
    shutil.copytree(ROOT, folder / "source", ignore=NOT_SOURCE)
    _reuse(folder / "source", "kernels", "lib*")
    _python("-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), cwd=folder / "source")
    return _install(next(folder.glob("*.whl")), folder)


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from the source distribution on a machine whose compiler fails."""
    folder = tmp_path_factory.mktemp("interpreted")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_SOURCE)
    _reuse(folder / "checkout", "kernels")
    _python("-m", "build", "--no-isolation", "--sdist", "--outdir", str(folder), cwd=folder / "checkout")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source = next(path for path in folder.glob("mia-*") if path.is_dir())
    _reuse(source, "kernels")
    _python("-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder), cwd=source, CC="/bin/false", CXX="/bin/false")
    return _install(next(folder.glob("*.whl")), folder)


def _names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def _modules() -> set[str]:
    """Every module of ours, by its path in the wheel."""
    packages = {"mia": ROOT / "mia", "miad": ROOT / "daemon" / "miad"}
    return {f"{name}/{path.relative_to(folder)}" for name, folder in packages.items() for path in folder.rglob("*.py")}


@pytest.mark.parametrize("kind", ["compiled", "interpreted"])
def test_wheel_holds_our_modules_and_nothing_else(kind: str, request: pytest.FixtureRequest) -> None:
    names = _names(request.getfixturevalue(kind).wheel)

    assert {name for name in names if name.endswith(".py")} == _modules()
    assert not [name for name in names if name.endswith((".c", ".pxd", ".o", ".pyc"))]
    assert [name for name in names if name.endswith("/LICENSE")]


@pytest.mark.parametrize("kind", ["compiled", "interpreted"])
def test_wheel_holds_the_shipped_folders(kind: str, request: pytest.FixtureRequest) -> None:
    archive = zipfile.ZipFile(request.getfixturevalue(kind).wheel)
    expected = {
        f"mia/_shipped/{path.relative_to(ROOT)}": path.read_bytes()
        for folder in SHIPPED
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }

    found = {name: archive.read(name) for name in archive.namelist() if name.startswith("mia/_shipped/")}
    assert re.fullmatch(rb"([0-9a-f]{40}|unknown)\n", found.pop("mia/_shipped/commit"))
    assert found == expected


def test_compiled_wheel_runs_every_kernel_compiled(compiled: Installed) -> None:
    states = compiled.run("python", "-c", "from mia.kernels.build_info import *; print(*(b.state for b in kernel_builds()))")

    assert set(states.split()) == {"compiled"}


def test_wheel_without_a_compiler_runs_every_kernel_interpreted(interpreted: Installed) -> None:
    states = interpreted.run("python", "-c", "from mia.kernels.build_info import *; print(*(b.state for b in kernel_builds()))")

    assert not [name for name in _names(interpreted.wheel) if name.endswith(".so")]
    assert set(states.split()) == {"interpreted"}


def test_wheel_without_a_compiler_passes_the_kernel_tests(interpreted: Installed) -> None:
    folders = [str(path) for path in (ROOT / "tests/unit/kernels", ROOT / "tests/property/kernels") if path.is_dir()]

    # -P: our modules come from the installation, not from the checkout.
    interpreted.run("python", "-P", "-m", "pytest", "-q", "-m", "not slow and not root", "-p", "no:cacheprovider", *folders, timeout_s=180)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:60])
@pytest.mark.parametrize("kind", ["compiled", "interpreted"])
def test_command_works_from_the_root_folder_with_an_empty_home(kind: str, command: list[str], request: pytest.FixtureRequest) -> None:
    installed = request.getfixturevalue(kind)

    installed.run(*(part.replace("{home}", str(installed.home)) for part in command))
