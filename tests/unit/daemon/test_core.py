"""The core: what comes first at one moment, what is written before it leaves, and what recovery accepts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from mia.domain import events as ev
from mia.domain.effects import AnyEffect, SubmitOrder
from mia.domain.errors import FailStop
from mia.domain.instruments import Instrument
from mia.engine.engine import Engine, EngineConfig
from mia.engine.lane import LaneSpec
from mia.execution.settings import ExecutionSettings
from mia.policy.rules import make_rule
from mia.ports import NEVER_NS
from mia.risk.limits import RiskSettings
from mia.risk.windows import Family, Windows
from mia.sim.settings import PaperSettings
from mia.sim.venue import SimVenue
from miad.core import Core

START_NS = 1_750_000_000_000_000_000
MS = 1_000_000
Entry = tuple[ev.AnyEvent, Sequence[AnyEffect]]


class MemoryJournal:
    """Keeps what it is given; `log` tells the order of writes and sends."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, Any]] = []
        self.log: list[str] = []
        self.last_seq = 0

    def append_event(self, event: Any) -> None:
        self.entries.append((event, ()))
        self.last_seq = event.seq
        self.log.append(f"event {type(event).__name__}")

    def append_effects(self, seq: int, effects: Any) -> None:
        if not self.entries or self.entries[-1][0].seq != seq:
            self.entries.append((None, effects))
        else:
            self.entries[-1] = (self.entries[-1][0], tuple(effects))
        self.log.append("effects")

    def sync(self) -> None:
        self.log.append("sync")


class Frames:
    """A codec whose payloads are lists of events made by the test."""

    def __init__(self, *kinds: Callable[[int, int], ev.AnyEvent]) -> None:
        self._kinds = kinds

    def decode(self, payload: bytes, ts_recv_ns: int, seq: int) -> Sequence[ev.AnyEvent]:
        return [make(seq + i, ts_recv_ns) for i, make in enumerate(self._kinds)]

    def counters(self) -> dict[str, int]:
        return {}


def quote(bid: int = 10_000) -> Callable[[int, int], ev.AnyEvent]:
    return lambda seq, ts: ev.Quote(seq, 0, ts, 0, bid, bid + 2, 5000, 5000)


def trade(seq: int, ts: int) -> ev.AnyEvent:
    return ev.Trade(seq, 0, ts, 0, 10_001, 1, 1, seq)


def snapshot(seq: int, ts: int) -> ev.AnyEvent:
    level = struct.pack("<2q", 10_000, 5000), struct.pack("<2q", 10_002, 5000)
    return ev.BookSnapshot(seq, 0, ts, 0, *level)


def new_core(latency_ms: int = 5, signal: float = 1.0) -> Core:
    instrument = Instrument(
        venue="sim", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal("0.001"),
    )  # fmt: skip
    always = Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2099-01-01T00:00:00Z")
    rule = make_rule("buy_and_hold", {"size": signal}, trigger="quote")
    risk = RiskSettings(
        position_lots_max=1000, equity_share_max=1.0, order_lots_max=1000, order_notional_max=1e9, exposure_notional_max=1e9,
        orders_per_minute_max=100, daily_loss_max=1.0, drawdown_max=1.0, quote_age_ms_max=2000, price_collar_bps_max=100.0,
        overtrade_trades_per_hour=100, cool_down_s=5.0,
    )  # fmt: skip
    config = EngineConfig(
        instance="test", instruments=(instrument,), lanes=(LaneSpec(instrument=0, strategy=rule),), risk=risk,
        execution=ExecutionSettings(), windows=Windows({"crypto": always}, ()), cash_e8=10_000 * 10**8, currency="USDT",
    )  # fmt: skip
    engine = Engine(config)
    paper = PaperSettings(submit_latency_ms=latency_ms, report_latency_ms=latency_ms)
    return Core(engine, MemoryJournal(), SimVenue({0: instrument}, {0: engine.markets[0].book}, paper), 0)  # type: ignore[arg-type]


def begin(core: Core) -> None:
    core.accept(ev.RunStarted(1, 0, START_NS, 1, "test", "paper", {}, "{}", "h"))
    core.accept(ev.TradingEnabled(2, 0, START_NS))


def started(latency_ms: int = 5) -> Core:
    core = new_core(latency_ms)
    begin(core)
    return core


def entries(core: Core) -> list[Entry]:
    return core.journal.entries  # type: ignore[attr-defined,no-any-return]


def names(core: Core) -> list[str]:
    return [type(event).__name__ for event, _ in entries(core)]


def replayed(core: Core, *, drop_last_effects: bool = False) -> Core:
    """A fresh core that was brought to the same place by the journal of `core`."""
    again = new_core_like(core)
    recorded = entries(core)
    for i, (event, effects) in enumerate(recorded):
        is_last = i == len(recorded) - 1
        again.again(event, () if is_last and drop_last_effects else effects, is_last)
    return again


def new_core_like(core: Core) -> Core:
    return new_core(core.venue._settings.submit_latency_ms)


def test_a_report_due_at_the_moment_of_a_frame_comes_before_it() -> None:
    core = started()
    core.on_frame(Frames(snapshot), b"", START_NS + MS)
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)  # sends; filled at 7 ms, reported at 12 ms

    core.on_frame(Frames(trade), b"", START_NS + 12 * MS)

    assert names(core)[-3:] == ["OrderAccepted", "OrderFilled", "Trade"]
    assert {event.ts_recv_ns for event, _ in entries(core)[-3:]} == {START_NS + 12 * MS}


def test_timers_come_at_every_multiple_of_100_ms_after_the_frames_of_that_moment() -> None:
    core = started()

    core.on_frame(Frames(trade), b"", START_NS + 100 * MS)
    core.on_frame(Frames(trade), b"", START_NS + 350 * MS)

    tail = [(type(e).__name__, (e.ts_recv_ns - START_NS) // MS) for e, _ in entries(core)[2:]]
    assert tail == [("Trade", 100), ("Timer", 100), ("Timer", 200), ("Timer", 300), ("Trade", 350)]


def test_at_one_moment_reports_come_first_then_the_market_then_the_timer() -> None:
    core = started(latency_ms=49)
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)  # filled at 51 ms, reported at 100 ms

    core.on_frame(Frames(trade), b"", START_NS + 100 * MS)
    core.on_frame(Frames(trade), b"", START_NS + 101 * MS)

    assert names(core)[3:] == ["OrderAccepted", "OrderFilled", "Trade", "Timer", "Trade"]


def test_time_does_not_step_back_with_a_late_frame() -> None:
    core = started()
    core.on_frame(Frames(trade), b"", START_NS + 50 * MS)

    core.on_frame(Frames(trade), b"", START_NS + 20 * MS)

    assert [e.ts_recv_ns for e, _ in entries(core)[-2:]] == [START_NS + 50 * MS] * 2


def test_sequence_numbers_have_no_holes() -> None:
    core = started()

    for i in range(1, 40):
        core.on_frame(Frames(trade, quote(), trade), b"", START_NS + 37 * i * MS)

    assert [event.seq for event, _ in entries(core)] == list(range(1, core.seq + 1))
    assert "OrderFilled" in names(core)


def test_effects_are_journaled_before_they_reach_the_venue() -> None:
    core = started()
    log: list[str] = core.journal.log  # type: ignore[attr-defined]
    send = core.venue.send
    core.venue.send = lambda effects, now_ns: (log.append("send"), send(effects, now_ns))[1]  # type: ignore[method-assign,func-returns-value]

    core.on_frame(Frames(quote()), b"", START_NS + MS)

    assert log[-3:] == ["event Quote", "effects", "send"]


def test_with_intent_on_disk_an_order_waits_for_the_sync_and_a_mere_record_does_not() -> None:
    core = started()
    core.waits_for_disk = True
    log: list[str] = core.journal.log  # type: ignore[attr-defined]

    core.on_frame(Frames(quote()), b"", START_NS + MS)
    with_order = log[-2:]
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)  # in flight: a decision without an order

    assert with_order == ["effects", "sync"]
    assert log[-1] == "effects"


def test_an_exception_of_the_engine_stops_the_process_and_names_the_event() -> None:
    core = started()

    with pytest.raises(FailStop, match=r"the engine failed at event 3 \(Quote\): IndexError"):
        core.accept(ev.Quote(3, 0, START_NS, 99, 1, 2, 3, 4))


@pytest.mark.parametrize("breaks", ["the journal", "the engine", "the effects", "the venue"])
def test_after_a_break_anywhere_in_the_chain_nothing_enters_and_nothing_leaves(monkeypatch: pytest.MonkeyPatch, breaks: str) -> None:
    core = started()
    told: list[BaseException] = []
    core.on_failure = told.append
    part, name = {
        "the journal": (core.journal, "append_event"), "the engine": (core.engine, "step"),
        "the effects": (core.journal, "append_effects"), "the venue": (core.venue, "send"),
    }[breaks]  # fmt: skip

    def broken(*args: Any) -> None:
        raise RuntimeError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(part, name, broken)
        with pytest.raises(FailStop, match="odd"):
            core.on_frame(Frames(quote()), b"", START_NS + MS)
    before = len(entries(core))

    with pytest.raises(FailStop, match="nothing is decided any more"):
        core.report(ev.Flatten(0, 0, 0, "operator"), START_NS + 3 * MS)
    with pytest.raises(FailStop, match="nothing is decided any more"):
        core.advance(START_NS + 1000 * MS)

    assert len(entries(core)) == before
    assert [type(error) for error in told] == [FailStop]


@pytest.mark.parametrize("latency_ms", [0, 5])
def test_recovery_steps_to_the_same_state(latency_ms: int) -> None:
    core = started(latency_ms)
    for i in range(1, 60):
        core.on_frame(Frames(snapshot, quote(10_000 + i % 7), trade), b"", START_NS + 31 * i * MS)
    assert core.engine.state.counters.fills > 0

    again = replayed(core)

    assert again.engine.snapshot() == core.engine.snapshot()
    assert again.venue.snapshot() == core.venue.snapshot()
    assert again.seq == core.seq


def test_recovery_at_every_event_goes_on_with_the_same_bytes() -> None:
    """Killed after any event, and after any event whose effects were not yet written."""

    def feed(core: Core, first: int) -> None:
        for i in range(first, 12):
            core.on_frame(Frames(quote(10_000 + i), trade), b"", START_NS + 17 * i * MS)

    whole = started()
    feed(whole, 1)
    recorded = entries(whole)
    orders = [o.client_order_id for _, effects in recorded for o in effects if isinstance(o, SubmitOrder)]
    assert len(orders) == 3

    for cut in range(3, len(recorded)):
        for is_torn in (False, True):
            core = new_core()
            for event, effects in recorded[:cut]:
                is_last = event is recorded[cut - 1][0]
                core.again(event, () if is_last and is_torn else effects, is_last)
            market_events = core.engine.state.counters.market_events
            frame, part = divmod(market_events, 2)
            if part:  # in the middle of a frame
                ts = START_NS + 17 * (frame + 1) * MS
                core.market([trade(core.seq + 1, ts)], ts)
                frame += 1
            feed(core, frame + 1)

            assert msgspec.msgpack.encode(core.engine.snapshot()[1]) == msgspec.msgpack.encode(whole.engine.snapshot()[1]), (cut, is_torn)
            assert core.venue.snapshot() == whole.venue.snapshot(), (cut, is_torn)


def test_the_missing_effects_of_the_last_event_are_journaled_and_sent_by_recovery() -> None:
    core = started()
    core.on_frame(Frames(quote()), b"", START_NS + MS)

    again = replayed(core, drop_last_effects=True)

    journal: Any = again.journal
    assert any(isinstance(e, SubmitOrder) for _, effects in journal.entries for e in effects)
    assert again.venue.snapshot() == core.venue.snapshot()


def test_recovery_gives_a_real_venue_nothing_that_left_before() -> None:
    core = started()
    core.on_frame(Frames(snapshot), b"", START_NS + MS)
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)
    recorded = entries(core)
    again = new_core_like(core)
    given: list[Any] = []

    class RealVenue:
        is_simulated, active, next_due_ns = False, False, NEVER_NS

        def send(self, effects: Sequence[AnyEffect], now_ns: int) -> None:
            given.extend(effects)

    again.venue = RealVenue()  # type: ignore[misc,assignment]
    for i, (event, effects) in enumerate(recorded):
        again.again(event, effects, i == len(recorded) - 1)

    assert any(isinstance(e, SubmitOrder) for _, effects in recorded for e in effects)
    assert given == []


def test_effects_that_come_out_otherwise_stop_recovery() -> None:
    core = started()
    core.on_frame(Frames(quote()), b"", START_NS + MS)
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)
    event, effects = entries(core)[2]
    entries(core)[2] = (event, effects[:-1])

    with pytest.raises(FailStop, match="decides otherwise than the journal says"):
        replayed(core)


def test_effects_that_are_missing_before_the_end_stop_recovery() -> None:
    core = started()
    core.on_frame(Frames(quote()), b"", START_NS + MS)
    core.on_frame(Frames(quote()), b"", START_NS + 2 * MS)
    entries(core)[2] = (entries(core)[2][0], ())

    with pytest.raises(FailStop, match="decides otherwise"):
        replayed(core)


@pytest.mark.parametrize("change", ["price", "gone", "invented"])
def test_a_fill_that_the_rebuilt_venue_does_not_confirm_stops_recovery(change: str) -> None:
    core = started()
    for i in range(1, 10):
        core.on_frame(Frames(snapshot, quote()), b"", START_NS + 17 * i * MS)
    at = names(core).index("OrderFilled")
    fill, effects = entries(core)[at]
    if change == "price":
        entries(core)[at] = (msgspec.structs.replace(fill, price_ticks=9_999), effects)
    elif change == "gone":
        del entries(core)[at]
    else:
        entries(core).insert(at + 1, (msgspec.structs.replace(fill, fill_id="F99"), ()))

    with pytest.raises(FailStop, match="the paper venue disagrees with the journal at event"):
        replayed(core)


def test_a_broken_book_is_seen_by_the_venue_at_once_as_after_a_restore() -> None:
    core = started()
    core.on_frame(Frames(snapshot), b"", START_NS + MS)
    assert not core.venue.active

    core.on_frame(Frames(lambda seq, ts: ev.FeedGap(seq, 0, ts, 0, 5, 9)), b"", START_NS + 2 * MS)

    assert core.venue.active
