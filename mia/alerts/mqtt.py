"""The MQTT channel: topics, quality of service, the retained status with its last will, and a broker that may come and go.

Nothing is subscribed: no command comes in this way. aiomqtt is imported when the channel starts, so that a daemon without MQTT does
not carry it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from mia.alerts.message import Alert, Describer, StatusPayload, utc
from mia.alerts.outbox import Outbox
from mia.alerts.settings import MqttSettings, SeverityMin
from mia.domain.effects import RecordDecision
from mia.domain.errors import MiaError
from mia.domain.events import OrderFilled
from mia.domain.ids import instance_number
from mia.domain.instruments import Instrument
from mia.ports import Link

if TYPE_CHECKING:
    import aiomqtt

ATTEMPTS: Final = 3  # that fail before the link is called degraded; it goes on for ever
DELAY_S_MAX: Final = 60.0
_STABLE_S: Final = 30.0  # a connection that held so long starts the count anew: one that flaps is degraded, too
_NEVER_S: Final = float("inf")
_TAKEN: Final = " again soon after it was made: does another miad with the same [instance] name use this broker?"
_GOODBYE_S: Final = 1.0
_CANCEL_AGAIN_S: Final = 0.05
_QOS_KEPT, _QOS_PASSING = 1, 0
_REFUSED_USER: Final = (4, 5, 134, 135)  # CONNACK codes of MQTT 3.1.1 and 5: bad user name or password, not authorized
_library_log: Final = logging.getLogger(f"{__name__}.aiomqtt")
_library_log.setLevel(logging.ERROR)  # it warns of every connection that did not end well; `on_link` tells that in our words
OnLink = Callable[[str, Link, str], None]


class Lost(MiaError):
    """The broker is not there, or not any more; `is_refusal` when it knows us and says no."""

    def __init__(self, text: str, *, is_refusal: bool = False) -> None:
        super().__init__(text)
        self.is_refusal = is_refusal


class MqttChannel:
    """One connection to one broker; see `mia.alerts.hub.Channel`.

    Delivered in this order of care: alerts and status with QoS 1, each awaited with a deadline; decisions and fills with QoS 0 from
    queues that lose their oldest; health with QoS 0, the newest only.
    """

    name: Final = "mqtt"

    def __init__(
        self,
        settings: MqttSettings,
        *,
        instance: str,
        severity_min: SeverityMin,
        password: str | None,
        instruments: Sequence[Instrument],
        now_ns: Callable[[], int],
        on_link: OnLink,
        retry_unit_s: float = 1.0,
    ) -> None:
        """on_link: told of every change of the connection, as `mia.ports.Host.link`. retry_unit_s: what 2^attempt is counted in."""
        instance_number(instance)  # a-z, 0-9 and '-': no wildcard and no further level can get into a topic
        self.severity_min: Final = severity_min
        self._settings: Final = settings
        self._instance: Final = instance
        self._password: Final = password
        self._describer: Final = Describer(instance, instruments)
        self._now_ns: Final = now_ns
        self._on_link: Final = on_link
        self._retry_unit_s: Final = retry_unit_s
        self._root: Final = f"{settings.topic_prefix}/{instance}"
        self._where: Final = f"{settings.host}:{settings.port}" + (f" as {settings.username!r}" if settings.username else "")
        self._tls: ssl.SSLContext | None = None
        self._told: tuple[Link, str] | None = None
        self._up_since_s = _NEVER_S
        self._wake: Final = asyncio.Event()
        self._counts: Final[Counter[str]] = Counter(connects=0, failures=0, dropped_decisions=0, dropped_fills=0)
        self._status: tuple[str, tuple[str, ...]] = ("STARTING", ())
        self._status_is_new = False
        self._health: dict[str, Any] | None = None
        self._fills: Final[deque[OrderFilled]] = deque()
        self._decisions: Final[deque[RecordDecision]] = deque()

    def publish_status(self, state: str, reasons: Sequence[str]) -> None:
        """See Channel."""
        self._status = (state, tuple(reasons))
        self._status_is_new = True
        self._wake.set()

    def publish_health(self, health: dict[str, Any]) -> None:
        """See Channel."""
        self._health = health
        self._wake.set()

    def publish_decision(self, decision: RecordDecision) -> None:
        """See Channel."""
        if len(self._decisions) >= self._settings.queue_max:
            self._decisions.popleft()
            self._counts["dropped_decisions"] += 1
        self._decisions.append(decision)
        self._wake.set()

    def publish_fill(self, fill: OrderFilled) -> None:
        """See Channel."""
        if len(self._fills) >= self._settings.queue_max:
            self._fills.popleft()
            self._counts["dropped_fills"] += 1
        self._fills.append(fill)
        self._wake.set()

    def counters(self) -> dict[str, int]:
        """connects, failures, dropped_decisions, dropped_fills, undescribed."""
        return dict(self._counts)

    async def run(self, outbox: Outbox) -> None:
        """Connect, deliver, connect again; for ever. When canceled: `offline` with the reason "stopped", then disconnect."""
        try:
            await self._run(outbox)
        except asyncio.CancelledError:
            self._tell(Link.DOWN, "stopped")
            raise

    async def _run(self, outbox: Outbox) -> None:
        attempt = 0
        self._tell(Link.CONNECTING, self._where)
        while True:
            self._up_since_s = _NEVER_S
            try:
                await self._connection(outbox)
            except Lost as e:
                self._counts["failures"] += 1
                was_up = self._up_since_s != _NEVER_S
                if time.monotonic() - self._up_since_s >= _STABLE_S * self._retry_unit_s:
                    attempt = 0
                attempt = ATTEMPTS if e.is_refusal else attempt + 1
                delay_s = DELAY_S_MAX if e.is_refusal else retry_delay_s(attempt, random.random())
                again = _TAKEN if was_up and attempt > 1 and not e.is_refusal else ""
                self._tell(Link.DEGRADED if attempt >= ATTEMPTS else Link.CONNECTING, f"{e}{again}")
            await asyncio.sleep(delay_s * self._retry_unit_s)

    def _tell(self, state: Link, detail: str) -> None:
        if (state, detail) != self._told:
            self._told = (state, detail)
            self._on_link(self.name, state, detail)

    async def _connection(self, outbox: Outbox) -> None:
        """One connection from its beginning to its end; Lost says how it ended."""
        client = await self._connect()
        self._counts["connects"] += 1
        tasks: set[asyncio.Task[None]] = set()
        try:
            await self._publish_status(client)
            _check_canceled()
            self._up_since_s = time.monotonic()
            self._tell(Link.UP, f"connected to {self._where}")
            work = (self._watch(client), self._publish_alerts(client, outbox), self._publish_rest(client))
            tasks = {asyncio.create_task(task, name="alerts-mqtt-connection") for task in work}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        except asyncio.CancelledError:
            await _end(tasks)
            with contextlib.suppress(Lost):
                await self._publish(client, "status", self._status_payload("offline", "", ("stopped",)), is_kept=True, timeout_s=_GOODBYE_S)
            raise
        finally:
            await _end(tasks)
            await _disconnect(client)

    async def _connect(self) -> aiomqtt.Client:
        """A client that is connected; one that failed is taken down whole, so that it cannot come to life later beside its successor."""
        import aiomqtt

        s = self._settings
        if s.tls and self._tls is None:
            try:
                self._tls = await asyncio.to_thread(ssl.create_default_context, cafile=s.ca_file or None)
            except OSError as e:  # SSLError is one
                raise Lost(f"[mqtt] ca_file {s.ca_file}: cannot be used ({e})") from e
        client = aiomqtt.Client(
            s.host, s.port, username=s.username or None, password=self._password, identifier=s.client_id or f"mia-{self._instance}",
            logger=_library_log, keepalive=s.keepalive_s, timeout=s.publish_timeout_s, tls_context=self._tls,
            will=aiomqtt.Will(
                f"{self._root}/status", self._status_payload("offline", "", ("connection lost",)), qos=_QOS_KEPT, retain=True
            ),
        )  # fmt: skip
        try:
            await client.__aenter__()
        except (aiomqtt.MqttError, OSError, ValueError) as e:
            await _disconnect(client)
            raise self._lost(e) from e
        except asyncio.CancelledError:
            await _disconnect(client)
            raise
        return client

    def _lost(self, error: Exception) -> Lost:
        """What the operator should know and do, in one line."""
        from aiomqtt.exceptions import MqttConnectError

        code = error.rc if isinstance(error, MqttConnectError) else None
        if getattr(code, "value", code) in _REFUSED_USER:
            user = f"user {self._settings.username!r}" if self._settings.username else "a client without user name"
            return Lost(
                f"broker {self._settings.host}:{self._settings.port} refuses {user}: check [mqtt] username and password_file",
                is_refusal=True,
            )
        text = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in text:
            return Lost(f"broker {self._where}: its certificate is not trusted ({text}): check [mqtt] ca_file and host", is_refusal=True)
        return Lost(f"broker {self._where}: {text}")

    async def _watch(self, client: aiomqtt.Client) -> None:
        """Lost as soon as the connection ends; publishing alone would notice only at its deadline."""
        import aiomqtt

        try:
            async for _ in client.messages:
                pass  # nothing is subscribed
        except aiomqtt.MqttError as e:
            raise Lost(f"broker {self._where}: the connection broke") from e

    async def _publish_alerts(self, client: aiomqtt.Client, outbox: Outbox) -> None:
        while True:
            alert: Alert = await outbox.head()
            await self._publish(client, f"alert/{alert.severity}", msgspec.json.encode(alert), is_kept=True)
            outbox.done(alert)

    async def _publish_rest(self, client: aiomqtt.Client) -> None:
        while True:
            self._wake.clear()
            while self._status_is_new:
                await self._publish_status(client)
            while self._fills:
                await self._describe_and_publish(client, "fill", self._describer.fill, self._fills.popleft())
            while self._decisions and not self._status_is_new:
                await self._describe_and_publish(client, "decision", self._describer.decision, self._decisions.popleft())
            if self._health is not None:
                health, self._health = self._health, None
                await self._describe_and_publish(client, "health", dict, health)
            if not (self._status_is_new or self._fills or self._decisions):
                await self._wake.wait()

    async def _describe_and_publish(self, client: aiomqtt.Client, leaf: str, describe: Callable[[Any], Any], what: Any) -> None:
        try:
            payload = msgspec.json.encode(describe(what), enc_hook=str)
        except (MiaError, TypeError, ValueError):
            self._counts["undescribed"] += 1
            return
        await self._publish(client, leaf, payload)

    async def _publish_status(self, client: aiomqtt.Client) -> None:
        self._status_is_new = False
        try:
            await self._publish(client, "status", self._status_payload("online", *self._status), is_kept=True)
        except Lost:
            self._status_is_new = True
            raise

    def _status_payload(self, status: str, state: str, reasons: tuple[str, ...]) -> bytes:
        return msgspec.json.encode(
            StatusPayload(status=status, state=state, reasons=reasons, instance=self._instance, ts=utc(self._now_ns()))
        )

    async def _publish(
        self, client: aiomqtt.Client, leaf: str, payload: bytes, *, is_kept: bool = False, timeout_s: float | None = None
    ) -> None:
        """One message, awaited: kept ones until the broker confirms, the others until they are in the socket. Lost past the deadline."""
        import aiomqtt

        topic = f"{self._root}/{leaf}"
        try:
            await client.publish(topic, payload, _QOS_KEPT if is_kept else _QOS_PASSING, retain=leaf == "status", timeout=timeout_s)
        except (aiomqtt.MqttError, OSError, ValueError) as e:
            raise self._lost(e) from e


def retry_delay_s(attempt: int, chance: float) -> float:
    """Seconds before the next attempt: 2^attempt with a jitter of a quarter either way (chance in [0, 1)), capped."""
    return min(DELAY_S_MAX, 2.0 ** min(attempt, 10) * (0.75 + 0.5 * chance))


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel until they are over: in Python 3.11 a `wait_for` (aiomqtt awaits in one) that finishes at that moment swallows a cancel."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()


def _check_canceled() -> None:
    """Raise the cancel that a `wait_for` may have swallowed; see `_end`."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _disconnect(client: aiomqtt.Client) -> None:
    """DISCONNECT and close, without waiting for a broker that does not answer: the last will is not wanted while we live."""
    import aiomqtt

    client.timeout = min(client.timeout, _GOODBYE_S)
    with contextlib.suppress(aiomqtt.MqttError, OSError, ValueError):
        await client.__aexit__(None, None, None)
