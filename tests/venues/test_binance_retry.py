"""The wait between two attempts of a link."""

from __future__ import annotations

import asyncio

import pytest

from mia.venues.binance.retry import woken

pytestmark = pytest.mark.asyncio


async def test_an_exchange_that_is_back_elsewhere_ends_the_wait_at_once() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(woken(event, 3_600.0))
    await asyncio.sleep(0)

    event.set()

    await asyncio.wait_for(waiting, 5.0)


async def test_without_news_the_wait_ends_by_itself() -> None:
    await asyncio.wait_for(woken(asyncio.Event(), 0.01), 5.0)
