"""Being asked to end: one wish may come as several signals."""

import signal
from collections.abc import Iterator

import pytest

from miad import signals
from miad.signals import Signals, StopFlag


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """What the process sent itself; the handler of SIGTERM is as before afterwards."""
    sent: list[int] = []
    monkeypatch.setattr(signals.os, "kill", lambda pid, number: sent.append(number))
    before = signal.getsignal(signal.SIGTERM)
    yield sent
    signal.signal(signal.SIGTERM, before)


def test_a_parents_death_told_once_for_each_of_its_threads_is_one_wish(killed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopFlag()
    asked = Signals(stop)

    for at_s in (100.0, 100.0, 100.2):
        monkeypatch.setattr(signals.time, "monotonic", lambda at_s=at_s: at_s)
        asked._end(signal.SIGTERM, None)

    assert stop.reason == "SIGTERM"
    assert killed == []
