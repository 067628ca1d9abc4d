"""`mia replay` agrees with an honest journal, and with no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.domain.effects import AnyEffect, RecordDecision, SubmitOrder
from mia.domain.errors import DataError
from mia.domain.events import AnyEvent, ModelReady, RunStarted
from mia.settings import Loaded, load_settings
from mia.store.reader import JournalReader
from mia.store.segment import list_segments

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err
Rewrite = Callable[..., None]


def altered(rewrite: Rewrite, folder: Path, kind: type, **changes: object) -> int:
    """Change one effect in the middle of the journal; the seq of its event."""
    wanted = [e.seq for e in JournalReader(folder / "journal") if any(type(x) is kind for x in e.effects)]
    seq = wanted[len(wanted) // 2]

    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        if event.seq != seq:
            return event, effects
        return event, [msgspec.structs.replace(x, **changes) if type(x) is kind else x for x in effects]

    rewrite(folder, edit)
    return seq


def test_a_recorded_session_replays_to_the_same_bytes(recorded: Path, mia: Mia) -> None:
    result = mia("replay", recorded, "--json")

    found = json.loads(result.out)
    assert (result.code, found["verdict"], found["difference"], found["runs"]) == (0, "agrees", None, [1])
    assert found["decisions"] > 20
    assert found["orders"] > 5
    assert found["events"] == found["last_seq"] > 6000


def test_the_journal_folder_may_be_named_itself(recorded: Path, mia: Mia) -> None:
    result = mia("replay", recorded / "journal")

    assert result.code == 0
    assert "agrees, byte for byte" in result.out


def test_one_changed_decision_is_found(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    seq = altered(rewrite_journal, session, RecordDecision, target_lots=987654)

    result = mia("replay", session)

    assert result.code == 1
    assert f"event {seq} decides otherwise" in result.err
    assert "target_lots: recorded 987654, now" in result.out


def test_a_change_in_the_last_bit_of_a_float_is_found(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    seq = altered(rewrite_journal, session, RecordDecision, signal=0.3000000000000001)

    result = mia("replay", session, "--json")

    assert (result.code, json.loads(result.out)["difference"]["seq"]) == (1, seq)


def test_an_order_that_is_missing_is_found(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        return event, [x for x in effects if type(x) is not SubmitOrder]

    rewrite_journal(session, edit)

    result = mia("replay", session)

    assert result.code == 1
    assert "SubmitOrder" in result.out


def test_on_another_machine_class_a_difference_is_said_and_not_failed(
    session: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch, rewrite_journal: Rewrite
) -> None:
    import mia.cli.rerun as module

    altered(rewrite_journal, session, RecordDecision, target_lots=987654)
    here = {**module.versions(), "onnxruntime": "0.0.1"}
    monkeypatch.setattr(module, "versions", lambda: here)

    result = mia("replay", session)

    assert result.code == 0
    assert "other machine class" in result.out
    assert "onnxruntime: recorded with" in result.out


def test_another_calendar_is_no_other_machine(session: Path, mia: Mia, monkeypatch: pytest.MonkeyPatch, rewrite_journal: Rewrite) -> None:
    import mia.cli.rerun as module

    altered(rewrite_journal, session, RecordDecision, target_lots=987654)
    here = {**module.versions(), "calendar": "0123"}
    monkeypatch.setattr(module, "versions", lambda: here)

    result = mia("replay", session)

    assert result.code == 1
    assert "the calendar files are not those of then" in result.err


def test_a_torn_tail_is_reported_and_left_out(session: Path, mia: Mia) -> None:
    path = list_segments(session / "journal")[-1]
    data = bytearray(path.read_bytes())
    used = len(bytes(data).rstrip(b"\0")) // 8 * 8 + 8
    data[used : used + 40] = b"\7" * 40
    path.write_bytes(data)

    result = mia("replay", session)

    assert result.code == 0
    assert "torn tail  40 bytes after event" in result.out


def test_effects_missing_behind_the_very_last_event_are_no_difference(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    last = max(e.seq for e in JournalReader(session / "journal") if e.effects)

    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        return event, () if event.seq == last else effects

    entries = [e for e in JournalReader(session / "journal") if e.seq <= last]
    rewrite_journal(session, edit)
    _cut(session, entries[-1].seq)

    result = mia("replay", session)

    assert result.code == 0
    assert f"event {last} is the last and its effects are not recorded" in result.out


def _cut(folder: Path, last_seq: int) -> None:
    """Write the journal again without the events after last_seq."""
    import shutil

    from mia.store.journal import Journal

    entries = [e for e in JournalReader(folder / "journal") if e.seq <= last_seq]
    shutil.rmtree(folder / "journal")
    journal = Journal(folder / "journal", segment_bytes=1 << 20)
    for entry in entries:
        journal.append_event(entry.event)
        journal.append_effects(entry.seq, list(entry.effects))
    journal.close()


def test_a_model_that_is_gone_is_named(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        if isinstance(event, RunStarted):
            tree = json.loads(event.config)
            for lane in tree["lanes"]:
                lane |= {"strategy": "vanished", "params": {}}
            event = msgspec.structs.replace(event, config=json.dumps(tree))
        return event, effects

    rewrite_journal(session, edit)

    result = mia("replay", session)

    assert result.code == 4
    assert "model 'vanished' was not found" in result.err
    assert result.err.count("\n") == 1


def test_a_model_with_other_weights_is_named(session: Path, mia: Mia, rewrite_journal: Rewrite) -> None:
    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        return (msgspec.structs.replace(event, bundle_sha256="f" * 64) if isinstance(event, ModelReady) else event), effects

    rewrite_journal(session, edit)

    result = mia("replay", session)

    assert result.code == 4
    assert "ema_cross" in result.err
    assert "ffffffffffff" in result.err


@pytest.mark.parametrize("is_first", [True, False])
def test_a_restart_goes_on_in_one_journal(is_first: bool, tmp_path: Path, loaded: Loaded, mia: Mia, record_run: Rewrite) -> None:
    folder = tmp_path / "state"
    if not is_first:  # the traded venue's instruments stand behind others in the settings
        settings = msgspec.structs.replace(loaded.settings, instruments=loaded.settings.instruments[::-1])
        loaded = msgspec.structs.replace(loaded, settings=settings)
    record_run(folder, loaded, 3000)
    record_run(folder, loaded, 2000)

    result = mia("replay", folder, "--json")

    found = json.loads(result.out)
    assert (result.code, found["verdict"], found["runs"], found["notes"]) == (0, "agrees", [1, 2], [])


def test_a_restart_with_other_settings_is_said(
    tmp_path: Path, loaded: Loaded, mia: Mia, record_run: Rewrite, make_config: Callable[..., Path]
) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 3000, snapshot_at=2999)
    other = load_settings(make_config(tmp_path / "other.toml", dead_band_share="0.35"), environ={})
    record_run(folder, other, 10)

    result = mia("replay", folder)

    assert "run 2" in result.out
    assert "[execution]" in result.out


def test_without_its_first_segments_the_journal_goes_on_from_a_snapshot(
    tmp_path: Path, loaded: Loaded, mia: Mia, record_run: Rewrite
) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 4000, segment_bytes=1 << 16, snapshot_at=2000)
    segments = list_segments(folder / "journal")
    assert len(segments) > 4
    segments[0].unlink()

    result = mia("replay", folder)

    assert result.code == 0, result.err
    assert "from      the snapshot of event" in result.out


def test_without_segments_and_snapshot_it_says_what_is_missing(tmp_path: Path, loaded: Loaded, mia: Mia, record_run: Rewrite) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 2000, segment_bytes=1 << 16)
    list_segments(folder / "journal")[0].unlink()

    result = mia("replay", folder)

    assert result.code == 1
    assert "the segments before it are gone" in result.err
    assert "restore one of them" in result.err


@pytest.mark.parametrize("content", ["nothing", "folder", "journal"])
def test_a_place_without_a_journal_is_an_error(content: str, tmp_path: Path, mia: Mia) -> None:
    path = tmp_path / "state"
    if content != "nothing":
        (path / ("journal" if content == "journal" else "logs")).mkdir(parents=True)

    result = mia("replay", path)

    assert (result.code, result.out) == (1, "")
    assert str(path) in result.err


def test_a_restart_does_not_go_on_from_a_snapshot_that_is_older_than_what_is_left_of_the_journal(
    tmp_path: Path, loaded: Loaded, record_run: Callable[..., None]
) -> None:
    """The first snapshot of a day is kept for long; the events behind it may be gone."""
    folder = tmp_path / "state"
    record_run(folder, loaded, 6000, segment_bytes=1 << 16, snapshot_at=100)
    for path in list_segments(folder / "journal")[:2]:
        path.unlink()

    with pytest.raises(DataError, match="the journal begins with event"):
        record_run(folder, loaded, 10)
