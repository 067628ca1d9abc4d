"""Where tests find recordings, and the rule that a skip fails under CI=true."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT = Path(__file__).resolve().parent.parent
IN_CI: Final = os.environ.get("CI") == "true"

# Skips that CI accepts: start of the test's id, and why it may be missing there.
PERMITTED_SKIPS: Final[dict[str, str]] = {}


@pytest.fixture(scope="session")
def market_data() -> Path:
    """Folder of real recordings; absent it is a skip with a reason, under CI=true a failure."""
    folder = Path(os.environ.get("MIA_DATA") or ROOT.parent / "shared" / "data" / "market")
    if not folder.is_dir():
        pytest.skip(f"recordings not found at {folder}: set MIA_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_data_home(tmp_path_factory: pytest.TempPathFactory) -> Generator[None, None, None]:
    """What tests score, seal or run never enters the registries of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data_home")))
        yield


def _skip_becomes_failure(report: Any) -> None:
    """Under CI a test that did not run is no proof: turn its report into a failure that keeps the reason."""
    if not (IN_CI and report.skipped) or hasattr(report, "wasxfail") or report.nodeid.startswith(tuple(PERMITTED_SKIPS)):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: a skip fails under CI=true ({reason})"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    """Tests that skip."""
    report = yield
    _skip_becomes_failure(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Modules that skip as a whole (importorskip)."""
    report = yield
    _skip_becomes_failure(report)
    return report
