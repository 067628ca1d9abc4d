"""The way in for reports of a connected venue: none is lost, none comes after the end."""

from __future__ import annotations

from typing import Any

from mia.domain.events import AnyEvent, OrderCanceled, OrderFilled
from miad.host import EventHost


class Clock:
    def now_ns(self) -> int:
        return 5


class Core:
    def __init__(self) -> None:
        self.reports: list[AnyEvent] = []

    def report(self, event: AnyEvent, now_ns: int) -> None:
        self.reports.append(event)


def make() -> tuple[Any, Core]:
    def fail(error: BaseException) -> None:
        raise error

    return EventHost(Clock(), fail, lambda *_: None), Core()


def test_a_report_that_comes_before_the_core_is_ready_waits_for_it() -> None:
    host, core = make()
    fill = OrderFilled(0, 0, 0, "a", "7", 0, 1, 100, 5, 0, False)
    host.report(fill)

    host.attach(core)
    canceled = OrderCanceled(0, 0, 0, "b", "asked")
    host.report(canceled)

    assert core.reports == [fill, canceled]


def test_after_the_end_nothing_is_taken() -> None:
    host, core = make()
    host.attach(core)
    host.detach()

    host.report(OrderCanceled(0, 0, 0, "b", "asked"))
    host.attach(core)

    assert core.reports == []
