"""docs/mqtt.md against the code: its examples are what the daemon sends, its tables name every field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from mia.alerts.message import Alert, DecisionPayload, Describer, FillPayload, StatusPayload, alert_id, make_alert
from mia.alerts.settings import MqttSettings
from mia.control.messages import Status
from mia.domain.effects import RecordDecision
from mia.domain.events import OrderFilled
from mia.settings import load_settings

ROOT: Final = Path(__file__).resolve().parents[3]
DOC: Final = ROOT / "docs" / "mqtt.md"
T0: Final = 1_790_000_000_123_000_000
S: Final = 1_000_000_000


def _text(payload: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(payload), indent=2).decode()


def _examples() -> dict[str, str]:
    instruments = load_settings(ROOT / "config" / "miad.toml", environ={}).settings.instruments
    bitcoin = [f"{i.venue}:{i.symbol}" for i in instruments].index("binance_spot:BTCUSDT")
    describer = Describer("mia", instruments)
    stale = make_alert(T0, "warning", "feed_stale", "binance_spot: connected, yet silent for 5.2 s", instance="mia")
    merged = msgspec.structs.replace(stale, id=alert_id(T0 + 60 * S), count=4, ts="2026-09-21T14:14:15.402Z")
    decision = RecordDecision(
        decision_id=41, ts_ns=T0, lane=1, instrument=bitcoin, trade_id="mia-7", decision="buy", signal=0.62, alpha=0.71,
        regime_probs=(0.15, 0.8, 0.05), actions=(0.1, 0.8, 0.0), code="ok", limit=float("nan"), actual=float("nan"), position_lots=0,
        target_lots=1500, inputs_crc=1, order_ids=("mia0i00010000191",),
    )  # fmt: skip
    fill = OrderFilled(9, 0, T0, "mia0i00010000191", "83920155", bitcoin, 1, 6_512_345, 1500, 97_685_175, False)
    return {
        "online": _text(StatusPayload(status="online", state="READY", reasons=(), instance="mia", ts="2026-09-21T14:13:20.123Z")),
        "will": _text(
            StatusPayload(status="offline", state="", reasons=("connection lost",), instance="mia", ts="2026-09-21T14:13:19.871Z")
        ),
        "alert": _text(merged),
        "decision": _text(describer.decision(decision)),
        "fill": _text(describer.fill(fill)),
    }


EXAMPLES: Final = _examples()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_what_the_daemon_sends(name: str) -> None:
    assert f"```json\n{EXAMPLES[name]}\n```" in DOC.read_text()


@pytest.mark.parametrize("payload", [Alert, StatusPayload, DecisionPayload, FillPayload])
def test_the_tables_name_every_field(payload: type[msgspec.Struct]) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", DOC.read_text(), re.MULTILINE))

    assert set(payload.__struct_fields__) <= rows


def test_the_example_of_health_is_made_of_what_the_control_socket_answers() -> None:
    block = re.search(r"## health.*?```json\n(.*?)\n```", DOC.read_text(), re.DOTALL)

    assert block is not None
    assert set(msgspec.json.decode(block.group(1))) <= set(Status.__struct_fields__)


@pytest.mark.parametrize("fields", [lambda: MqttSettings.__struct_fields__])
def test_every_setting_is_named(fields: Callable[[], tuple[str, ...]]) -> None:
    text = DOC.read_text()

    assert [name for name in fields() if f"`{name}`" not in text and f"\n{name} = " not in text] == []
