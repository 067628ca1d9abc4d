"""Keep-warm: an understudy plays the decision path while the loop is idle, so that the caches are hot when a frame comes.

A decision after 100 ms of quiet is several times slower than back to back, and most of that is cold Python code, not the
model. The understudy is a second engine with the same strategies (the same inference session) on state of its own: it takes
a made-up quote through `Engine.step`, encodes what follows and throws it away. Trading state is only read: the lanes' rows and
the last review, to keep their memory near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from mia.domain.effects import SubmitOrder
from mia.domain.events import Quote, RunStarted, TradingEnabled
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.execution.table import OrderTable
from mia.policy.strategy import Strategy, Target, Trigger

_BUFFER_BYTES: Final = 1 << 16
_SPREAD_TICKS: Final = 1
DeadEnd = Callable[[SubmitOrder], object]


class ChangingSides:
    """A strategy around another: the same evaluation, then a target that changes sides, so that every decision makes an order."""

    def __init__(self, inner: Strategy, min_interval_ns: int) -> None:
        self._inner: Final = inner
        self._side = 1.0
        self.name, self.sha256, self.columns, self.bar = inner.name, inner.sha256, inner.columns, inner.bar
        self.lo, self.hi, self.regime, self.models = inner.lo, inner.hi, inner.regime, inner.models
        self.drift = b""  # what the understudy sees is made up
        self.trigger: Trigger = "quote"
        self.min_interval_ns = min_interval_ns
        self.alpha_min = 0.0

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        """The inner evaluation, its signal replaced."""
        target = self._inner.evaluate(obs, regime_probs)
        self._side = -self._side
        return Target(0.5 + 0.4 * self._side, 1.0, target.actions)


class _ReadyPlan:
    """A lane's feature plan that says that it is warm: what the understudy computes means nothing."""

    def __init__(self, plan: Any) -> None:
        self._plan = plan
        self.values = plan.values
        for name in ("on_quote", "on_trade", "on_book", "on_time", "set_account", "set_record", "regime_probs", "observe", "is_warm"):
            setattr(self, name, getattr(plan, name))

    def first_cold(self) -> int:
        """Nothing is."""
        return -1


class Understudy:
    """Built once beside the engine; `play` takes about as long as a decision."""

    def __init__(self, engine: Engine, dead_end: DeadEnd | None = None) -> None:
        """dead_end: takes an order to nowhere through the code of the venue's order path, where there is one."""
        self._engine: Final = engine
        self._dead_end: Final = dead_end
        self._encode_into: Final = msgspec.msgpack.Encoder().encode_into
        self._buffer: Final = bytearray(_BUFFER_BYTES)
        self._double: Final = Engine(_relaxed(engine.config))
        for lane in self._double.lanes:
            lane.plan = _ReadyPlan(lane.plan)  # type: ignore[misc,assignment]
        self._seq = 2
        self._ts = max(engine.state.now_ns, 1)
        self._double.step(RunStarted(1, 0, self._ts, 1, engine.config.instance, "paper", {}, "", ""))
        self._double.step(TradingEnabled(2, 0, self._ts))

    def play(self) -> None:
        """One made-up quote for every traded instrument, all the way to bytes that go nowhere."""
        for lane in self._engine.lanes:
            self._engine.decider.rehearse(lane)
        double = self._double
        for market in double.markets:
            if not market.lanes:
                continue
            known = self._engine.state.markets[market.index]
            bid = known.bid_ticks if known.bid_ticks > 0 else 100_000
            self._seq += 1
            self._ts = max(self._engine.state.now_ns, self._ts + 1)
            quote = Quote(self._seq, self._ts, self._ts, market.index, bid, bid + _SPREAD_TICKS, 1 << 20, 1 << 20)
            self._encode_into(quote, self._buffer)
            effects = double.step(quote)
            self._encode_into(effects, self._buffer)
            if self._dead_end is not None:
                for effect in effects:
                    if type(effect) is SubmitOrder:
                        self._dead_end(effect)
            double.state.table = OrderTable()  # nothing is ever filled
            risk = double.state.risk
            risk.order_ring_ns[risk.order_next - 1] = 0  # nor counted: 500 orders a second would be over any rate
            double.state.decision_id = 0  # order ids have room for 2^30 decisions: 25 days of this


def _relaxed(config: EngineConfig) -> EngineConfig:
    """The same engine, with nothing in the way of an order."""
    lanes = tuple(LaneSpec(instrument=spec.instrument, strategy=ChangingSides(spec.strategy, 0)) for spec in config.lanes)
    risk = msgspec.structs.replace(config.risk, orders_per_minute_max=4096, daily_loss_max=1.0, drawdown_max=1.0)
    execution = msgspec.structs.replace(config.execution, dead_band_share=0.0)
    return msgspec.structs.replace(config, lanes=lanes, risk=risk, execution=execution)
