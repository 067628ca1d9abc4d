"""Keeping the order path warm: the same code as a real order, and nothing of it is seen by anybody."""

from __future__ import annotations

import asyncio

import pytest

from mia.domain.effects import SubmitOrder
from tests.venues.scripted import venue_and_client

ORDER = SubmitOrder("mia0000000000001", 0, 1, "market", 100, 0, 0, False, False, "entry", 1, "")


@pytest.mark.asyncio
async def test_a_rehearsed_order_runs_the_whole_path_each_time_and_leaves_no_trace() -> None:
    async with venue_and_client() as (_, host, client):
        before, reported = client.counters(), len(host.reports)
        rehearsal = client.rehearsal()

        for _ in range(50):
            rehearsal.play(ORDER)
        await asyncio.sleep(0.3)  # past the time-out of a request

        assert rehearsal.sent == 50  # none was taken for one that had been sent
        assert {name: n for name, n in client.counters().items() if "orders" in name or "requests" in name} == {
            name: n for name, n in before.items() if "orders" in name or "requests" in name
        }
        assert len(host.reports) == reported
