"""Requests over the WebSocket API and their answers: which answer belongs to whom, time-outs, rate limits, the venue's clock.

What an answer means is decided by whoever asked. Nothing is ever sent twice here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from mia.domain.errors import FeedLost, MiaError, Transient, VenueBusy
from mia.ports import Host
from mia.venues.binance import link
from mia.venues.binance.orders import Signer, public_request
from mia.venues.settings import LinkSettings

_LOG: Final = logging.getLogger(__name__)
_LATE_KEPT: Final = 1_000  # requests whose answer is still welcome after its time-out
_BACK_OFF_MAX_S: Final = 3 * 86_400.0  # the longest ban that the venue announces

T = TypeVar("T")


class ApiRefused(MiaError):
    """The venue answered a request with an error; `code` is its number."""

    def __init__(self, method: str, code: int, text: str) -> None:
        super().__init__(f"{method}: {code} {text}")
        self.code: Final = code


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What became of a request; status 0: no answer came, `text` says why."""

    status: int
    code: int = 0
    text: str = ""
    result: bytes = b""


class _ErrorData(msgspec.Struct, frozen=True):
    server_time: int = msgspec.field(name="serverTime", default=0)
    retry_after: int = msgspec.field(name="retryAfter", default=0)


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    msg: str = ""
    data: _ErrorData | None = None


class _Frame(msgspec.Struct, frozen=True):
    """Every frame of the connection: an answer (id, status) or an event."""

    id: str | int | None = None
    status: int = 0
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None
    event: msgspec.Raw = msgspec.Raw()


class _ServerTime(msgspec.Struct, frozen=True):
    server_time: int = msgspec.field(name="serverTime")


class _EventHead(msgspec.Struct, frozen=True):
    e: str = ""


Handler = Callable[[Reply], None]
_FRAME: Final = msgspec.json.Decoder(_Frame).decode
_HEAD: Final = msgspec.json.Decoder(_EventHead).decode
_ENDS_STREAM: Final = ("serverShutdown", "eventStreamTerminated")


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("connection", "handler", "method", "timer")

    def __init__(self, method: str, connection: link.Connection, handler: Handler, timer: asyncio.TimerHandle) -> None:
        self.method, self.connection, self.handler, self.timer = method, connection, handler, timer


class Requests:
    """What is asked over whichever connection is the present one; for reads once it is open, for orders once `is_ready`."""

    def __init__(self, url: str, signer: Signer, host: Host, settings: LinkSettings, on_event: Callable[[bytes, str], None]) -> None:
        """on_event: gets each user data event (raw JSON, its name) in the order of arrival."""
        self._url = url
        self.signer = signer
        self._host: Final = host
        self._settings: Final = settings
        self._on_event: Final = on_event
        self._connection: link.Connection | None = None
        self._usable: Final = asyncio.Event()
        self._first_up: Final = asyncio.Event()
        self._wake: Final = asyncio.Event()  # ends a wait before the next attempt
        self._renew: Final = asyncio.Event()
        self._pending: Final[dict[str, _Pending]] = {}
        self._late: Final[dict[str, tuple[str, Handler]]] = {}
        self._tasks: Final[set[asyncio.Task[Any]]] = set()
        self._crash: asyncio.Future[None] | None = None
        self._number = 0
        self._reads_from_s = 0.0
        self._banned_until_s = 0.0
        self._offset_ms = 0
        self.is_ready = False  # orders may be sent
        self.events = 0  # user data events so far
        self.counts: Final[dict[str, int]] = dict.fromkeys(
            ("connections", "requests", "answers", "timeouts", "late_answers", "orphan_answers", "malformed", "rate_limited",
             "clock_resyncs", "handovers", "write_stalls"), 0,
        )  # fmt: skip

    # --- state --------------------------------------------------------------------------------------------------------
    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop it runs on; None before `run`."""
        return self._crash.get_loop() if self._crash is not None else None

    @property
    def quiet_s(self) -> float:
        """[link] quiet_ms in seconds."""
        return self._settings.quiet_ms / 1000.0

    @property
    def clock_offset_ms(self) -> int:
        """The venue's clock minus ours, as last measured."""
        return self._offset_ms

    @property
    def pending_orders(self) -> int:
        """Requests that change something and wait for their answer."""
        return sum(p.method.startswith("order.") and p.method != "order.status" for p in self._pending.values())

    def back_off_s(self) -> float:
        """Seconds for which the venue asked us to ask nothing."""
        return max(0.0, self._reads_from_s - asyncio.get_running_loop().time())

    def is_banned(self) -> bool:
        """The venue answered 418: whatever is sent now is refused and prolongs the ban."""
        return self._banned_until_s > asyncio.get_running_loop().time()

    def timestamp_ms(self) -> int:
        """Now, by the venue's clock."""
        return self._host.now_ns() // 1_000_000 + self._offset_ms

    def next_id(self) -> str:
        """A request id that no order has."""
        self._number += 1
        return f"r{self._number}"

    # --- asking -------------------------------------------------------------------------------------------------------
    def post(self, method: str, request_id: str, frame: bytes, handler: Handler, via: link.Connection | None = None) -> bool:
        """Send one request; handler is called once with its outcome, and again should an answer come after the time-out.

        False: the connection is not there or does not take data, and nothing left.
        """
        connection = via or self._connection
        if connection is None or not connection.can_send:
            self.counts["write_stalls"] += connection is not None and connection.is_open
            return False
        connection.send(frame)  # first: nothing can answer before this returns, and an order is on its way 10 us earlier
        timer = asyncio.get_running_loop().call_later(self._settings.request_timeout_ms / 1000.0, self.guard, self._timed_out, request_id)
        self._pending[request_id] = _Pending(method, connection, handler, timer)
        self.counts["requests"] += 1
        return True

    async def ask(
        self,
        method: str,
        params: dict[str, str],
        shape: type[T],
        *,
        is_signed: bool = True,
        via: link.Connection | None = None,
    ) -> T:
        """Ask for something that changes nothing, and wait; waits for the connection and for rate limits first.

        Raises ApiRefused for an error of the venue, VenueBusy for its rate limit, FeedLost without an answer.
        """
        if via is None:
            await self._usable.wait()
        while (pause := self.back_off_s()) > 0.0:
            await asyncio.sleep(pause)
        request_id = self.next_id()
        if is_signed:
            frame = self.signer.request(method, request_id, params, self.timestamp_ms())
        else:
            frame = public_request(method, request_id, params)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if not self.post(method, request_id, frame, partial(_settle, answer), via):
            raise FeedLost(f"{method}: the connection is gone")
        try:
            reply = await answer
        finally:
            self._forget(request_id)
        if reply.status == 0:
            raise FeedLost(f"{method}: {reply.text}")
        if reply.status in (418, 429):
            raise VenueBusy(f"{method}: {reply.code} {reply.text}")
        if reply.status != 200:
            raise ApiRefused(method, reply.code, reply.text)
        if shape is bytes:
            return reply.result  # type: ignore[return-value]
        try:
            return msgspec.json.decode(reply.result, type=shape)
        except msgspec.DecodeError as e:
            self.counts["malformed"] += 1
            raise FeedLost(f"{method}: the answer is not what the venue documents ({e})") from e

    def measure_clock(self) -> None:
        """The venue found our time wrong: measure the difference, soon."""
        self.counts["clock_resyncs"] += 1
        self.spawn(self._measure_clock(), "binance-clock")

    async def _measure_clock(self, via: link.Connection | None = None) -> None:
        before = self._host.now_ns()
        answer = await self.ask("time", {}, _ServerTime, is_signed=False, via=via)
        ours_ms = (before + self._host.now_ns()) // 2_000_000
        self._offset_ms = answer.server_time - ours_ms

    # --- answering ----------------------------------------------------------------------------------------------------
    def _on_text(self, payload: bytes) -> None:
        try:
            frame = _FRAME(payload)
        except (msgspec.DecodeError, ValueError):
            self.counts["malformed"] += 1
            return
        if frame.status:
            self._on_answer(frame)
        elif frame.event:
            self._on_pushed(bytes(frame.event))
        else:
            self.counts["malformed"] += 1

    def _on_pushed(self, raw: bytes) -> None:
        try:
            name = _HEAD(raw).e
        except (msgspec.DecodeError, ValueError):
            self.counts["malformed"] += 1
            return
        if name in _ENDS_STREAM:
            self._renew.set()
            return
        self.events += 1
        self._on_event(raw, name)

    def _on_answer(self, frame: _Frame) -> None:
        error = frame.error
        if frame.status in (418, 429):
            self._slow_down(frame.status, error)
        request_id = str(frame.id)
        pending = self._pending.pop(request_id, None)
        if pending is None:
            late = self._late.pop(request_id, None)
            self.counts["orphan_answers" if late is None else "late_answers"] += 1
            if late is None:
                if error is not None:
                    _LOG.warning("venue_error: %s %s", error.code, error.msg)
                return
            handler = late[1]
        else:
            pending.timer.cancel()
            handler = pending.handler
            self.counts["answers"] += 1
        if error is None:
            handler(Reply(frame.status, result=bytes(frame.result)))
            return
        if error.code == -1021:
            self.measure_clock()
        handler(Reply(frame.status, error.code, error.msg))

    def _slow_down(self, status: int, error: _Error | None) -> None:
        """Rate limit (429) or ban (418): retryAfter is a time of the venue's clock."""
        self.counts["rate_limited"] += 1
        data = error.data if error is not None else None
        wait_ms = 1_000
        if data is not None and data.retry_after:
            wait_ms = data.retry_after - (data.server_time or self.timestamp_ms())
        until = asyncio.get_running_loop().time() + min(max(wait_ms / 1000.0, 0.1), _BACK_OFF_MAX_S)
        if error is None or error.code != -1015:  # that one is about orders alone
            self._reads_from_s = max(self._reads_from_s, until)
        if status == 418:
            self._banned_until_s = max(self._banned_until_s, until)

    def _timed_out(self, request_id: str) -> None:
        pending = self._pending.pop(request_id, None)
        if pending is None:
            return
        self.counts["timeouts"] += 1
        self._late[request_id] = (pending.method, pending.handler)
        if len(self._late) > _LATE_KEPT:
            del self._late[next(iter(self._late))]
        pending.handler(Reply(0, text=f"no answer within {self._settings.request_timeout_ms} ms"))

    def _forget(self, request_id: str) -> None:
        pending = self._pending.pop(request_id, None)
        if pending is not None:
            pending.timer.cancel()
        self._late.pop(request_id, None)

    def _lose(self, connection: link.Connection, reason: str) -> None:
        """A connection ended: the outcome of its open requests is unknown."""
        for request_id in [i for i, p in self._pending.items() if p.connection is connection]:
            pending = self._pending.pop(request_id)
            pending.timer.cancel()
            self.guard(pending.handler, Reply(0, text=reason))

    # --- work beside --------------------------------------------------------------------------------------------------
    def guard(self, work: Callable[..., None], *args: Any) -> None:
        """Run a callback of the loop; what it raises ends `run`, never only a log line."""
        try:
            work(*args)
        except Exception as e:
            self._fail(e)

    def soon(self, work: Callable[..., None], *args: Any, delay_s: float = 0.0) -> None:
        """Call later on the loop; before `run` and after its end nothing happens."""
        loop = self.loop
        if loop is not None and delay_s > 0.0:
            loop.call_later(delay_s, self.guard, work, *args)
        elif loop is not None:
            loop.call_soon(self.guard, work, *args)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that lives no longer than `run`; a lost connection or a refusal ends it alone, anything else ends `run`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, (Transient, ApiRefused)):
            _LOG.warning("venue_request_failed: %s: %s", task.get_name(), error)
        elif isinstance(error, Exception):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._crash is not None and not self._crash.done():
            self._crash.set_exception(error)


def _settle(answer: asyncio.Future[Reply], reply: Reply) -> None:
    if not answer.done():
        answer.set_result(reply)
