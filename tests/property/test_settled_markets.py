"""What is looked at only after something happened: an engine that looks again every second wishes the same, whatever the venue does."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest

from mia.domain import events as ev
from mia.domain.effects import CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.execution import protect
from mia.execution.settings import ExecutionSettings
from mia.risk.limits import RiskSettings
from mia.risk.windows import Blackout, Family, Windows
from tests.unit.engine.conftest import LIMITS, MS, START_NS, Says, instrument

FLAT: Final = tuple(Blackout(rule=f"mon-sun {h:02d}:{m:02d}-{h:02d}:{m + 2:02d}", position="flatten") for h in range(24) for m in (10, 40))
ENDS: Final = (ev.OrderCanceled, ev.OrderExpired)


def config(rnd: random.Random) -> EngineConfig:
    first, second = (
        msgspec.structs.replace(instrument(rnd.choice(("spot", "perpetual"))), symbol=name, min_notional=Decimal(rnd.choice((0, 2))))
        for name in "XY"
    )
    strategies = [Says() for _ in range(3)]
    return EngineConfig(
        instance="test",
        instruments=(first, second),
        lanes=tuple(LaneSpec(instrument=i, strategy=s) for i, s in zip((0, 1, 0), strategies, strict=True)),
        risk=RiskSettings(**{**LIMITS, "position_lots_max": 300, "cool_down_s": rnd.choice((0.5, 5.0))}),
        execution=ExecutionSettings(
            dead_band_share=0.0,
            entry=rnd.choice(("market", "limit")),
            venue_replaces_orders=rnd.random() < 0.6,
            protect_hysteresis_share=rnd.choice((0.0, 0.0005, 0.01)),
        ),
        windows=Windows(
            {"crypto": Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2099-01-01T00:00:00Z", blackouts=list(FLAT))},
            (),
        ),
        cash_e8=10_000 * 10**8,
        currency="USDT",
        venue_holds_stops=rnd.random() < 0.8,
    )


class Market:
    """A venue that mostly answers, and sometimes anything: the next event, of what the engine has asked so far."""

    def __init__(self, rnd: random.Random, strategies: list[Says]) -> None:
        self.rnd, self.strategies = rnd, strategies
        self.now, self.seq, self.fills, self.run = START_NS, 0, 0, 1
        self.mid = [10_000, 10_000]
        self.open: dict[str, list[Any]] = {}  # id -> [order, lots left]
        self.asked: list[Any] = []
        self.lots = [0, 0]
        self.planned: list[tuple[Any, ...]] = []  # kinds and fields of events that come next

    def make(self, kind: Any, *fields: Any) -> Any:
        self.seq += 1
        return kind(self.seq, 0, self.now, *fields)

    def take(self, effects: Any) -> None:
        for e in effects:
            if isinstance(e, SubmitOrder):
                self.open[e.client_order_id] = [e, e.qty_lots]
            if isinstance(e, SubmitOrder | CancelOrder | ReplaceOrder | QueryOrder) and self.rnd.random() < 0.9:
                self.asked.append(e)

    def next(self) -> Any:
        rnd = self.rnd
        if self.planned:
            kind, *fields = self.planned.pop(0)
            self.now += 1_100 * MS
            return self.make(kind, *fields)
        if self.asked and rnd.random() < 0.75:
            return self._answer(self.asked.pop(0 if rnd.random() < 0.9 else rnd.randrange(len(self.asked))))
        if self.open and rnd.random() < 0.06:
            return self._fill(rnd.choice(list(self.open)))
        if rnd.random() < 0.06:
            return self._odd()
        if rnd.random() < 0.6:
            step = 1_000 * MS if rnd.random() < 0.5 else 100 * MS
            self.now += step
            return self.make(ev.Timer)
        i = rnd.randrange(2)
        if rnd.random() < 0.05:
            rnd.choice(self.strategies).signal = rnd.choice((0.0, 0.0, 0.5, -0.5, 0.2, 1.0))
        self.mid[i] = max(5_000, min(15_000, self.mid[i] + rnd.choice((-1, 0, 1, 0, 0, 0, -120, 120) if rnd.random() < 0.3 else (0,))))
        return self.make(ev.Quote, i, self.mid[i] - 1, self.mid[i] + 1, rnd.choice((9, 9, 9, 9, 9, 9, 0)), 9)

    def _answer(self, e: Any) -> Any:
        rnd, name = self.rnd, e.client_order_id
        if rnd.random() < 0.04:
            names: dict[Any, str] = {SubmitOrder: "submit", CancelOrder: "cancel", ReplaceOrder: "replace", QueryOrder: "query"}
            return self.make(ev.RequestTimedOut, name, names[type(e)])
        if isinstance(e, SubmitOrder):
            if rnd.random() < 0.1:
                self.open.pop(name, None)
                return self.make(ev.OrderRejected, name, rnd.choice(("busy", "reduce_only")), "")
            if e.order_type == "market":
                return self._fill(name, whole=rnd.random() < 0.8)
            return self.make(ev.OrderAccepted, name, "V")
        if isinstance(e, CancelOrder):
            if rnd.random() < 0.1 or name not in self.open:
                return self.make(ev.CancelRejected, name, "no")
            self.open.pop(name)
            return self.make(ev.OrderCanceled, name, "asked")
        if isinstance(e, ReplaceOrder):
            if rnd.random() < 0.1 or name not in self.open:
                return self.make(ev.ReplaceRejected, name, "no")
            lots = e.qty_lots if rnd.random() < 0.9 else max(1, e.qty_lots - 1)
            self.open[name][1] = lots
            return self.make(ev.OrderReplaced, name, e.price_ticks, e.stop_ticks, lots)
        if name in self.open:
            return self.make(ev.OrderAccepted, name, "V")
        return self.make(ev.OrderCanceled, name, "gone")

    def _fill(self, name: str, *, whole: bool = False) -> Any:
        if name not in self.open:
            return self.make(ev.Timer)
        order, left = self.open[name]
        most = min(left, max(0, -order.side * self.lots[order.instrument])) if order.reduce_only else left
        if most <= 0:
            del self.open[name]
            return self.make(self.rnd.choice(ENDS), name, "nothing to reduce")
        lots = most if whole else self.rnd.randint(1, most)
        self.open[name][1] -= lots
        if not self.open[name][1]:
            del self.open[name]
        self.lots[order.instrument] += order.side * lots
        self.fills += 1
        price = self.mid[order.instrument]
        return self.make(ev.OrderFilled, name, f"F{self.fills}", order.instrument, order.side, price, lots, 7, False)

    def _odd(self) -> Any:
        rnd, i = self.rnd, self.rnd.randrange(2)
        roll = rnd.randrange(16)
        if roll == 0:
            self.run += 1
            asked = [(ev.Flatten, "")] if rnd.random() < 0.5 else []
            self.planned = [
                *asked,
                *[(ev.Timer,)] * 3,
                (ev.TradingEnabled, ""),
                (ev.Quote, 0, self.mid[0] - 1, self.mid[0] + 1, 9, 9),
                (ev.Timer,),
            ]
            return self.make(ev.RunStarted, self.run, "test", "paper", {}, "{}", "hash")
        if roll in (1, 2, 3):
            return self.make(ev.TradingEnabled, "")
        if roll == 4:
            return self.make(ev.TradingDisabled, "no")
        if roll == 5:
            return self.make(ev.TradingEnabled, "no")
        if roll == 6:
            return self.make(*rnd.choice(((ev.Pause, ""), (ev.Flatten, ""), (ev.Kill, 0, ""))))
        if roll in (7, 8, 9):
            return self.make(ev.Resume, True)
        if roll == 10:
            return self.make(ev.PositionReported, i, self.lots[i] + rnd.choice((0, 0, 1)), 0)
        if roll == 11:
            self.open = {name: known for name, known in self.open.items() if rnd.random() < 0.9}
            seen = ((n, o, left) for n, (o, left) in self.open.items())
            orders = tuple(
                ev.OpenOrder(n, "V", o.instrument, o.side, o.order_type, 0, o.stop_ticks, left, 0, o.reduce_only) for n, o, left in seen
            )
            return self.make(ev.OpenOrdersReported, "sim", orders)
        if roll == 12:
            return self.make(*rnd.choice(((ev.FeedDown, "sim", "lost"), (ev.FeedUp, "sim"), (ev.FeedGap, i, 1, 3))))
        if roll == 13 and self.open:
            name = rnd.choice(list(self.open))
            del self.open[name]
            return self.make(*rnd.choice(((ENDS[0], name, "venue"), (ENDS[1], name, "venue"), (ev.OrderRejected, name, "venue", "late"))))
        if roll == 14:
            return self.make(ev.CashFlow, f"c{self.seq}", i, "funding", rnd.choice((-5, 5)) * 10**7)
        self.now += rnd.choice((3_000, 70_000)) * MS
        return self.make(ev.Timer)


def look_at_all(engine: Engine) -> None:
    for market in engine.markets:
        market.is_settled, market.armed = False, None


def never_in_line(position: Any, table: Any) -> bool:
    return not position.lots and not table.exposure(position.instrument).protective


@pytest.mark.parametrize("seed", range(6))
def test_an_engine_that_looks_every_second_whatever_happened_wishes_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = msgspec.msgpack.encode
    skipped, kinds = 0, Counter[str]()
    for part in range(6):
        rnd = random.Random(100 * seed + part)
        settings = config(rnd)
        memo, plain = Engine(settings), Engine(settings)
        market = Market(rnd, [lane.strategy for lane in settings.lanes])  # type: ignore[misc]
        opening = [market.make(ev.RunStarted, 1, "test", "paper", {}, "{}", "hash"), market.make(ev.TradingEnabled, "")]
        for n in range(1_500):
            event = opening.pop(0) if opening else market.next()
            skipped += type(event) is ev.Timer and any(m.is_settled and m.position.lots for m in memo.markets)
            found = memo.step(event)
            look_at_all(plain)
            with monkeypatch.context() as patch:
                patch.setattr(protect, "is_in_line", never_in_line)
                expected = plain.step(event)
            assert encode(list(found)) == encode(list(expected)), (seed, part, n, event)
            kinds.update(f"{type(e).__name__} {getattr(e, 'purpose', '')}".strip() for e in found)
            market.take(found)
            if rnd.random() < 0.003:
                again = Engine(settings)
                again.restore(*memo.snapshot())
                memo = again

    assert skipped > 100  # the memo was asked
    wished = {"SubmitOrder stop", "SubmitOrder take", "SubmitOrder exit", "SubmitOrder entry", "CancelOrder", "QueryOrder"}
    assert wished <= set(kinds)
