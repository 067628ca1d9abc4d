"""Where tests find recordings: MIA_DATA, else ../shared/data/market beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of real recordings; absent it is a skip with a reason, under CI=true a failure."""
    folder = Path(os.environ.get("MIA_DATA") or ROOT.parent / "shared" / "data" / "market")
    if not folder.is_dir():
        reason = f"recordings not found at {folder}: set MIA_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
