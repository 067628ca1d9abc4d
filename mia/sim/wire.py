"""What is on its way between us and the simulated venue: requests that arrive late, reports that come back later."""

from __future__ import annotations

import heapq
from typing import Any

from mia.ports import NEVER_NS
from mia.sim.costs import CostModel
from mia.sim.settings import PaperSettings
from mia.sim.state import Request, VenueState


class Wire:
    """Two heaps in the venue's state, by due time and number. With drawn latencies each direction keeps its order, as a connection does."""

    def __init__(self, state: VenueState, settings: PaperSettings, costs: CostModel) -> None:
        self._state = state
        self._costs = costs
        self._keeps_order = costs.costs.latency.kind == "measured"
        self._submit_ns = settings.submit_latency_ms * 1_000_000
        self._report_ns = settings.report_latency_ms * 1_000_000

    @property
    def next_due_ns(self) -> int:
        """When the next request arrives or the next report comes back; NEVER_NS with nothing on its way."""
        state = self._state
        due = state.requests[0][0] if state.requests else NEVER_NS
        return state.reports[0][0] if state.reports and state.reports[0][0] < due else due

    def send(self, request: Request, now_ns: int) -> None:
        """A request leaves us."""
        state = self._state
        state.number += 1
        due = now_ns + self._costs.submit_ns(state.number, self._submit_ns)
        if self._keeps_order:
            due = state.request_due_ns = max(due, state.request_due_ns)
        heapq.heappush(state.requests, (due, state.number, request))

    def report(self, now_ns: int, make: Any, *fields: object) -> None:
        """A report of what happened at now_ns leaves the venue; make(seq, ts_event_ns, ts_recv_ns, *fields) is the event."""
        state = self._state
        state.number += 1
        due = now_ns + self._costs.report_ns(state.number, self._report_ns)
        if self._keeps_order:
            due = state.report_due_ns = max(due, state.report_due_ns)
        heapq.heappush(state.reports, (due, state.number, make(0, now_ns, due, *fields)))
