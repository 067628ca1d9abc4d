"""Paper trading on the simulated market: it runs on a clock of its own, and a kill -9 does not lose the position."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mia.domain.effects import SubmitOrder
from mia.domain.events import OrderFilled, RunStarted
from mia.store.reader import JournalReader


def holder(miad: Any) -> None:
    """Trade so that a position is open almost at once and stays."""
    miad.edit(r'^instrument = "sim:SIMUSD"\nstrategy = .*\nparams = .*$', 'instrument = "sim:SIMUSD"\nstrategy = "rule:buy_and_hold"')


def position(state: Path) -> int:
    return sum(e.event.side * e.event.qty_lots for e in JournalReader(state / "journal") if isinstance(e.event, OrderFilled))


def test_the_position_survives_kill_and_restart(miad: Any, tmp_path: Path) -> None:
    holder(miad)
    state = tmp_path / "state"
    held = []

    for _ in range(3):
        process = miad.start("--venue", "sim", "--state", state)
        miad.wait_until_trading(process)
        time.sleep(0.5)
        assert miad.end(process).code == -9
        held.append(position(state))
    ended = miad.run("--venue", "sim", "--state", state, "--duration", "0.3")

    assert ended.code == 0, ended.err
    assert held[0] > 0
    assert held == [held[0]] * 3
    assert re.search(r"^open +0\.\d+ sim:SIMUSD from", ended.out, re.MULTILINE), ended.out
    ids = Counter(o.client_order_id for e in JournalReader(state / "journal") for o in e.effects if isinstance(o, SubmitOrder))
    assert set(ids.values()) == {1}
    assert len(ids) == 3  # the entry, its stop and its take: a restart sends nothing new


def test_each_life_has_a_run_number_of_its_own_and_time_goes_on(miad: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"

    for _ in range(2):
        ended = miad.run("--state", state, "--duration", "0.3")
        assert ended.code == 0, ended.err

    entries = list(JournalReader(state / "journal"))
    times = [e.event.ts_recv_ns for e in entries]
    assert [e.event.run for e in entries if isinstance(e.event, RunStarted)] == [1, 2]
    assert times == sorted(times)


def test_a_polite_end_stops_openings_and_says_what_happened(miad: Any, tmp_path: Path) -> None:
    import signal

    process = miad.start("--state", tmp_path / "state")
    miad.wait_until_trading(process)
    time.sleep(0.3)

    ended = miad.end(process, signal.SIGTERM)

    assert ended.code == 0, ended.err
    assert "stopping (SIGTERM)" in ended.err
    assert "P&L" in ended.out
    kinds = [type(e.event).__name__ for e in JournalReader(tmp_path / "state" / "journal")]
    assert "TradingDisabled" in kinds[-3:]
