"""The journal's room: without it nothing opens, and a replay stops, because it would decide by the disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mia.domain.errors import DataError
from mia.domain.events import TradingDisabled, TradingEnabled
from mia.store.settings import StoreSettings
from miad.states import DISK_FULL
from miad.upkeep import Upkeep


def core_on(journal_dir: Path) -> Any:
    """What Upkeep touches of a core, with a journal whose room the test sets."""
    accepted: list[Any] = []
    journal = SimpleNamespace(is_full=False, full_reason="no room here", directory=journal_dir)
    return SimpleNamespace(
        journal=journal, seq=5, engine=SimpleNamespace(state=SimpleNamespace(now_ns=7)), accept=accepted.append, accepted=accepted
    )


def test_openings_stop_while_there_is_no_room_and_go_on_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    core = core_on(tmp_path)
    upkeep = Upkeep(core, StoreSettings(), lambda: 0, is_replay=False)

    for is_full in (False, True, True, False):
        core.journal.is_full = is_full
        upkeep.between()

    assert [type(e) for e in core.accepted] == [TradingDisabled, TradingEnabled]
    assert core.accepted[0].reason == DISK_FULL
    assert "no room here" in caplog.text


def test_a_replay_without_room_stops(tmp_path: Path) -> None:
    core = core_on(tmp_path)
    upkeep = Upkeep(core, StoreSettings(), lambda: 0, is_replay=True)
    core.journal.is_full = True

    with pytest.raises(DataError, match="no room here"):
        upkeep.between()

    assert core.accepted == []
