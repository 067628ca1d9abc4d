"""Running a model tells nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_model_runtime_reports_nothing_and_leaves_nothing_in_the_home(tmp_path: Path) -> None:
    """ONNX Runtime's own reporting begins at its import; it then keeps an identifier in the home folder."""
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}

    result = subprocess.run(
        [sys.executable, "-c", "import mia.policy.bundle"], env=environment, cwd="/", capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.rglob("*")) == []
