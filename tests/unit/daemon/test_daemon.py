"""One life of the daemon in this process: what a failure leaves behind."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import pytest

from mia.assemble import build_engine
from mia.domain.errors import FailStop
from mia.settings import load_settings
from mia.store.state_dir import StateDir
from miad import eventloop
from miad.daemon import Daemon
from miad.feeds import open_source
from miad.options import parse
from miad.signals import Signals


class Broken(Daemon):
    """Fails as soon as it trades."""

    async def _trade(self) -> None:
        raise FailStop("the disk is gone")


def test_a_failure_is_a_bad_end_with_an_alert_and_nobody_is_told_ready_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Signals, "catch", lambda self: None)
    load = partial(load_settings, None, {"instance.venue": "sim", "metrics.enabled": "false"}, {"XDG_CONFIG_HOME": "/nobody"})
    loaded = load()
    source = open_source(loaded.settings, [])
    assert source is not None
    state = StateDir(tmp_path / "state")
    daemon = Broken(parse(["--paper"]), loaded, load, source, build_engine(loaded.settings, source.venue), state, time.monotonic())

    with pytest.raises(FailStop, match="the disk is gone"):
        eventloop.run(daemon.live())
    state.close()

    assert json.loads((state.path / "starts.json").read_text())["is_running"]  # the next start counts it
    assert '"fail_stop"' in (state.path / "alerts" / "alerts.jsonl").read_text()
    assert daemon._keeper.look().word == "STOPPING"
