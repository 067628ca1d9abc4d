"""The WebSocket API connection: requests and their answers, user data events, kept for ever.

Owns which answer belongs to which request, time-outs, rate limits, the venue's clock, and the change from one connection to the
next. What an answer means is decided by whoever asked. Nothing is ever sent twice here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from mia.domain.errors import FeedLost, MiaError, Transient, VenueBusy
from mia.ports import Host, Link
from mia.venues.binance import link
from mia.venues.binance.orders import Signer, public_request
from mia.venues.binance.retry import LinkSays, Retry
from mia.venues.settings import LinkSettings

_LOG: Final = logging.getLogger(__name__)
_LATE_KEPT: Final = 1_000  # requests whose answer is still welcome after its time-out
_BACK_OFF_MAX_S: Final = 3 * 86_400.0  # the longest ban that the venue announces
_DRAIN_POLL_S: Final = 0.02

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


class Api:
    """One logical connection to `ws-api`; for reads once it is open, for orders once `is_ready`."""

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

    async def wait_first_up(self) -> None:
        """Until it is up for the first time."""
        await self._first_up.wait()

    def point_at(self, url: str, signer: Signer) -> None:
        """Go on elsewhere; the present connection ends, requests on it have an unknown outcome."""
        self._url, self.signer = url, signer
        if self._connection is not None:
            self._connection.close("the venue moved")
        self._wake.set()

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
        timer = asyncio.get_running_loop().call_later(self._settings.request_timeout_ms / 1000.0, self.guard, self._timed_out, request_id)
        self._pending[request_id] = _Pending(method, connection, handler, timer)
        self.counts["requests"] += 1
        connection.send(frame)
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

    # --- keeping the connection ---------------------------------------------------------------------------------------
    async def run(self, recover: Callable[[], Awaitable[None]]) -> None:
        """Connect, subscribe to user data, keep, connect again; until cancelled. recover: run before UP after a reconnection."""
        loop = asyncio.get_running_loop()
        self._crash = loop.create_future()
        retry = Retry(self._settings)
        says = LinkSays(self._host, "broker")
        try:
            while True:
                self._wake.clear()
                started = loop.time()
                try:
                    says.retrying("", is_degraded=retry.is_degraded)
                    reason = await self._one_life(recover, says)
                    pause = retry.lost(loop.time() - started)
                except (Transient, ApiRefused) as e:
                    reason, pause = str(e), retry.failed()
                says.retrying(reason, is_degraded=retry.is_degraded)
                await self._pause(max(pause, self.back_off_s()))
                if self._crash.done():
                    self._crash.result()
        finally:
            self._close("shutting down")
            for task in list(self._tasks):
                task.cancel()
            self._crash.cancel()
            self._crash = None
            says.now(Link.DOWN)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _close(self, reason: str) -> None:
        self.is_ready = False
        self._usable.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(reason)
            self._lose(connection, reason)

    async def _one_life(self, recover: Callable[[], Awaitable[None]], says: LinkSays) -> str:
        """From a new connection to the end of the last one that followed it in good order; why it ended."""
        self._renew.clear()
        self._connection = await self._open()
        self._usable.set()
        try:
            if self._first_up.is_set():
                await self._while_open(recover)
            self.is_ready = True
            says.now(Link.UP)
            self._first_up.set()
            return await self._keep(recover)
        finally:
            self._close("connection lost")

    async def _open(self) -> link.Connection:
        """Connected, clock measured, user data subscribed."""
        connection = await link.connect(
            self._url,
            partial(self.guard, self._on_text),
            timeout_s=self._settings.connect_timeout_ms / 1000.0,
            ping_after_s=self._settings.ping_after_ms / 1000.0,
        )
        self.counts["connections"] += 1
        try:
            await self._measure_clock(via=connection)
            await self.ask("userDataStream.subscribe.signature", {}, msgspec.Raw, via=connection)
        except BaseException:
            connection.close("set-up failed")
            self._lose(connection, "set-up failed")
            raise
        return connection

    async def _while_open(self, recover: Callable[[], Awaitable[None]]) -> None:
        """Recover, but not longer than the connection lives."""
        assert self._connection is not None
        work = asyncio.ensure_future(recover())
        closed = asyncio.ensure_future(self._connection.wait_closed())
        try:
            await asyncio.wait({work, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise FeedLost(f"while reconciling: {closed.result()}")
            work.result()
        finally:
            work.cancel()
            closed.cancel()

    async def _keep(self, recover: Callable[[], Awaitable[None]]) -> str:
        """Until the connection ends; a venue that shuts down or an old connection is left in good order."""
        while True:
            connection = self._connection
            assert connection is not None
            why = await self._wait(connection)
            if why:
                return why
            self._renew.clear()
            try:
                fresh = await self._open()
            except (Transient, ApiRefused) as e:
                _LOG.warning("venue_handover_failed: %s", e)
                if not connection.is_open:
                    return str(e)
                self.soon(self._renew.set, delay_s=self._settings.retry_unit_ms / 1000.0)
                continue
            self._connection = fresh
            self.counts["handovers"] += 1
            self.spawn(self._drain(connection), "binance-api-drain")
            self.spawn(_awaited(recover), "binance-api-recover")  # a stream that the venue ended early left a hole

    async def _wait(self, connection: link.Connection) -> str:
        """Why the connection ended; "" when another one should take over."""
        assert self._crash is not None
        closed: asyncio.Future[Any] = asyncio.ensure_future(connection.wait_closed())
        renew: asyncio.Future[Any] = asyncio.ensure_future(self._renew.wait())
        try:
            await asyncio.wait({closed, renew, self._crash}, timeout=self._settings.connection_max_s, return_when=asyncio.FIRST_COMPLETED)
            if self._crash.done():
                self._crash.result()
            return str(closed.result()) if closed.done() else ""
        finally:
            closed.cancel()
            renew.cancel()

    async def _drain(self, connection: link.Connection) -> None:
        """Leave an old connection once its requests are answered or timed out."""
        while connection.is_open and any(p.connection is connection for p in self._pending.values()):
            await asyncio.sleep(_DRAIN_POLL_S)
        connection.close("replaced")
        self._lose(connection, "connection replaced")


def _settle(answer: asyncio.Future[Reply], reply: Reply) -> None:
    if not answer.done():
        answer.set_result(reply)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()
