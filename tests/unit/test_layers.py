"""The layers of the code, checked from the sources (import-linter) and from what a started daemon has really loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
HEAVY: Final = ("torch", "stable_baselines3", "gymnasium", "pandas", "numba", "polars", "ccxt", "typer", "rich", "pydantic", "sqlite_utils")
# What a daemon that is about to trade has imported; parts that do not exist are not asked for.
LIVE: Final = (
    "miad",
    "miad.app",
    "mia.settings",
    "mia.engine",
    "mia.ports",
    "mia.features",
    "mia.policy",
    "mia.risk",
    "mia.execution",
    "mia.store",
)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])}


def test_imports_point_one_way() -> None:
    """The contracts of pyproject.toml; the output names the chain that broke one."""
    linter = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"

    result = subprocess.run(
        [sys.executable, "-c", linter, "--no-cache"], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("module", LIVE)
def test_live_code_loads_no_heavy_library(module: str) -> None:
    script = f"import sys, {module}; print(*(m for m in {HEAVY!r} if m in sys.modules))"

    result = subprocess.run([sys.executable, "-c", script], env=_environment(), capture_output=True, text=True, check=True)

    assert result.stdout.split() == []
