"""The door of reference files: rows enter once, when they are known; a bad file is an alert and loses nothing."""

from __future__ import annotations

import asyncio
import os
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.domain.events import AnyEvent, Reference
from mia.references.files import ROWS_MAX
from mia.references.publication import vix_known_ns
from mia.references.settings import ReferenceSettings
from miad.references import ReferenceFiles
from tests.unit.engine.conftest import Rig, Says

HEAD = "DATE,CLOSE\n"
SECOND = 1_000_000_000


def known_ns(day: str) -> int:
    return vix_known_ns(date.fromisoformat(day))


def lines(*rows: tuple[str, float]) -> str:
    return HEAD + "".join(f"{day},{value}\n" for day, value in rows)


class Door:
    """The files, an engine that takes what enters, and a clock that the test sets."""

    def __init__(self, **files: Path) -> None:
        self.rig = Rig(Says(("vix_change_1",)))
        self.settings = ReferenceSettings(**{name: str(path) for name, path in files.items()})  # type: ignore[arg-type]
        self.now_ns = known_ns("2025-06-30")
        self.entered: list[tuple[str, float]] = []
        self.times: list[int] = []
        self.alerts: list[str] = []
        self.restart()

    def restart(self) -> None:
        """A new life: nothing is remembered but what the engine knows."""
        self.door = ReferenceFiles(self.settings, self.rig.engine, lambda severity, code, text: self.alerts.append(text))

    def look(self) -> list[tuple[str, float]]:
        """One look; what entered."""
        before = len(self.entered)
        asyncio.run(self.door.look(self.tell, self.now_ns))
        return self.entered[before:]

    def tell(self, event: AnyEvent) -> None:
        self.report(event, self.now_ns)

    def report(self, event: AnyEvent, ts_ns: int) -> None:
        """As the core does it."""
        assert isinstance(event, Reference)
        state = self.rig.engine.state
        ts_ns = max(ts_ns, state.now_ns)
        self.entered.append((event.series, event.value))
        self.times.append(ts_ns)
        self.rig.engine.step(msgspec.structs.replace(event, seq=state.last_seq + 1, ts_recv_ns=ts_ns))

    def value(self) -> float | None:
        plan = self.rig.engine.lanes[0].plan
        plan.observe(self.now_ns)
        return plan.values[0] if plan.is_there(0) else None


@pytest.fixture
def vix(tmp_path: Path) -> Path:
    """A file of three days."""
    path = tmp_path / "vix.csv"
    path.write_text(lines(("2025-06-25", 20.0), ("2025-06-26", 18.0), ("2025-06-27", 19.0)))
    return path


def test_rows_enter_in_order_and_reach_the_columns(vix: Path) -> None:
    door = Door(vix=vix)

    assert door.look() == [("vix", 20.0), ("vix", 18.0), ("vix", 19.0)]
    assert door.value() == pytest.approx(0.0540672)  # ln(19 / 18)


def test_a_row_enters_once_also_over_a_restart(vix: Path) -> None:
    door = Door(vix=vix)
    door.look()

    again = door.look()
    door.restart()
    after = door.look()
    vix.write_text(vix.read_text() + "2025-06-30,21\n")
    more = door.look()

    assert (again, after, more) == ([], [], [("vix", 21.0)])


def test_a_row_waits_until_it_is_known_and_enters_as_it_is_then(vix: Path) -> None:
    door = Door(vix=vix)
    door.now_ns = known_ns("2025-06-27") - 1
    early = door.look()
    vix.write_text(vix.read_text().replace(",19.0", ",19.5"))  # the day was not over
    door.now_ns += 1

    late = door.look()

    assert early == [("vix", 20.0), ("vix", 18.0)]
    assert late == [("vix", 19.5)]


def test_values_of_one_publication_enter_together_and_once(tmp_path: Path) -> None:
    path = tmp_path / "dollar.csv"
    days = ("2025-06-16", "2025-06-17", "2025-06-18")  # a week is published on the next Monday
    path.write_text("observation_date,DTWEXBGS\n" + "".join(f"{day},{120 + k}\n" for k, day in enumerate(days)))
    door = Door(dollar_index=path)

    assert door.look() == [("dollar_index", 120.0), ("dollar_index", 121.0), ("dollar_index", 122.0)]
    assert door.look() == []


def test_a_bad_file_is_told_once_and_what_was_read_stays(vix: Path) -> None:
    door = Door(vix=vix)
    door.look()
    value = door.value()
    whole = vix.read_text()
    vix.write_text(whole + "2025-06-30,twenty\n")

    broken = [door.look() for _ in range(3)]
    told = list(door.alerts)
    vix.write_text(whole + "2025-06-30,20\n")
    mended = door.look()

    assert broken == [[], [], []]
    assert door.value() is not None
    assert value == pytest.approx(0.0540672)
    assert len(told) == 1
    assert "'twenty' is not a number; vix goes on with what was read before" in told[0]
    assert mended == [("vix", 20.0)]


def test_one_bad_file_does_not_keep_the_others_out(vix: Path, tmp_path: Path) -> None:
    door = Door(vix=vix, us10y=tmp_path / "missing.csv")

    assert len(door.look()) == 3
    assert "missing.csv: cannot be read" in door.alerts[0]


def test_a_file_that_did_not_change_is_not_read_again(vix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(vix=vix)
    door.look()
    door.look()  # settles it
    calls: list[Any] = []
    monkeypatch.setattr("miad.references.read_rows", lambda *args, **kwargs: calls.append(args) or [])

    door.look()
    unchanged = len(calls)
    os.utime(vix, ns=(1, 1))
    door.look()

    assert (unchanged, len(calls)) == (0, 1)


def test_in_a_replay_rows_enter_before_the_first_frame_behind_them(vix: Path) -> None:
    door = Door(vix=vix)
    middle = known_ns("2025-06-26")
    frames = [(middle - SECOND, b"a"), (middle, b"b"), (middle + 1, b"c"), (known_ns("2025-06-27") + SECOND, b"d")]
    seen = [(frame[1], len(door.entered)) for frame in door.door.into(door, iter(frames))]  # type: ignore[arg-type]

    assert seen == [(b"a", 1), (b"b", 1), (b"c", 2), (b"d", 3)]
    assert door.times == [max(known_ns("2025-06-25"), door.rig.now), middle, known_ns("2025-06-27")]


def test_a_replay_takes_what_the_longest_window_needs_of_the_time_before(tmp_path: Path) -> None:
    path = tmp_path / "funding.csv"
    begin_ms = 1_700_000_000_000
    path.write_text("ts_ms,rate\n" + "".join(f"{begin_ms + k * 28_800_000},{k / 1e9:.9f}\n" for k in range(5_000)))
    door = Door(funding_rate=path)
    first_ns = (begin_ms + 3_000 * 28_800_000) * 1_000_000

    for _ in door.door.into(door, iter([(first_ns, b"")])):  # type: ignore[arg-type]
        pass

    assert [round(value * 1e9) for _, value in door.entered] == list(range(3_000 - ROWS_MAX, 3_000))
