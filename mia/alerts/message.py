"""What leaves the daemon: the payloads of alerts, status, decisions and fills, as JSON that docs/mqtt.md describes.

JSON escapes control characters, so that no text of a venue can break a line or drive a terminal; long texts are cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from mia.domain.effects import RecordDecision
from mia.domain.errors import MiaError
from mia.domain.events import OrderFilled
from mia.domain.ids import base32
from mia.domain.instruments import Instrument

SEVERITIES: Final = ("info", "warning", "error", "urgent")
RANK: Final[Mapping[str, int]] = {severity: rank for rank, severity in enumerate(SEVERITIES)}
CRITICAL: Final = ("error", "urgent")  # these persist until they are delivered
# Urgent, and somebody has to act at once: the daemon stands and will not go on by itself.
ACT_NOW: Final = frozenset(
    {"drawdown_stop", "fail_stop", "halt", "killed", "order_table", "position_mismatch", "state_halted", "state_killed"}
)
ID_DIGITS: Final = 13
_TEXT_MAX, _TITLE_MAX, _CODE_MAX, _KEY_MAX = 2000, 120, 64, 200

TITLES: Final[Mapping[str, str]] = {
    "alert_channel_failed": "A channel for alerts failed",
    "balance_adopted": "Cash corrected to the venue's",
    "clock_skewed": "System clock jumped",
    "drawdown_stop": "Drawdown limit reached",
    "engine_stop": "Protective level reached",
    "external_fill": "Fill of an order that is not ours",
    "external_flow": "Money moved without a fill of ours",
    "external_order": "Order that is not ours",
    "fail_stop": "The daemon stopped itself",
    "feed_down": "Market feed is down",
    "feed_gap": "Gap in the order book",
    "feed_stale": "Market feed is silent",
    "feed_up": "Market feed is up",
    "halt": "Trading halted",
    "killed": "Kill switch: trading is off",
    "late_fill": "Fill after the order had closed",
    "late_report": "Report after the order had closed",
    "link_degraded": "A connection does not come back",
    "link_up": "A connection is back",
    "limit_not_lowered": "Limit was not lowered",
    "model_drift": "The model sees another market than it was trained on",
    "order_rejected": "Order rejected",
    "order_still_open": "Order still open at the venue",
    "order_table": "Orders contradict each other",
    "out_of_range": "Model meets an unknown market",
    "position_adopted": "Position taken over from the venue",
    "position_mismatch": "Position differs from the venue's",
    "request_timed_out": "No answer from the venue",
    "session_exit": "Trade window closed the position",
    "state_degraded": "Degraded: trading with less",
    "state_halted": "Halted: the operator is needed",
    "state_killed": "Killed: trading is off",
    "state_no_new": "No new positions",
    "state_ready": "Ready: trading",
    "state_safe": "Safe mode: exits only",
    "state_starting": "Starting",
    "state_stopping": "Stopping",
    "switch_refused": "Model was not switched",
    "task_failed": "A part of the daemon failed",
}


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert as it is stored and sent. Delivered at least once: the same id may come twice after a broken connection."""

    id: str  # unique in the instance; sorts by time
    ts: str  # UTC, of the newest occurrence
    severity: str  # info | warning | error | urgent
    priority: int  # 1 info, 2 warning, 3 error, 4 urgent, 5 urgent: somebody has to act at once
    code: str  # what happened, for machines
    title: str  # a few words for a phone
    text: str  # the whole story in one sentence
    instance: str
    dedup_key: str  # repeats with the same key are merged
    count: int = 1  # how many occurrences this message stands for
    first_ts: str = ""  # UTC, of the first of them

    @property
    def is_critical(self) -> bool:
        """True for error and urgent."""
        return self.severity in CRITICAL


class StatusPayload(msgspec.Struct, frozen=True, kw_only=True):
    """Retained at `status`; offline with reasons ("connection lost",) is the last will, ts then is when that connection began."""

    status: str  # online | offline
    state: str  # READY, DEGRADED, NO_NEW, ... ; "" when offline
    reasons: tuple[str, ...]
    instance: str
    ts: str


class DecisionPayload(msgspec.Struct, frozen=True, kw_only=True):
    """One decision at `decision`; null where a value was not reached. Sizes are plain decimals in units of the base."""

    decision_id: int
    ts: str
    instance: str
    instrument: str  # venue:SYMBOL
    trade_id: str
    decision: str  # buy | sell | reduce | flat | hold | refused
    code: str
    signal: float
    alpha: float
    regime_probs: dict[str, float]
    position: str
    target: str
    order_ids: tuple[str, ...]


class FillPayload(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of ours at `fill`; price, size and fee as plain decimals."""

    ts: str
    instance: str
    instrument: str  # venue:SYMBOL
    client_order_id: str
    fill_id: str
    side: str  # buy | sell
    price: str  # quote currency
    qty: str  # units of the base
    fee: str  # quote currency; negative is a rebate
    liquidity_side: str  # maker | taker


def utc(ts_ns: int) -> str:
    """UTC ISO 8601 with milliseconds, cut not rounded."""
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def alert_id(ts_ns: int) -> str:
    """A time as 13 digits that sort like it."""
    return base32(ts_ns, ID_DIGITS)


def priority(severity: str, code: str) -> int:
    """1 to 5, as phones and paging services count."""
    return 5 if severity == "urgent" and code in ACT_NOW else RANK[severity] + 1


def title_of(code: str) -> str:
    """A few words for a code; one that is not known reads as it is written."""
    return TITLES.get(code) or (code.replace("_", " ").strip().capitalize() or "Alert")


def cut(text: str, size_max: int) -> str:
    """At most size_max characters that UTF-8 can carry."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= size_max else clean[: size_max - 1] + "…"


def make_alert(ts_ns: int, severity: str, code: str, text: str, *, title: str = "", instance: str = "", dedup_key: str = "") -> Alert:
    """One occurrence, not numbered yet. A severity that does not exist counts as error, so that nobody overlooks it."""
    severity = severity if severity in RANK else "error"
    ts = utc(ts_ns)
    return Alert(
        id="", ts=ts, severity=severity, priority=priority(severity, code), code=cut(code, _CODE_MAX),
        title=cut(title or title_of(code), _TITLE_MAX), text=cut(text, _TEXT_MAX), instance=instance,
        dedup_key=cut(dedup_key or code, _KEY_MAX), first_ts=ts,
    )  # fmt: skip


class Describer:
    """Turns decisions and fills into payloads: ticks and lots become prices and sizes."""

    def __init__(self, instance: str, instruments: Sequence[Instrument]) -> None:
        """instruments: by their number, as the engine knows them."""
        self._instance = instance
        self._instruments = tuple(instruments)

    def decision(self, d: RecordDecision) -> DecisionPayload:
        """The payload of a decision."""
        known = self._of(d.instrument)
        return DecisionPayload(
            decision_id=d.decision_id, ts=utc(d.ts_ns), instance=self._instance, instrument=f"{known.venue}:{known.symbol}",
            trade_id=d.trade_id, decision=d.decision, code=d.code, signal=d.signal, alpha=d.alpha,
            regime_probs=dict(zip(("range", "trend", "defensive"), d.regime_probs, strict=True)),
            position=_plain(d.position_lots * known.lot_size), target=_plain(d.target_lots * known.lot_size), order_ids=d.order_ids,
        )  # fmt: skip

    def fill(self, f: OrderFilled) -> FillPayload:
        """The payload of a fill."""
        known = self._of(f.instrument)
        return FillPayload(
            ts=utc(f.ts_recv_ns), instance=self._instance, instrument=f"{known.venue}:{known.symbol}",
            client_order_id=f.client_order_id, fill_id=f.fill_id, side="buy" if f.side > 0 else "sell",
            price=_plain(f.price_ticks * known.tick_size), qty=_plain(f.qty_lots * known.lot_size),
            fee=_plain(Decimal(f.fee_e8).scaleb(-8)), liquidity_side="maker" if f.is_maker else "taker",
        )  # fmt: skip

    def _of(self, instrument: int) -> Instrument:
        if not 0 <= instrument < len(self._instruments):
            raise MiaError(f"instrument {instrument} is not among the {len(self._instruments)} that are known")
        return self._instruments[instrument]


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text
