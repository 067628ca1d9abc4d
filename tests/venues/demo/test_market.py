"""The market behind the demo exchange, row by row: one seed is one market, whatever the pace and however often it dies."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from pathlib import Path

import pytest

from mia.domain.instruments import Instrument
from mia.sim.servers.market import DemoMarket
from mia.sim.servers.state_files import StateDir
from mia.sim.settings import DemoSettings, SimMarketSettings

INSTRUMENT = Instrument(
    venue="demo", symbol="SIMUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.10"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"), min_notional=Decimal(5),
)  # fmt: skip
Rows = list[tuple[int, int, int, int, int, int]]


class Life:
    """One process life of the market in a state directory."""

    def __init__(self, path: Path | None = None, speed: float = 1.0, now_s: int = 0) -> None:
        self._files = StateDir(path) if path is not None else None
        now_us = time.time_ns() // 1000 + now_s * 1_000_000
        self.market = DemoMarket(SimMarketSettings(), INSTRUMENT, DemoSettings(speed=speed, history_s=120), now_us, self._files)

    def rows(self, n: int) -> Rows:
        """The next n rows, kept as if they had been sent."""
        out = []
        for _ in range(n):
            row = self.market.take()
            out.append((row.kind, row.a, row.b, row.c, row.d, self.market.update_id))
        self.market.keep_position()
        return out

    def die(self) -> None:
        """As by kill -9: what was written stays, nothing else is said."""
        assert self._files is not None
        os.close(self._files._lock)


def test_the_pace_changes_when_rows_come_and_not_which() -> None:
    slow, fast = Life(speed=0.5), Life(speed=77.0)

    assert slow.rows(6000) == fast.rows(6000)


@pytest.mark.parametrize("lengths", [(1, 2047, 2048, 2049), (500, 500, 500, 5000), (2000, 48, 1, 1)])
def test_lives_of_any_length_add_up_to_one_market(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    whole = Life()
    expected = whole.rows(sum(lengths))
    lived: Rows = []

    for number, n in enumerate(lengths):
        life = Life(tmp_path, speed=1.0 + number, now_s=1000 * number)
        lived += life.rows(n)
        life.die()
    last = Life(tmp_path, now_s=10_000)

    assert lived == expected
    assert last.market.levels(True, 99) == whole.market.levels(True, 99)
    assert last.market.levels(False, 99) == whole.market.levels(False, 99)
    assert [t.number for t in last.market.trades] == [t.number for t in whole.market.trades]
    times = [t.time_us for t in last.market.trades]
    assert times == sorted(times)
    assert last.market.due_us >= times[-1]


def test_rows_that_were_not_kept_were_never_said_and_happen_again(tmp_path: Path) -> None:
    first = Life(tmp_path)
    first.rows(3000)
    unsaid = []
    for _ in range(5000):  # past chunks whose records are on disk
        row = first.market.take()
        unsaid.append((row.kind, row.a, row.b, row.c, row.d, first.market.update_id))
    first.die()

    second = Life(tmp_path)
    again = second.rows(2500)
    second.die()
    third = Life(tmp_path).rows(2500)

    assert again + third == unsaid


def test_a_first_start_that_was_cut_short_begins_again(tmp_path: Path) -> None:
    first = Life(tmp_path)
    assert first._files is not None
    first._files.position.set(0)  # it died before its first position was kept
    first.die()

    assert Life(tmp_path).rows(3000) == Life().rows(3000)


def test_a_long_stop_of_the_process_is_a_pause_of_the_market() -> None:
    life, whole = Life(), Life()
    before = life.rows(100)
    later_us = life.market.due_us + 3_600_000_000

    life.market.pause_until(later_us)

    assert life.market.due_us == later_us
    assert before + life.rows(4000) == whole.rows(4100)
