"""The MQTT channel on a real Mosquitto, heard by mosquitto_sub and by paho: what docs/mqtt.md promises, whatever the broker does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mia.alerts.hub import AlertHub
from mia.alerts.message import Alert
from mia.alerts.mqtt import DELAY_S_MAX, MqttChannel, retry_delay_s
from mia.alerts.settings import AlertSettings, MqttSettings
from mia.domain.effects import RecordDecision
from mia.domain.errors import ConfigError
from mia.domain.events import OrderFilled
from mia.ports import Link
from mia.settings import load_settings
from tests.unit.alerts.conftest import WAIT_S, free_port, wait_for

ROOT = Path(__file__).resolve().parents[3]
INSTRUMENTS = load_settings(ROOT / "config" / "miad.toml", environ={}).settings.instruments
BITCOIN = [f"{i.venue}:{i.symbol}" for i in INSTRUMENTS].index("binance_spot:BTCUSDT")
NAN = float("nan")
DECISION = RecordDecision(
    decision_id=7, ts_ns=1_790_000_000_000_000_000, lane=0, instrument=BITCOIN, trade_id="", decision="refused", signal=NAN, alpha=NAN,
    regime_probs=(0.7, 0.2, 0.1), actions=(NAN, NAN, NAN), code="warm_up", limit=NAN, actual=NAN, position_lots=0, target_lots=0,
    inputs_crc=1, order_ids=(),
)  # fmt: skip
FILL = OrderFilled(9, 0, 1_790_000_000_123_456_789, "mia0000000000001", "f1", BITCOIN, 1, 6_512_345, 1500, 97_685, False)


def fill_number(n: int) -> OrderFilled:
    return msgspec.structs.replace(FILL, fill_id=str(n))


class Daemon:
    """A hub with one MQTT channel, running on this loop."""

    def __init__(self, state: Path, port: int, *, merge_window_s: float = 60, outbox_max: int = 1000, **mqtt: Any) -> None:
        password = mqtt.pop("password", None)
        self.links: list[tuple[Link, str]] = []
        settings = MqttSettings(enabled=True, port=port, **{"publish_timeout_s": 1.0, **mqtt})
        self.channel = MqttChannel(
            settings, instance="desk-1", severity_min="info", password=password, instruments=INSTRUMENTS, now_ns=time.time_ns,
            on_link=lambda name, link, detail: self.links.append((link, detail)), retry_unit_s=0.02,
        )  # fmt: skip
        self.hub = AlertHub(
            AlertSettings(merge_window_s=merge_window_s, outbox_max=outbox_max), instance="desk-1", state_dir=state, now_ns=time.time_ns,
            channels=[self.channel],
        )  # fmt: skip

    @property
    def link(self) -> Link | None:
        return self.links[-1][0] if self.links else None


@contextlib.asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[Daemon]:
    """Until the end of the block; then stopped as the process stops it."""
    task = asyncio.create_task(daemon.hub.run())
    try:
        yield daemon
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        daemon.hub.close()


async def until(is_true: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < deadline, f"waited in vain for {what or is_true}"
        await asyncio.sleep(0.01)


def connections_to(port: int) -> int:
    """Sockets of this process that are connected to a port."""
    return sum(c.status == "ESTABLISHED" and c.raddr.port == port for c in psutil.Process().net_connections("tcp"))


def test_mosquitto_sub_sees_what_the_documentation_promises(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()
    broker.start()

    async def scene() -> None:
        async with running(Daemon(tmp_path, broker.port)) as daemon:
            hub = daemon.hub
            await until(lambda: sub.heard("/status"), "the first status")
            for severity in ("info", "warning", "error", "urgent"):
                hub.raise_alert(severity, f"code_{severity}", "line one\nline two \x1b[31mred")
            hub.publish_status("READY", [])
            hub.publish_decision(DECISION)
            hub.publish_fill(FILL)
            hub.publish_health({"state": "READY", "rss_mb": 101.5})
            assert await hub.flush(5)
            await until(lambda: sub.heard("/health") and sub.heard("/fill") and sub.heard("/decision") and len(sub.heard("/status")) > 1)
        await until(lambda: len(sub.heard("/status")) > 2, "the good-bye")

    sub = subscribe(broker.port)
    asyncio.run(scene())

    for severity in ("info", "warning", "error", "urgent"):
        (message,) = sub.heard(f"/alert/{severity}")
        assert (message["topic"], message["qos"]) == (f"mia/desk-1/alert/{severity}", 1)
        assert msgspec.convert(message["payload"], Alert).text == "line one\nline two \x1b[31mred"
    status = [m["payload"] for m in sub.heard("/status")]
    assert [(s["status"], s["state"], s["reasons"]) for s in status] == [
        ("online", "STARTING", []), ("online", "READY", []), ("offline", "", ["stopped"]),
    ]  # fmt: skip
    (decision,) = sub.heard("/decision")
    assert decision["qos"] == 0
    assert decision["payload"]["instrument"] == "binance_spot:BTCUSDT"
    assert decision["payload"]["alpha"] is None
    (fill,) = sub.heard("/fill")
    assert fill["payload"] | {"ts": ""} == {
        "ts": "", "instance": "desk-1", "instrument": "binance_spot:BTCUSDT", "client_order_id": "mia0000000000001", "fill_id": "f1",
        "side": "buy", "price": "65123.45", "qty": "0.015", "fee": "0.00097685", "liquidity_side": "taker",
    }  # fmt: skip
    assert sub.heard("/health")[0]["payload"] == {"state": "READY", "rss_mb": 101.5}
    assert connections_to(broker.port) == 0
    late = subscribe(broker.port)
    wait_for(lambda: late.heard(), "the retained status")
    (retained,) = late.heard()
    assert (retained["topic"], retained["retain"], retained["payload"]["reasons"]) == ("mia/desk-1/status", 1, ["stopped"])


def test_paho_hears_the_same_as_any_client(tmp_path: Path, make_broker: Any) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    broker = make_broker()
    broker.start()
    heard: list[tuple[str, bytes]] = []
    ready: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, m: heard.append((m.topic, m.payload))
    client.on_subscribe = lambda *_: ready.append(1)
    client.connect("127.0.0.1", broker.port)
    client.subscribe("mia/+/alert/#", qos=1)
    client.loop_start()
    wait_for(lambda: ready, "the subscription")

    async def scene() -> None:
        async with running(Daemon(tmp_path, broker.port)) as daemon:
            daemon.hub.raise_alert("urgent", "killed", "by the operator")
            await until(lambda: heard)

    asyncio.run(scene())
    client.loop_stop()
    client.disconnect()

    ((topic, payload),) = heard
    assert topic == "mia/desk-1/alert/urgent"
    assert msgspec.json.decode(payload, type=Alert).priority == 5


PUBLISHER = """
import asyncio, sys, time
from pathlib import Path
from mia.alerts.hub import AlertHub
from mia.alerts.open import open_alerts
from mia.alerts.settings import AlertSettings, MqttSettings

async def main():
    hub = open_alerts(AlertSettings(), MqttSettings(enabled=True, port=int(sys.argv[1])), instance="desk-1",
        state_dir=Path(sys.argv[2]), instruments=(), now_ns=time.time_ns, on_link=lambda *a: None, environ={},
        on_secret=lambda text: None)
    hub.publish_status("READY", [])
    await hub.run()

asyncio.run(main())
"""


def test_the_last_will_is_published_when_the_process_is_killed(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()
    broker.start()
    sub = subscribe(broker.port)
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(broker.port), str(tmp_path)], cwd=ROOT)
    try:
        wait_for(lambda: sub.heard("/status"), "online")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    wait_for(lambda: len(sub.heard("/status")) > 1, "the last will")

    last = sub.heard("/status")[-1]["payload"]
    assert (last["status"], last["state"], last["reasons"]) == ("offline", "", ["connection lost"])


def test_alerts_raised_before_the_broker_is_there_arrive_in_order(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()

    async def scene() -> Any:
        async with running(Daemon(tmp_path, broker.port)) as daemon:
            for n in range(20):
                daemon.hub.raise_alert("error", f"code{n}", "x")
            await until(lambda: daemon.link is Link.DEGRADED, "three failures")
            assert str(broker.port) in daemon.links[-1][1]
            await asyncio.to_thread(broker.start)
            sub = subscribe(broker.port)
            await until(lambda: daemon.link is Link.UP)
            assert await daemon.hub.flush(10)
            daemon.hub.raise_alert("info", "last", "x")
            await until(lambda: sub.heard("/alert/info"))
            return daemon.hub.counters()

    counters = asyncio.run(scene())

    assert (counters["delivered"], counters["dropped_error"], counters["waiting"]) == (21, 0, 0)


def test_no_critical_alert_is_lost_when_the_broker_is_killed_again_and_again(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()
    broker.start()
    heard: set[str] = set()

    async def scene() -> Any:
        async with running(Daemon(tmp_path, broker.port, outbox_max=50)) as daemon:
            for life in range(3):
                sub = subscribe(broker.port)
                await until(lambda: daemon.link is Link.UP)
                await until(lambda sub=sub: sub.heard("/status"), "the subscription")
                for n in range(40):
                    daemon.hub.raise_alert("urgent", "x", f"{life}/{n} up", dedup_key=f"{life}/{n}")
                await until(lambda life=life, sub=sub: f"{life}/39 up" in [a["text"] for a in sub.alerts()])
                heard.update(a["text"] for a in sub.alerts())
                broker.kill()
                for n in range(100):
                    daemon.hub.raise_alert("error" if n % 2 else "info", "y", f"{life}/{n} down", dedup_key=f"{life}/{n} down")
                await asyncio.sleep(0.05)
                assert daemon.hub.counters()["waiting"] <= 50
                # Started before anybody listens, the broker would pass the backlog to nobody: the daemon must find it later.
                await asyncio.to_thread(broker.start)
            assert await daemon.hub.flush(10)
            return daemon.hub.counters()

    counters = asyncio.run(scene())

    assert {f"{life}/{n} up" for life in range(3) for n in range(40)} <= heard
    assert (counters["dropped_error"], counters["dropped_urgent"], counters["waiting"]) == (0, 0, 0)
    assert counters["delivered"] >= 3 * 40 + 3 * 50


def test_a_broker_that_does_not_answer_holds_up_nobody(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()
    broker.start()

    async def scene() -> Any:
        sub = subscribe(broker.port)
        async with running(Daemon(tmp_path, broker.port, outbox_max=20, queue_max=30, publish_timeout_s=0.2)) as daemon:
            await until(lambda: daemon.link is Link.UP)
            await until(lambda: sub.heard("/status"))
            broker.pause()
            for n in range(400):
                daemon.hub.raise_alert("error" if n % 4 == 0 else "info", "x", str(n), dedup_key=str(n))
                daemon.hub.publish_fill(fill_number(n))
                await asyncio.sleep(0.001)
            assert daemon.hub.counters()["raised"] == 400  # all of them at once, with nobody listening
            await until(lambda: daemon.link is Link.DEGRADED, "the deadline")
            counters = daemon.hub.counters()
            assert counters["waiting"] <= 20
            assert counters["mqtt_dropped_fills"] > 0
            broker.resume()
            await until(lambda: daemon.link is Link.UP)
            assert await daemon.hub.flush(10)
            await until(lambda: sub.heard("/fill") and sub.heard("/fill")[-1]["payload"]["fill_id"] == "399")
            await until(lambda: len({a["id"] for a in sub.alerts() if a["severity"] == "error"}) == 100)
            # Woken up, the broker may publish the last wills of connections that were given up; the living one has the last word.
            assert sub.heard("/status")[-1]["payload"]["status"] == "online"
            assert connections_to(broker.port) == 1
            return daemon.hub.counters()

    counters = asyncio.run(scene())

    assert counters["dropped_error"] == 0


def test_a_restart_delivers_what_the_broker_never_got(tmp_path: Path, make_broker: Any, subscribe: Any) -> None:
    broker = make_broker()

    async def without_broker() -> None:
        async with running(Daemon(tmp_path, broker.port)) as daemon:
            daemon.hub.raise_alert("urgent", "halt", "the book is a lie")
            daemon.hub.raise_alert("warning", "feed_down", "x")
            await until(lambda: daemon.link is Link.DEGRADED)

    async def with_broker() -> None:
        async with running(Daemon(tmp_path, broker.port)) as daemon:
            await until(lambda: sub.alerts())
            assert await daemon.hub.flush(5)

    asyncio.run(without_broker())
    broker.start()
    sub = subscribe(broker.port)
    asyncio.run(with_broker())
    asyncio.run(with_broker())

    assert [a["text"] for a in sub.alerts()] == ["the book is a lie"]


def test_a_wrong_password_is_one_clear_line_and_the_right_one_works(
    tmp_path: Path, make_broker: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "mia.alerts.mqtt.aiomqtt")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "mia", "right-canary"], check=True, capture_output=True)
    broker = make_broker("allow_anonymous false", f"password_file {passwords}")
    broker.start()

    async def scene(password: str, state: Link) -> tuple[str, int]:
        daemon = Daemon(tmp_path / password, broker.port, username="mia", password=password)
        async with running(daemon):
            await until(lambda: daemon.link is state, str(state))
            return daemon.links[-1][1], daemon.hub.counters()["mqtt_failures"]

    wrong, failures = asyncio.run(scene("wrong-canary", Link.DEGRADED))
    asyncio.run(scene("right-canary", Link.UP))

    assert wrong == f"broker 127.0.0.1:{broker.port} refuses user 'mia': check [mqtt] username and password_file"
    assert failures == 1  # no password is tried three times in a row: brokers lock users out
    assert "CONNECT" in caplog.text
    assert "canary" not in caplog.text


def _certificates(folder: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ours", "other"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
        )


def test_a_certificate_of_a_stranger_is_refused_and_ours_is_taken(tmp_path: Path, make_broker: Any) -> None:
    _certificates(tmp_path)
    broker = make_broker("allow_anonymous true", f"certfile {tmp_path}/ours.pem", f"keyfile {tmp_path}/ours.key")
    broker.start()

    async def scene(ca: str, state: Link) -> str:
        daemon = Daemon(tmp_path / ca, broker.port, tls=True, ca_file=str(tmp_path / ca))
        async with running(daemon):
            await until(lambda: daemon.link is state, f"{ca}: {state}")
            return daemon.links[-1][1]

    wrong = asyncio.run(scene("other.pem", Link.DEGRADED))
    missing = asyncio.run(scene("nobody.pem", Link.DEGRADED))
    asyncio.run(scene("ours.pem", Link.UP))

    assert "certificate is not trusted" in wrong
    assert "[mqtt] ca_file" in wrong
    assert "nobody.pem" in missing


def test_a_port_that_talks_no_mqtt_ends_in_degraded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and says nothing

        async def scene() -> Link | None:
            async with running(Daemon(tmp_path, deaf.getsockname()[1], publish_timeout_s=0.1)) as daemon:
                await until(lambda: daemon.link is Link.DEGRADED)
                return daemon.link

        assert asyncio.run(scene()) is Link.DEGRADED


def test_a_channel_that_was_ended_is_not_shown_as_connected(tmp_path: Path, make_broker: Any) -> None:
    broker = make_broker("allow_anonymous true")
    broker.start()

    async def scene() -> Daemon:
        daemon = Daemon(tmp_path, broker.port)
        async with running(daemon):
            await until(lambda: daemon.link is Link.UP, "connected")
        return daemon

    assert asyncio.run(scene()).links[-1] == (Link.DOWN, "stopped")


def test_retries_double_with_jitter_and_are_capped() -> None:
    assert [retry_delay_s(n, 0.5) for n in (1, 2, 3)] == [2, 4, 8]
    assert retry_delay_s(1, 0.0) == 1.5
    assert max(retry_delay_s(n, 0.999) for n in range(1, 100_000)) == DELAY_S_MAX


@pytest.mark.parametrize("name", ["mia/evil", "a+b", "#", "", "A", "x" * 33])
def test_an_instance_name_cannot_reach_into_other_topics(name: str) -> None:
    with pytest.raises(ConfigError):
        MqttChannel(
            MqttSettings(), instance=name, severity_min="info", password=None, instruments=(), now_ns=time.time_ns, on_link=lambda *_: None
        )


def test_a_daemon_without_mqtt_does_not_load_its_library() -> None:
    script = "import sys, mia.alerts.open, mia.alerts.hub, mia.settings; print([m for m in sys.modules if 'mqtt' in m and 'mia' not in m])"

    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ})

    assert result.stdout.strip() == "[]"


def test_counters_of_a_broker_that_was_never_there_stay_bounded(tmp_path: Path) -> None:
    async def scene() -> dict[str, int]:
        async with running(Daemon(tmp_path, free_port(), queue_max=5)) as daemon:
            for n in range(50):
                daemon.hub.publish_decision(DECISION)
                daemon.hub.publish_fill(fill_number(n))
            return daemon.hub.counters()

    counters = asyncio.run(scene())

    assert (counters["mqtt_dropped_decisions"], counters["mqtt_dropped_fills"]) == (45, 45)
