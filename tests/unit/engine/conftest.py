"""One engine under a microscope: a strategy that says what the test wants, and a venue that answers at once or not at all."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Literal

import pytest

from mia.domain import events as ev
from mia.domain.effects import AnyEffect, CancelOrder, RecordDecision, ReplaceOrder, SubmitOrder
from mia.domain.instruments import Instrument
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.execution.settings import ExecutionSettings
from mia.features.calendars import Calendar
from mia.policy.strategy import Target, Trigger
from mia.risk.limits import RiskSettings
from mia.risk.windows import Blackout, Family, Windows

START_NS = 1_750_000_000_000_000_000  # 2025-06-15 15:06:40 UTC, a Sunday
MS = 1_000_000
Kind = Literal["spot", "perpetual"]

LIMITS: dict[str, Any] = {
    "position_lots_max": 1000, "equity_share_max": 1.0, "order_lots_max": 1000, "order_notional_max": 1e9,
    "exposure_notional_max": 1e9, "orders_per_minute_max": 4096, "daily_loss_max": 1.0, "drawdown_max": 1.0,
    "quote_age_ms_max": 2000, "price_collar_bps_max": 100.0, "overtrade_trades_per_hour": 4096, "cool_down_s": 5.0,
}  # fmt: skip


def instrument(kind: Kind) -> Instrument:
    return Instrument(
        venue="sim", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal("0.001"),
    )  # fmt: skip


class Says:
    """A strategy whose answer the test sets."""

    def __init__(self, columns: tuple[str, ...] = (), trigger: Trigger = "quote", min_interval_ms: int = 0, alpha_min: float = 0.0) -> None:
        self.name, self.sha256, self.columns, self.trigger = "says", "0" * 64, columns, trigger
        self.min_interval_ns, self.bar, self.alpha_min, self.regime = min_interval_ms * MS, "time:1s", alpha_min, b""
        self.models = self.drift = b""
        self.lo, self.hi = (float("-inf"),) * len(columns), (float("inf"),) * len(columns)
        self.signal, self.alpha, self.asked = 0.0, 1.0, 0

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        self.asked += 1
        return Target(self.signal, self.alpha, (self.signal,) * 3)


class Rig:
    """Steps events; `answers` lets a venue without latency accept, fill and cancel whatever is sent."""

    def __init__(
        self, *strategies: Says, kind: Kind = "perpetual", answers: bool = True, holds_stops: bool = True, windows: Windows | None = None,
        calendars: dict[str, Calendar] | None = None, execution: ExecutionSettings | None = None, started: bool = True, **limits: Any,
    ) -> None:  # fmt: skip
        self.says = strategies[0] if strategies else Says()
        self.answers, self.now, self.seq, self.fills, self.bid, self.ask = answers, START_NS, 0, 0, 0, 0
        self.working: dict[str, SubmitOrder] = {}
        self.sent: list[SubmitOrder] = []
        open_always = Windows({"crypto": Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2099-01-01T00:00:00Z")}, ())
        self.engine = Engine(
            EngineConfig(
                instance="test",
                instruments=(instrument(kind),),
                lanes=tuple(LaneSpec(instrument=0, strategy=s) for s in (strategies or (self.says,))),
                risk=RiskSettings(**{**LIMITS, **limits}),
                execution=execution or ExecutionSettings(dead_band_share=0.0),
                windows=windows or open_always,
                cash_e8=10_000 * 10**8,
                currency="USDT",
                venue_holds_stops=holds_stops,
                calendars=calendars or {},
            )
        )
        if started:
            self.give(ev.RunStarted, 1, "test", "paper", {}, "{}", "hash")
            self.give(ev.TradingEnabled)

    # --- facts --------------------------------------------------------------------------------------------------
    def give(self, kind: Any, *fields: Any, dt_ms: int = 0) -> list[AnyEffect]:
        """Step one event dt_ms later, and the venue's answers to what it caused; all effects in order."""
        self.now += dt_ms * MS
        pending: deque[tuple[Any, tuple[Any, ...]]] = deque([(kind, fields)])
        out: list[AnyEffect] = []
        while pending:
            make, values = pending.popleft()
            self.seq += 1
            effects = list(self.engine.step(make(self.seq, 0, self.now, *values)))
            out += effects
            for effect in effects:
                if isinstance(effect, SubmitOrder):
                    self.sent.append(effect)
                if self.answers:
                    pending += self._answer(effect)
        return out

    def _answer(self, e: AnyEffect) -> list[tuple[Any, tuple[Any, ...]]]:
        if isinstance(e, SubmitOrder):
            accepted = (ev.OrderAccepted, (e.client_order_id, "V"))
            if e.order_type == "market":
                return [accepted, self.fill_of(e, self.ask if e.side > 0 else self.bid, e.qty_lots)]
            self.working[e.client_order_id] = e
            return [accepted]
        if isinstance(e, CancelOrder) and self.working.pop(e.client_order_id, None) is not None:
            return [(ev.OrderCanceled, (e.client_order_id, "asked"))]
        if isinstance(e, ReplaceOrder):
            return [(ev.OrderReplaced, (e.client_order_id, e.price_ticks, e.stop_ticks, e.qty_lots))]
        return []

    def fill_of(self, e: SubmitOrder, price_ticks: int, lots: int) -> tuple[Any, tuple[Any, ...]]:
        self.fills += 1
        return ev.OrderFilled, (e.client_order_id, f"F{self.fills}", e.instrument, e.side, price_ticks, lots, 0, False)

    def quote(self, bid: int = 10_000, ask: int | None = None, *, dt_ms: int = 100, lots: int = 50) -> list[AnyEffect]:
        self.bid, self.ask = bid, bid + 2 if ask is None else ask
        return self.give(ev.Quote, 0, self.bid, self.ask, lots, lots, dt_ms=dt_ms)

    def book(self, bid: int = 10_000, *, dt_ms: int = 0) -> list[AnyEffect]:
        bids = b"".join(struct.pack("<2q", bid - i, 10) for i in range(5))
        asks = b"".join(struct.pack("<2q", bid + 2 + i, 10) for i in range(5))
        return self.give(ev.BookSnapshot, 0, bids, asks, dt_ms=dt_ms)

    def timer(self, dt_ms: int = 100) -> list[AnyEffect]:
        return self.give(ev.Timer, dt_ms=dt_ms)

    # --- what came of it ------------------------------------------------------------------------------------------
    def decide(self, signal: float, **quote: Any) -> RecordDecision:
        """The record of the decision that a quote causes while the strategy wants `signal`."""
        self.says.signal = signal
        return self.records(self.quote(**quote))[0]

    @staticmethod
    def records(effects: list[AnyEffect]) -> list[RecordDecision]:
        return [e for e in effects if isinstance(e, RecordDecision)]

    @property
    def lots(self) -> int:
        return self.engine.state.portfolio.lots(0)

    def protective(self) -> dict[str, tuple[int, int]]:
        """purpose -> (open lots, trigger) of the open protective orders."""
        orders = self.engine.state.table.open_orders(0)
        return {str(o.purpose): (o.open_lots, o.stop_ticks) for o in orders if o.purpose in ("stop", "take")}


@pytest.fixture
def rig() -> Callable[..., Rig]:
    """Makes rigs; see Rig."""
    return Rig


@pytest.fixture
def says() -> Callable[..., Says]:
    """Makes strategies; see Says."""
    return Says


@pytest.fixture
def windows() -> Callable[..., Windows]:
    """Makes trade windows of the family crypto: blackouts as keyword tables, sessions all day."""

    def make(*blackouts: dict[str, Any]) -> Windows:
        family = Family(
            time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2099-01-01T00:00:00Z",
            blackouts=[Blackout(**b) for b in blackouts],
        )  # fmt: skip
        return Windows({"crypto": family}, ())

    return make
