"""The alert hub in force follows the settings in force."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from mia.settings import Settings, load_settings
from miad.alerting import Alerting, opener
from miad.states import Health
from miad.tasks import Supervisor
from tests.unit.daemon.test_core import started


def test_settings_that_change_while_the_hub_is_replaced_are_followed_too(tmp_path: Path) -> None:
    first = load_settings().settings
    second, third = (msgspec.structs.replace(first, alerts=msgspec.structs.replace(first.alerts, outbox_max=n)) for n in (101, 102))
    opened: list[int] = []
    make = opener(tmp_path, started().engine, Health(), lambda name, state, detail: None, is_replay=False)

    def noted(settings: Settings) -> Any:
        opened.append(settings.alerts.outbox_max)
        return make(settings)

    async def scene() -> None:
        tasks = Supervisor(lambda error: None, lambda name, text: None)
        alerting = Alerting(noted, first, tasks)
        alerting.start()
        in_force = second
        swap = asyncio.create_task(alerting.follow(lambda: in_force))
        await asyncio.sleep(0)  # it is on its way with the second
        in_force = third
        await asyncio.wait_for(swap, 10)
        await tasks.close()
        alerting.hub.close()

    asyncio.run(scene())

    assert opened == [first.alerts.outbox_max, 101, 102]
