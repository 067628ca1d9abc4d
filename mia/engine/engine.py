"""step(event) -> effects: the one place where features, regimes, policies, risk and execution meet.

No clock, no I/O, no randomness: the same events give the same effects, byte for byte. Reports on our orders are taken in
`orders.py`, decisions are made in `decide.py`; here events find their way and market data becomes state.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

import msgspec

from mia.domain import events as ev
from mia.domain.effects import AnyEffect, Halt, RaiseAlert, RecordRisk
from mia.domain.ids import instance_number
from mia.domain.instruments import Instrument
from mia.engine.decide import Decider
from mia.engine.lane import Lane, LaneSpec, Market
from mia.engine.orders import Orders
from mia.engine.state import EngineState, LaneState, MarketState
from mia.execution.planner import OrderIds
from mia.execution.portfolio import Portfolio
from mia.execution.settings import ExecutionSettings
from mia.execution.table import OrderTable
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.series import NEWS_NUMBER, PREDICTION_NUMBER, REFERENCE_NUMBER
from mia.kernels.arena import Arena
from mia.kernels.tape import Tape
from mia.risk.limits import RiskSettings
from mia.risk.state import RiskState, is_penalty
from mia.risk.windows import Windows

SNAPSHOT_FORMAT: Final = 2
ARENA_BYTES: Final = 64 * 1024 * 1024  # virtual: only what kernels ask for is touched
SAFE_MODE: Final = "safe_mode"  # a block that only the operator's reset ends
_RISK_RECORD_NS: Final = 60_000_000_000
_PAUSE_NS: Final = 60_000_000_000  # the daemon or the feed was down for longer, and for longer than so many bars: features warm up anew
_PAUSE_BARS: Final = 3
_REARM_NS: Final = 1_000_000_000
_NEVER_NS: Final = (1 << 63) - 1
_BAR: Final = Struct("11d")  # how a plan takes a finished bar
Handler = Callable[[Any, list[AnyEffect]], None]


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an engine is built from; the shell has loaded and verified it."""

    instance: str
    instruments: tuple[Instrument, ...]  # ids are their positions
    lanes: tuple[LaneSpec, ...]
    risk: RiskSettings
    execution: ExecutionSettings
    windows: Windows
    cash_e8: int
    currency: str
    venue_holds_stops: bool = True
    protects: bool = True  # False: positions have neither stop nor take; of no setting, for comparing backtests alone
    calendars: dict[str, Calendar] = {}  # by family; UTC days where there is none
    out_of_range_max: int = 200  # decisions refused in a row for features out of range before an alert


class _RunConfig(msgspec.Struct, frozen=True):
    """The part of RunStarted.config that the engine takes over."""

    risk: RiskSettings | None = None


class Engine:
    """All trading state of one account, and the function that advances it."""

    def __init__(self, config: EngineConfig) -> None:
        self.config: Final = config
        self.arena: Final = Arena(ARENA_BYTES)
        self.markets: Final = [Market(i, d, self.arena) for i, d in enumerate(config.instruments)]
        number = instance_number(config.instance)
        self._number: Final = number
        self.state = EngineState(
            mid2=[0] * len(self.markets),
            marks2=[0] * len(self.markets),
            markets=[MarketState() for _ in self.markets],
            lanes=[LaneState() for _ in config.lanes],
            ids=OrderIds.of(number, 0),
            portfolio=Portfolio(instance=config.instance, currency=config.currency, cash_e8=config.cash_e8),
            table=OrderTable(),
            risk=RiskState.of(config.risk),
        )
        self.lanes: Final[list[Lane]] = []
        for index, spec in enumerate(config.lanes):
            market = self.markets[spec.instrument]
            calendar = config.calendars.get(market.definition.family, UTC_DAYS)
            lane = Lane(index, spec, market, self.arena, self.state.risk.limits, calendar)
            lane.market.lanes.append(lane)
            market.reads_book = market.reads_book or lane.reads_book
            market.needs_book = market.needs_book or lane.needs_book
            self.lanes.append(lane)
            for series, other in spec.references:
                self.markets[other].followers.append((lane, series))
        self._is_single: Final = len(self.markets) == len(self.lanes) == 1 and not self.markets[0].followers
        self._bar: Final = memoryview(array("d", bytes(88)))  # one finished bar on its way to the plans
        self.orders: Final = Orders(self)
        self.decider: Final = Decider(self)
        self._bind()
        self._handlers: Final[dict[type, Handler]] = {
            ev.Quote: self._on_quote,
            ev.Trade: self._on_trade,
            ev.Bar: self._on_bar,
            ev.BookDelta: self._on_book_delta,
            ev.BookSnapshot: self._on_book_snapshot,
            ev.Timer: self._on_timer,
            ev.FeedGap: self._on_feed_gap,
            ev.FeedUp: self._on_feed_up,
            ev.FeedDown: self._on_feed_down,
            ev.FeedStale: self._on_feed_stale,
            ev.ClockSkewed: self._on_clock_skewed,
            ev.Reference: self._on_reference,
            ev.NewsScored: self._on_news,
            ev.Predicted: self._on_predicted,
            ev.ConfigChanged: self._on_config_changed,
            ev.RunStarted: self._on_run_started,
            ev.InstrumentDefined: self._on_instrument,
            ev.TradingEnabled: self._on_trading_enabled,
            ev.TradingDisabled: self._on_trading_disabled,
            ev.SwitchModel: self._on_switch_model,
            ev.Pause: self._on_pause,
            ev.Resume: self._on_resume,
            ev.Flatten: self._on_flatten,
            ev.Kill: self._on_kill,
            ev.LowerLimit: self._on_lower_limit,
            **dict.fromkeys(ev.VENUE_REPORTS, self.orders.on_report),
        }

    # --- the ways in ----------------------------------------------------------------------------------------
    def step(self, event: ev.AnyEvent) -> Sequence[AnyEffect]:
        """Take one fact; the wishes that follow from it, in order. Never call it again after it raised."""
        state, ts = self.state, event.ts_recv_ns
        state.last_seq = event.seq
        if ts > state.now_ns:
            state.now_ns = ts
        handler = self._handlers.get(type(event))
        if handler is None:
            return ()
        out: list[AnyEffect] = []
        handler(event, out)
        return self._heeded(out)

    def _heeded(self, out: list[AnyEffect]) -> list[AnyEffect]:
        for effect in out:
            if type(effect) is Halt:
                self.state.halted = self.state.halted or effect.reason
                self._gate()
        return out

    @property
    def can_run(self) -> bool:
        """May `run` take market events now? One lane on one instrument, which holds nothing: no event but a decision concerns an order."""
        return self._is_single and not self.markets[0].position.lots

    def run(self, tape: Tape, start: int, until_ns: int) -> tuple[int, Sequence[AnyEffect]]:
        """As `step` over the market's events on the tape from `start` on, in one compiled loop, while `can_run`.

        Numbers them from the last event's on. Returns (the first that was not taken, the effects of the one before it): one at
        until_ns or later or earlier than the clock, one that is no quote, trade or book, or the one after the first that closed
        a bar or was decided on. Never call it again after it raised.
        """
        lane, market, state = self.lanes[0], self.markets[0], self.state
        due_ns = lane.state.last_decision_ns + lane.min_interval_ns
        quotes_ns, trades_ns = (due_ns if lane.trigger == kind else _NEVER_NS for kind in ("quote", "trade"))
        stop = tape.run(lane.plan, start, state.now_ns, until_ns, quotes_ns, trades_ns)
        state.last_seq += stop - start
        state.counters.market_events += stop - start
        state.now_ns = ts = tape.now_ns
        known = market.state
        if tape.quotes:
            known.bid_ticks, known.ask_ticks, known.bid_lots, known.ask_lots = tape.bid, tape.ask, tape.bid_lots, tape.ask_lots
            known.quote_ns, state.mid2[0] = tape.quote_ns, tape.mid2
            state.marks2[0] = tape.mark2 or state.marks2[0]
        if tape.trades:
            known.trade_ticks, known.trade_ns = tape.price, tape.trade_ns
        if not (tape.closed or tape.decides):
            return stop, ()
        out: list[AnyEffect] = []
        if tape.closed:
            self._bars_closed(lane, ts, out)
        if tape.decides:
            self.decider.decide(lane, ts, out)
        return stop, self._heeded(out)

    def _gate(self) -> None:
        """Openings are allowed when nothing stands against them."""
        s = self.state
        s.is_enabled = not (s.is_recovering or s.blocks or s.paused or s.halted or s.risk.is_killed)

    # --- snapshot --------------------------------------------------------------------------------------------------
    @property
    def layout_hash(self) -> str:
        """Engines of one layout hash can restore each other's snapshots."""
        parts = (
            str(SNAPSHOT_FORMAT),
            shipped_catalogue().hash,
            self.arena.layout,
            *(_grid(market) for market in self.markets),
            *(f"{lane.market.index} {lane.strategy.name} {lane.strategy.sha256}" for lane in self.lanes),
            *(f"{lane.index} {lane.spec.references}" for lane in self.lanes if lane.spec.references),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def snapshot(self) -> tuple[bytes, bytes]:
        """(arrays, state): one copy of memory and one small encode."""
        return self.arena.snapshot(), msgspec.msgpack.encode(self.state)

    def restore(self, arrays: bytes, state: bytes) -> None:
        """Become the engine that made the snapshot; ValueError when it does not fit."""
        self.arena.restore(arrays)
        try:
            self.state = msgspec.msgpack.decode(state, type=EngineState)
        except msgspec.ValidationError as e:
            raise ValueError(f"engine state does not fit this version: {e}") from e
        self._bind()

    def _bind(self) -> None:
        """Point the parts at the state object in force."""
        state = self.state
        for market in self.markets:
            market.state = state.markets[market.index]
            market.position = state.portfolio.position(market.terms)
            market.armed, market.is_settled = None, False
        for lane in self.lanes:
            lane.state = state.lanes[lane.index]
            self.decider.set_limits(lane)

    # --- market data -------------------------------------------------------------------------------------------------
    def _on_quote(self, e: ev.Quote, out: list[AnyEffect]) -> None:
        market = self.markets[e.instrument]
        known, ts = market.state, e.ts_recv_ns
        known.bid_ticks = bid = e.bid_ticks
        known.ask_ticks = ask = e.ask_ticks
        known.bid_lots = e.bid_lots
        known.ask_lots = e.ask_lots
        known.quote_ns = ts
        state = self.state
        state.counters.market_events += 1
        is_usable = 0 < bid < ask and e.bid_lots > 0 and e.ask_lots > 0
        if is_usable:
            state.mid2[e.instrument] = state.marks2[e.instrument] = bid + ask
            if market.position.lots and not state.is_recovering:  # what we hold is the venue's to say first
                self.orders.watch_stops(market, ts, out)
        else:
            state.mid2[e.instrument] = 0  # one-sided, locked or crossed: no mid, no trading; the account keeps its last mark
        for lane in market.lanes:
            if lane.plan.on_quote(ts, e.ts_event_ns, bid, ask, e.bid_lots, e.ask_lots):
                self._bars_closed(lane, ts, out)
            if is_usable and lane.trigger == "quote" and ts - lane.state.last_decision_ns >= lane.min_interval_ns:
                self.decider.decide(lane, ts, out)

    def _on_trade(self, e: ev.Trade, out: list[AnyEffect]) -> None:
        market = self.markets[e.instrument]
        ts = e.ts_recv_ns
        market.state.trade_ticks = e.price_ticks
        market.state.trade_ns = ts
        self.state.counters.market_events += 1
        for lane in market.lanes:
            if lane.plan.on_trade(ts, e.ts_event_ns, e.price_ticks, e.qty_lots, e.aggressor):
                self._bars_closed(lane, ts, out)
            if lane.trigger == "trade" and ts - lane.state.last_decision_ns >= lane.min_interval_ns:
                self.decider.decide(lane, ts, out)
        if market.followers and e.price_ticks > 0 and e.qty_lots > 0:
            price = e.price_ticks * market.tick
            for lane, series in market.followers:
                if lane.plan.on_reference(ts, series, price, ts, ts + lane.heard_valid_ns):
                    self._bars_closed(lane, ts, out)

    def _on_bar(self, e: ev.Bar, out: list[AnyEffect]) -> None:
        """A market of finished bars: the close is the last quote and the mark, and every lane may decide on it, whatever its trigger."""
        market = self.markets[e.instrument]
        known, ts = market.state, e.ts_recv_ns
        state, bar = self.state, self._bar
        _BAR.pack_into(
            bar, 0, e.open_ticks, e.high_ticks, e.low_ticks, e.close_ticks, e.volume_lots, e.buy_lots, e.sell_lots, e.notional, e.trades,
            e.buys, e.sells,
        )  # fmt: skip
        state.counters.market_events += 1
        taken = 0
        for lane in market.lanes:
            taken += lane.plan.on_bar(ts, bar)
        if taken < len(market.lanes):
            return  # a bar that cannot be, or one that is not later than the last
        known.bid_ticks = known.ask_ticks = e.close_ticks
        known.bid_lots = known.ask_lots = e.volume_lots if e.volume_lots > 1 else 1
        known.quote_ns = ts
        state.mid2[e.instrument] = state.marks2[e.instrument] = 2 * e.close_ticks
        if market.position.lots and not state.is_recovering:
            self.orders.watch_stops(market, ts, out)
        for lane in market.lanes:
            lane.close_bars()
            if ts - lane.state.last_decision_ns >= lane.min_interval_ns:
                self.decider.decide(lane, ts, out)

    def _on_book_delta(self, e: ev.BookDelta, out: list[AnyEffect]) -> None:
        market = self.markets[e.instrument]
        market.book.apply(e.bids, e.asks)
        self._book_changed(market, e.ts_recv_ns, out)

    def _on_book_snapshot(self, e: ev.BookSnapshot, out: list[AnyEffect]) -> None:
        market = self.markets[e.instrument]
        market.book.load(e.bids, e.asks)
        self._book_changed(market, e.ts_recv_ns, out)

    def _book_changed(self, market: Market, ts: int, out: list[AnyEffect]) -> None:
        self.state.counters.market_events += 1
        for lane in market.lanes:
            if lane.plan.on_book(ts):
                self._bars_closed(lane, ts, out)

    def _bars_closed(self, lane: Lane, ts: int, out: list[AnyEffect]) -> None:
        lane.close_bars()
        if lane.trigger == "bar" and ts - lane.state.last_decision_ns >= lane.min_interval_ns:
            self.decider.decide(lane, ts, out)

    def _on_feed_gap(self, e: ev.FeedGap, out: list[AnyEffect]) -> None:
        market = self.markets[e.instrument]
        market.book.invalidate()
        self.state.counters.gaps += 1
        out.append(RaiseAlert("warning", "feed_gap", f"{market.symbol}: book sequence broke (expected {e.expected}, got {e.got})"))
        self._book_changed(market, e.ts_recv_ns, out)

    def _on_feed_down(self, e: ev.FeedDown, out: list[AnyEffect]) -> None:
        for market in self.markets:
            if market.definition.venue == e.venue:
                market.book.invalidate()
                market.state.bid_lots = market.state.ask_lots = 0
                market.state.down_ns = market.state.down_ns or e.ts_recv_ns
                self.state.mid2[market.index] = 0
                for lane in market.lanes:
                    if lane.plan.on_book(e.ts_recv_ns):
                        self._bars_closed(lane, e.ts_recv_ns, out)
        self.orders.cancel_entries(e.ts_recv_ns, out)  # no decision will look after them while there is no quote
        out.append(RaiseAlert("warning", "feed_down", f"{e.venue}: {e.reason}"))

    def _on_feed_up(self, e: ev.FeedUp, out: list[AnyEffect]) -> None:
        for market in self.markets:
            if market.definition.venue == e.venue and market.state.down_ns:
                pause_ns, market.state.down_ns = e.ts_recv_ns - market.state.down_ns, 0
                for lane in market.lanes:
                    # The bars that filled the pause, flat and without volume, are no market.
                    if pause_ns > _pause_max_ns(lane):
                        if lane.plan.on_time(e.ts_recv_ns):
                            self._bars_closed(lane, e.ts_recv_ns, out)
                        lane.plan.cool()
        out.append(RaiseAlert("info", "feed_up", f"{e.venue}: market data flows"))

    def _on_feed_stale(self, e: ev.FeedStale, out: list[AnyEffect]) -> None:
        """The quotes' own age already keeps orders back; here somebody is told."""
        out.append(RaiseAlert("warning", "feed_stale", f"{e.venue}: connected, yet silent for {e.age_ms / 1000:.1f} s"))

    def _on_clock_skewed(self, e: ev.ClockSkewed, out: list[AnyEffect]) -> None:
        """Our time is monotonic and did not jump; the venue's clock and the trading hours may not agree with it any more."""
        out.append(RaiseAlert("warning", "clock_skewed", f"the wall clock jumped by {e.jump_ms} ms against the monotonic one"))

    # --- the slow lane ---------------------------------------------------------------------------------------------------
    def _on_reference(self, e: ev.Reference, out: list[AnyEffect]) -> None:
        number = REFERENCE_NUMBER.get(e.series)
        if number is not None:
            known = (e.known_at_ns, e.ts_event_ns)
            self.state.references[e.series] = max(known, self.state.references.get(e.series, known))
            for lane in self.lanes:
                if lane.plan.on_reference(e.ts_recv_ns, number, e.value, e.known_at_ns, e.valid_until_ns):
                    self._bars_closed(lane, e.ts_recv_ns, out)

    def _on_news(self, e: ev.NewsScored, out: list[AnyEffect]) -> None:
        number = NEWS_NUMBER.get(e.source)
        if number is not None:
            for lane in self.lanes:
                if lane.plan.on_news(e.ts_recv_ns, number, e.score, e.impact, e.known_at_ns):
                    self._bars_closed(lane, e.ts_recv_ns, out)

    def _on_predicted(self, e: ev.Predicted, out: list[AnyEffect]) -> None:
        number = PREDICTION_NUMBER.get(e.name)
        if number is not None:
            for lane in self.lanes:
                if e.instrument not in (ev.NO_INSTRUMENT, lane.market.index):
                    continue
                if lane.plan.on_predicted(e.ts_recv_ns, number, e.value, e.confidence, e.known_at_ns, e.valid_until_ns):
                    self._bars_closed(lane, e.ts_recv_ns, out)

    # --- time ------------------------------------------------------------------------------------------------------------
    def _on_timer(self, e: ev.Timer, out: list[AnyEffect]) -> None:
        state, ts = self.state, e.ts_recv_ns
        state.last_timer_ns = ts
        for lane in self.lanes:
            if lane.plan.on_time(ts):
                self._bars_closed(lane, ts, out)
        self.update_equity(ts, out)
        for market in self.markets:
            if market.position.lots or state.table.exposure(market.index).entries:
                self.orders.heed_window(market, ts, out)
        state.overtrade_score = state.risk.overtrade_risk_score(ts)
        if ts - state.last_rearm_ns >= _REARM_NS:
            state.last_rearm_ns = ts
            self.orders.housekeep(ts, out)
        if ts - state.last_risk_record_ns >= _RISK_RECORD_NS:
            self._record_risk(ts, out)

    def update_equity(self, ts: int, out: list[AnyEffect]) -> int:
        """Mark the account; trips the drawdown stop when it is time. Returns equity in e8."""
        state = self.state
        equity = state.portfolio.equity_e8(state.marks2)
        if state.risk.update_equity(ts, equity):
            text = f"equity fell {state.risk.drawdown:.2%} from its peak: no openings until the operator resets"
            out.append(RaiseAlert("urgent", "drawdown_stop", text))
            self._record_risk(ts, out)
        return equity

    def _record_risk(self, ts: int, out: list[AnyEffect]) -> None:
        state = self.state
        risk = state.risk
        state.last_risk_record_ns = ts
        score = risk.overtrade_risk_score(ts)
        out.append(RecordRisk(ts, risk.equity_e8, state.portfolio.cash_e8, risk.drawdown, score, is_penalty(score)))

    # --- run and operator ----------------------------------------------------------------------------------------------
    def _on_run_started(self, e: ev.RunStarted, out: list[AnyEffect]) -> None:
        state = self.state
        if not state.run or e.ts_recv_ns - state.last_timer_ns > ev.TIMER_INTERVAL_NS:
            # A first run, or time passed while we were down. A resumed replay keeps its timers: no time passes in it.
            for lane in self.lanes if state.run else ():
                if e.ts_recv_ns - state.last_timer_ns > _pause_max_ns(lane):
                    lane.plan.on_time(e.ts_recv_ns)  # the bars that fill the pause count for nothing
                    lane.plan.cool()
            state.last_timer_ns = e.ts_recv_ns // ev.TIMER_INTERVAL_NS * ev.TIMER_INTERVAL_NS
        state.run = e.run
        state.blocks = []  # those of an earlier run; the shell names again what still holds
        state.is_recovering = True
        self._gate()
        if e.config_hash != state.config_hash:
            state.config_hash = e.config_hash
            self._take_limits(e.config)
        state.ids = OrderIds.of(self._number, e.run)
        state.counters.first_ns = state.counters.first_ns or e.ts_recv_ns

    def _take_limits(self, config: str) -> None:
        """The limits of changed settings come into force; with unchanged ones those that the operator lowered stay lowered."""
        try:
            settings = msgspec.json.decode(config, type=_RunConfig).risk
        except msgspec.MsgspecError:
            return  # written by another version: the limits in force stay
        if settings is not None:
            self.state.risk.take_limits(settings)
            for lane in self.lanes:
                self.decider.set_limits(lane)

    def _on_instrument(self, e: ev.InstrumentDefined, out: list[AnyEffect]) -> None:
        if not (e.instrument < len(self.markets) and self.markets[e.instrument].definition == e.definition):
            out.append(Halt(f"instrument {e.instrument} {e.definition.venue}:{e.definition.symbol} is not what this engine was built for"))

    def _on_trading_enabled(self, e: ev.TradingEnabled, out: list[AnyEffect]) -> None:
        self.orders.protect_all(e.ts_recv_ns, out)  # before anything else trades
        state = self.state
        if e.reason:
            state.blocks = [reason for reason in state.blocks if reason != e.reason]
        else:
            state.is_recovering = False
        self._gate()

    def _on_trading_disabled(self, e: ev.TradingDisabled, out: list[AnyEffect]) -> None:
        state = self.state
        state.blocks = sorted({*state.blocks, e.reason or "disabled"})
        self._gate()
        self.orders.cancel_entries(e.ts_recv_ns, out)
        self._record_risk(e.ts_recv_ns, out)

    def _on_switch_model(self, e: ev.SwitchModel, out: list[AnyEffect]) -> None:
        text = f"lane {e.lane} keeps its model: {e.name!r} can be used after a restart with lanes.strategy changed"
        out.append(RaiseAlert("warning", "switch_refused", text))

    def _on_pause(self, e: ev.Pause, out: list[AnyEffect]) -> None:
        self.state.paused = e.reason or "operator"
        self._gate()
        self.orders.cancel_entries(e.ts_recv_ns, out)

    def _on_resume(self, e: ev.Resume, out: list[AnyEffect]) -> None:
        state = self.state
        if e.reset:
            state.halted = ""
            state.risk.reset_stops()
            state.blocks = [reason for reason in state.blocks if reason != SAFE_MODE]
        state.paused = ""
        state.is_flattening = False
        self._gate()

    def _on_flatten(self, e: ev.Flatten, out: list[AnyEffect]) -> None:
        self.state.paused = e.reason or "flatten"
        self.state.is_flattening = True
        self._gate()
        self.orders.cancel_entries(e.ts_recv_ns, out)
        if not self.state.is_recovering:  # else by the second, once the venue has said what we hold
            self.orders.flatten_all(e.ts_recv_ns, out)

    def _on_kill(self, e: ev.Kill, out: list[AnyEffect]) -> None:
        self.state.risk.is_killed = True
        self.state.is_flattening = False  # kill holds what is held, with its protection; a flatten of before is over
        self._gate()
        self.orders.cancel_all(e.ts_recv_ns, out)
        out.append(RaiseAlert("urgent", "killed", f"killed ({e.reason or 'by the operator'}): no orders but protective ones"))

    def _on_config_changed(self, e: ev.ConfigChanged, out: list[AnyEffect]) -> None:
        """A reload may tighten a limit; a wider one waits for the next start."""
        try:
            settings = msgspec.json.decode(e.config, type=_RunConfig).risk
        except msgspec.MsgspecError:
            return  # written by another version
        if settings is None:
            return
        for name, value in settings.as_limits():
            self.state.risk.limits.lower(name, value)
        for lane in self.lanes:
            self.decider.set_limits(lane)

    def _on_lower_limit(self, e: ev.LowerLimit, out: list[AnyEffect]) -> None:
        if not self.state.risk.limits.lower(e.name, e.value):
            out.append(
                RaiseAlert("warning", "limit_not_lowered", f"{e.name} = {e.value}: unknown, not finite or not below the present limit")
            )
        for lane in self.lanes:
            self.decider.set_limits(lane)


def _pause_max_ns(lane: Lane) -> int:
    """After a longer pause the lane's features warm up anew. Of long bars a few minutes spoil little."""
    return max(_PAUSE_NS, _PAUSE_BARS * lane.plan.bars_spec.interval_ns)


def _grid(market: Market) -> str:
    """What ticks, lots and money of a snapshot mean for one instrument."""
    d = market.definition
    return f"{market.symbol} {d.kind} {d.quote_currency} {' '.join(str(x.normalize()) for x in (d.tick_size, d.lot_size, d.multiplier))}"
