"""Commands of the operator: what is durable before it is answered, and what an error leaves as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mia.control.messages import Request
from mia.domain.errors import NotPermitted
from mia.domain.events import AnyEvent
from miad.commands import Commands
from miad.core import Core
from miad.starts import KillFlag, Starts
from miad.states import Health, StateKeeper
from tests.unit.daemon.test_core import names, started


class Operated:
    """A core that trades, with its commands in front of it."""

    def __init__(self, folder: Path, *, is_replay: bool = False) -> None:
        self.core: Core = started()
        self.flag = KillFlag(folder)
        self.starts = Starts(folder)
        self.keeper = StateKeeper(lambda: self.core.engine.state, Health(), lambda condition, severity: None)
        self.keeper.stage = "running"
        self.flag_when_told: list[str | None] = []
        self._commands = Commands(
            self._tell, self.core.journal, self.keeper, None, self.flag, self.starts, lambda: ["no setting changed"], is_replay=is_replay,  # type: ignore[arg-type]
        )  # fmt: skip

    def _tell(self, event: AnyEvent) -> None:
        self.flag_when_told.append(self.flag.reason)
        self.core.report(event, self.core.engine.state.now_ns)

    def __call__(self, verb: str, **args: Any) -> Any:
        return self._commands(Request(verb=verb, args=args)).result

    @property
    def synced(self) -> int:
        return self.core.journal.log.count("sync")  # type: ignore[attr-defined,no-any-return]


def test_a_kill_is_on_the_disk_before_the_engine_hears_of_it(tmp_path: Path) -> None:
    mia = Operated(tmp_path)

    done = mia("kill", reason="fat finger")

    assert (done.before, done.after) == ("READY", "KILLED")
    assert mia.flag_when_told == ["fat finger"]
    assert mia.synced == 1


def test_a_kill_flag_that_cannot_be_written_does_not_hold_up_the_kill(tmp_path: Path) -> None:
    mia = Operated(tmp_path)
    (tmp_path / "killed").mkdir()

    assert mia("kill").after == "KILLED"


def test_a_reset_that_would_not_last_changes_nothing(tmp_path: Path) -> None:
    mia = Operated(tmp_path)
    mia("kill")
    (tmp_path / "killed").unlink()
    (tmp_path / "killed").mkdir()  # cannot be removed as a file

    with pytest.raises(NotPermitted, match="stays so"):
        mia("resume", reset=True)

    assert mia.keeper.look().word == "KILLED"
    assert "Resume" not in names(mia.core)


def test_a_reset_ends_a_kill_for_good(tmp_path: Path) -> None:
    mia = Operated(tmp_path)
    mia("kill")
    with pytest.raises(NotPermitted, match="--reset"):
        mia("resume")

    done = mia("resume", reset=True)

    assert (done.before, done.after) == ("KILLED", "READY")
    assert mia.flag.reason is None


def test_a_kill_while_stopping_holds_for_the_next_start(tmp_path: Path) -> None:
    mia = Operated(tmp_path)
    mia.keeper.stage = "stopping"

    done = mia("kill", reason="too late?")

    assert "next start is KILLED" in done.follows
    assert KillFlag(tmp_path).reason == "too late?"
    with pytest.raises(NotPermitted, match="stopping"):
        mia("resume", reset=True)


@pytest.mark.parametrize("verb", ["pause", "resume", "flatten", "kill", "reload"])
def test_a_replay_takes_no_command(tmp_path: Path, verb: str) -> None:
    mia = Operated(tmp_path, is_replay=True)

    with pytest.raises(NotPermitted, match="replay"):
        mia(verb)

    assert mia.flag.reason is None


def test_the_operators_words_are_one_printable_line(tmp_path: Path) -> None:
    mia = Operated(tmp_path)

    done = mia("pause", reason="a\nb\x1b[31m" + "c" * 1000)

    assert done.reasons[0].startswith("paused (a b [31mccc")
    assert len(mia.core.engine.state.paused) <= 200


def test_a_command_during_the_start_says_when_it_counts(tmp_path: Path) -> None:
    mia = Operated(tmp_path)
    mia.keeper.stage = "starting"

    assert "before its first decision" in mia("kill").follows
    mia.keeper.stage = "running"
    assert mia("kill").follows == ""
