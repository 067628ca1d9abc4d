"""Pause, resume, flatten, kill, limits and stops: what is refused, what still passes, what closes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from mia.domain import events as ev
from mia.domain.codes import Code
from mia.domain.effects import CancelOrder, Halt, RaiseAlert, RecordRisk, SubmitOrder
from mia.engine.engine import Engine
from mia.engine.lane import LaneSpec
from mia.execution.settings import ExecutionSettings
from tests.unit.engine.conftest import START_NS

Make = Callable[..., Any]
LIMIT = ExecutionSettings(entry="limit", dead_band_share=0.0)


def orders(effects: list[Any]) -> list[SubmitOrder]:
    return [e for e in effects if isinstance(e, SubmitOrder)]


def alerts(effects: list[Any]) -> list[str]:
    return [e.code for e in effects if isinstance(e, RaiseAlert)]


def test_nothing_opens_before_trading_is_enabled(rig: Make) -> None:
    r = rig(started=False)
    r.give(ev.RunStarted, 1, "test", "paper", {}, "{}", "h")

    record = r.decide(1.0)

    assert (record.decision, record.code) == ("refused", Code.TRADING_DISABLED)
    assert r.sent == []


@pytest.mark.parametrize("stop", [(ev.Pause, "lunch"), (ev.TradingDisabled, "disk full")])
def test_pause_refuses_openings_and_lets_exits_pass(rig: Make, stop: tuple[Any, str]) -> None:
    r = rig()
    r.decide(0.5)
    r.give(*stop)

    more = r.decide(1.0)
    flip = r.decide(-1.0)
    again = r.decide(-1.0)

    assert (more.decision, more.code) == ("refused", Code.TRADING_DISABLED)
    assert (flip.decision, flip.code) == ("flat", Code.TRADING_DISABLED)
    assert again.decision == "refused"
    assert r.lots == 0


@pytest.mark.parametrize(
    "stop", [(ev.Pause, ""), (ev.TradingDisabled, ""), (ev.Kill, "", ""), (ev.Flatten, ""), (ev.FeedDown, "sim", "gone")]
)
def test_stopping_cancels_resting_entries(rig: Make, stop: tuple[Any, ...]) -> None:
    r = rig(execution=LIMIT)
    r.decide(1.0)
    (resting,) = r.working

    effects = r.give(*stop)

    assert [e.client_order_id for e in effects if isinstance(e, CancelOrder)] == [resting]
    assert r.working == {}


def test_resume_ends_a_pause(rig: Make) -> None:
    r = rig()
    r.give(ev.Pause, "")

    r.give(ev.Resume, False)

    assert r.decide(1.0).code == Code.OK


def test_a_pause_survives_a_restart(rig: Make) -> None:
    r = rig()
    r.give(ev.Pause, "lunch")

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    r.give(ev.TradingEnabled)

    assert r.decide(1.0).code == Code.TRADING_DISABLED


def test_flatten_closes_at_market_and_opens_nothing_more(rig: Make) -> None:
    r = rig()
    r.decide(1.0)

    effects = r.give(ev.Flatten, "end of day")

    (exit_,) = orders(effects)
    assert (exit_.order_type, exit_.reduce_only, exit_.purpose, exit_.side, exit_.qty_lots) == ("market", True, "exit", -1, 1000)
    assert r.lots == 0
    assert r.protective() == {}
    assert r.decide(1.0).code == Code.TRADING_DISABLED


def test_an_entry_that_fills_after_flatten_is_closed_too(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    (entry,) = r.sent
    r.give(ev.OrderAccepted, entry.client_order_id, "V")
    r.give(ev.Flatten, "now")

    kind, fields = r.fill_of(entry, 10_002, 1000)
    r.answers = True
    effects = r.give(kind, *fields)

    assert [(o.purpose, o.qty_lots) for o in orders(effects)] == [("exit", 1000)]
    assert r.lots == 0


def test_a_flatten_whose_exit_was_rejected_is_tried_again(rig: Make) -> None:
    r = rig()
    r.decide(0.5)
    r.answers = False
    (exit_,) = [e for e in r.give(ev.Flatten, "operator") if isinstance(e, SubmitOrder)]
    r.give(ev.OrderRejected, exit_.client_order_id, "busy", "")

    again = [e for _ in range(12) for e in r.timer() if isinstance(e, SubmitOrder) and e.purpose == "exit"]

    assert [(e.side, e.qty_lots) for e in again] == [(-1, 500)]


def test_resume_ends_a_flatten(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    r.give(ev.Flatten, "")

    r.give(ev.Resume, False)

    assert r.decide(1.0).decision == "buy"
    assert r.lots == 1000


def test_a_kill_refuses_everything_and_leaves_the_protection_standing(rig: Make) -> None:
    r = rig()
    r.decide(0.5)
    guarded = r.protective()

    effects = r.give(ev.Kill, "all", "operator")
    records = [r.decide(signal) for signal in (1.0, 0.0, -1.0)]
    r.timer(1000)

    assert "killed" in alerts(effects)
    assert {(record.decision, record.code) for record in records} == {("refused", Code.KILLED)}
    assert r.protective() == guarded
    assert set(guarded) == {"stop", "take"}
    assert r.lots == 500


def test_a_kill_survives_a_restart_until_the_operator_resets_it(rig: Make) -> None:
    r = rig()
    r.give(ev.Kill, "all", "operator")
    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    r.give(ev.TradingEnabled)

    killed = r.decide(1.0)
    r.give(ev.Resume, False)
    still = r.decide(1.0)
    r.give(ev.Resume, True)
    free = r.decide(1.0)

    assert [x.code for x in (killed, still, free)] == [Code.KILLED, Code.KILLED, Code.OK]


def test_a_lowered_limit_holds_from_the_next_decision_on(rig: Make) -> None:
    r = rig()
    r.decide(1.0)

    r.give(ev.LowerLimit, "position_lots_max", 300.0)
    record = r.decide(1.0)

    assert (record.decision, record.target_lots) == ("reduce", 300)
    assert r.lots == 300


@pytest.mark.parametrize(("name", "value"), [("position_lots_max", 2000.0), ("position_lots_max", float("nan")), ("nonsense", 1.0)])
def test_a_limit_is_never_raised_by_lowering_it(rig: Make, name: str, value: float) -> None:
    r = rig()

    effects = r.give(ev.LowerLimit, name, value)

    assert alerts(effects) == ["limit_not_lowered"]
    assert r.decide(1.0).target_lots == 1000


def test_a_lowered_limit_survives_a_restart_with_the_same_settings(rig: Make) -> None:
    r = rig()
    r.give(ev.LowerLimit, "position_lots_max", 300.0)

    r.give(ev.RunStarted, 2, "test", "paper", {}, config(r), "hash")
    r.give(ev.TradingEnabled)

    assert r.decide(1.0).target_lots == 300


def test_changed_settings_bring_their_limits_into_force(rig: Make) -> None:
    r = rig()
    r.decide(0.1)

    r.give(ev.RunStarted, 2, "test", "paper", {}, config(r, position_lots_max=400, orders_per_minute_max=7), "other hash")
    r.give(ev.TradingEnabled)
    record = r.decide(1.0)

    assert record.target_lots == 400
    assert r.engine.state.risk.limits.orders_per_minute_max == 7


def test_the_order_rate_counts_over_a_change_of_settings(rig: Make) -> None:
    r = rig()
    r.decide(0.1)  # an entry, a stop, a take

    r.give(ev.RunStarted, 2, "test", "paper", {}, config(r, orders_per_minute_max=3), "other hash")
    r.give(ev.TradingEnabled)

    assert r.decide(1.0).code == Code.ORDER_RATE


def config(r: Any, **changes: Any) -> str:
    return msgspec.json.encode({"risk": msgspec.structs.replace(r.engine.config.risk, **changes), "store": {}}).decode()


def test_a_blackout_that_flattens_closes_the_position(rig: Make, windows: Make) -> None:
    blackout = {"start": "2025-06-15T15:06:45Z", "end": "2025-06-15T15:07:00Z", "position": "flatten"}
    r = rig(windows=windows(blackout))
    r.decide(1.0)

    record = r.decide(1.0, dt_ms=5000)
    inside = r.decide(1.0)
    after = r.decide(1.0, dt_ms=20_000)

    assert (record.decision, record.code) == ("flat", Code.SESSION_EXIT)
    assert (inside.decision, inside.code) == ("refused", Code.BLACKOUT_WINDOW)
    assert after.decision == "buy"


def test_a_flattening_blackout_closes_even_when_the_policy_makes_no_sense(rig: Make, windows: Make) -> None:
    blackout = {"start": "2025-06-15T15:06:45Z", "end": "2025-06-15T15:07:00Z", "position": "flatten"}
    r = rig(windows=windows(blackout))
    r.decide(1.0)

    record = r.decide(float("nan"), dt_ms=5000)

    assert (record.decision, record.code) == ("flat", Code.SESSION_EXIT)
    assert r.lots == 0


def test_a_blackout_that_holds_keeps_the_position_and_refuses_more(rig: Make, windows: Make) -> None:
    r = rig(windows=windows({"start": "2025-06-15T15:06:45Z", "end": "2025-06-15T15:07:00Z"}))
    r.decide(0.5)

    held = r.decide(0.5, dt_ms=5000)
    more = r.decide(1.0)

    assert held.decision == "hold"
    assert (more.decision, more.code) == ("refused", Code.BLACKOUT_WINDOW)
    assert r.lots == 500


def test_the_drawdown_stop_trips_once_and_holds_until_reset(rig: Make) -> None:
    r = rig(drawdown_max=0.0001)  # 1 of 10,000: 1000 lots lose it in 100 ticks
    r.decide(1.0)

    effects = r.quote(9_850) + r.timer()
    more = r.decide(-1.0, bid=9_850)
    r.give(ev.Resume, True)
    free = r.decide(1.0, bid=9_850)

    assert alerts(effects).count("drawdown_stop") == 1
    assert any(isinstance(e, RecordRisk) and e.drawdown >= 0.0001 for e in effects)
    assert (more.decision, more.code) == ("flat", Code.DRAWDOWN_STOP)
    assert free.decision == "buy"


def test_a_quote_with_an_empty_side_does_not_move_equity(rig: Make) -> None:
    r = rig(drawdown_max=0.0001)
    r.decide(1.0)
    r.quote(10_120)  # 1.20 up; back at the entry price it would look like a fall
    equity = r.engine.state.risk.equity_e8

    effects = r.quote(10_120, lots=0) + r.timer()

    assert r.engine.state.risk.equity_e8 == equity
    assert alerts(effects) == []


def test_the_daily_loss_ends_with_the_day(rig: Make) -> None:
    r = rig(daily_loss_max=0.0001)
    r.decide(1.0)
    r.decide(0.0, bid=9_850)

    today = r.decide(1.0, bid=9_850)
    tomorrow = r.decide(1.0, bid=9_850, dt_ms=10 * 3_600_000)

    assert (today.decision, today.code) == ("refused", Code.DAILY_LOSS)
    assert tomorrow.decision == "buy"


def test_a_halt_stops_openings_until_the_operator_resets(rig: Make) -> None:
    r = rig()
    r.decide(0.5)
    wrong = msgspec.structs.replace(r.engine.config.instruments[0], symbol="OTHER")

    effects = r.give(ev.InstrumentDefined, 0, wrong)
    more = r.decide(1.0)
    less = r.decide(0.25)
    r.give(ev.TradingEnabled)
    still = r.decide(1.0)
    r.give(ev.Resume, True)
    free = r.decide(1.0)

    assert any(isinstance(e, Halt) for e in effects)
    assert more.code == Code.TRADING_DISABLED
    assert less.decision == "reduce"
    assert still.code == Code.TRADING_DISABLED
    assert free.decision == "buy"


def test_a_rejection_makes_the_lane_wait(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    r.give(ev.OrderRejected, r.sent[0].client_order_id, "no_liquidity", "empty book")

    waiting = r.decide(1.0)
    later = r.decide(1.0, dt_ms=5000)

    assert (waiting.decision, waiting.code) == ("refused", Code.COOL_DOWN)
    assert later.decision == "buy"


def test_the_order_rate_stops_openings_and_not_exits(rig: Make) -> None:
    r = rig(orders_per_minute_max=3)
    r.decide(0.5)  # an entry, a stop, a take

    more = r.decide(1.0)
    gone = r.decide(0.0)

    assert (more.decision, more.code) == ("refused", Code.ORDER_RATE)
    assert gone.decision == "flat"


def test_risk_is_recorded_once_a_minute(rig: Make) -> None:
    r = rig()
    r.quote()

    records = [e for _ in range(1300) for e in r.timer() if isinstance(e, RecordRisk)]

    assert [b.ts_ns - a.ts_ns for a, b in pairwise(records)] == [60_000_000_000, 60_000_000_000]


def test_features_warm_up_anew_after_a_long_pause_and_not_after_a_short_one(rig: Make, says: Make) -> None:
    r = rig(says(("ret_5",)))
    for i in range(12):
        r.give(ev.Trade, 0, 10_000 + i % 3, 1, 1, i, dt_ms=1000)
        r.quote(dt_ms=0)
    assert r.decide(0.5).code == Code.OK

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash", dt_ms=30_000)
    r.give(ev.TradingEnabled)
    short = r.decide(1.0)
    r.give(ev.RunStarted, 3, "test", "paper", {}, "{}", "hash", dt_ms=90_000)
    r.give(ev.TradingEnabled)
    long = r.decide(0.2)

    assert short.code != Code.WARM_UP
    assert long.code == Code.WARM_UP


def test_features_of_long_bars_stay_warm_over_a_pause_of_fewer_than_three_of_them(rig: Make, says: Make) -> None:
    strategy = says(("ret_5",))
    strategy.bar = "time:1m"
    r = rig(strategy)
    for i in range(12):
        r.give(ev.Trade, 0, 10_000 + i % 3, 1, 1, i, dt_ms=60_000)
        r.quote(dt_ms=0)
    r.timer()

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash", dt_ms=150_000)
    r.give(ev.TradingEnabled)
    within = r.decide(0.5)
    r.give(ev.RunStarted, 3, "test", "paper", {}, "{}", "hash", dt_ms=200_000)
    r.give(ev.TradingEnabled)
    beyond = r.decide(0.2)

    assert within.code == Code.OK
    assert beyond.code == Code.WARM_UP


def test_the_venues_word_on_a_position_is_taken_in_recovery_and_halts_later(rig: Make) -> None:
    r = rig(started=False)
    r.give(ev.RunStarted, 1, "test", "paper", {}, "{}", "hash")
    r.give(ev.PositionReported, 0, 7, 7 * 10_000 * 1000)
    adopted = r.lots
    r.give(ev.TradingEnabled)
    r.give(ev.Pause, "")

    effects = r.give(ev.PositionReported, 0, 9, 9 * 10_000 * 1000)

    assert adopted == 7
    assert r.lots == 7
    assert any(isinstance(e, Halt) for e in effects)


def test_the_end_of_a_run_records_the_account_as_it_is(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    r.quote(10_100)

    effects = r.give(ev.TradingDisabled, "shutdown", dt_ms=1)

    (record,) = [e for e in effects if isinstance(e, RecordRisk)]
    assert record.equity_e8 == r.engine.state.portfolio.equity_e8(r.engine.state.marks2)


def test_every_reason_against_openings_must_be_over(rig: Make) -> None:
    r = rig()
    r.give(ev.TradingDisabled, "disk_full")
    r.give(ev.TradingDisabled, "broker_link")

    r.give(ev.TradingEnabled, "disk_full")
    still = r.decide(1.0)
    r.give(ev.TradingEnabled, "broker_link")
    free = r.decide(1.0)

    assert (still.decision, still.code) == ("refused", Code.TRADING_DISABLED)
    assert free.decision == "buy"


def test_the_operators_word_does_not_end_a_block_of_the_machine(rig: Make) -> None:
    r = rig()
    r.give(ev.TradingDisabled, "disk_full")

    r.give(ev.Resume, True)

    assert r.decide(1.0).code == Code.TRADING_DISABLED
    assert r.engine.state.blocks == ["disk_full"]


def test_only_a_reset_ends_the_safe_mode(rig: Make) -> None:
    r = rig()
    r.give(ev.TradingDisabled, "safe_mode")

    r.give(ev.Resume, False)
    before = r.engine.state.is_enabled
    r.give(ev.Resume, True)

    assert not before
    assert r.engine.state.is_enabled


def test_blocks_end_with_their_run(rig: Make) -> None:
    r = rig()
    r.give(ev.TradingDisabled, "shutdown")

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    r.give(ev.TradingEnabled)

    assert r.engine.state.is_enabled


def test_a_kill_cancels_what_protects_nothing(rig: Make) -> None:
    r = rig(answers=False, execution=LIMIT)
    r.decide(1.0)
    entry = r.sent[-1]
    r.give(ev.OrderAccepted, entry.client_order_id, "V1")

    effects = r.give(ev.Kill, "hold", "test")

    assert [e.client_order_id for e in effects if isinstance(e, CancelOrder)] == [entry.client_order_id]
    assert r.engine.state.risk.is_killed


def test_an_entry_that_the_venue_takes_after_the_kill_is_canceled(rig: Make) -> None:
    r = rig(answers=False, execution=LIMIT)
    r.decide(1.0)
    r.give(ev.Kill, "hold", "test")

    effects = r.give(ev.OrderAccepted, r.sent[-1].client_order_id, "V1")

    assert [e.client_order_id for e in effects if isinstance(e, CancelOrder)] == [r.sent[-1].client_order_id]


def test_an_entry_that_the_list_of_open_orders_shows_after_a_crash_is_canceled_though_killed(rig: Make) -> None:
    r = rig(answers=False, execution=LIMIT)
    r.decide(1.0)
    sent = r.sent[-1]
    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    r.give(ev.Kill, "hold", "kill flag")

    line = ev.OpenOrder(sent.client_order_id, "V1", 0, sent.side, "limit", sent.price_ticks, 0, sent.qty_lots, 0, False)
    effects = r.give(ev.OpenOrdersReported, "sim", (line,))

    assert [e.client_order_id for e in effects if isinstance(e, CancelOrder)] == [sent.client_order_id]


def test_a_reload_tightens_limits_and_never_widens_them(rig: Make) -> None:
    r = rig(position_lots_max=100)
    limits = r.engine.state.risk.limits
    settings = msgspec.json.decode(msgspec.json.encode(r.engine.config.risk))

    r.give(ev.ConfigChanged, msgspec.json.encode({"risk": {**settings, "position_lots_max": 10}}).decode(), "h2")
    tighter = limits.position_lots_max
    r.give(ev.ConfigChanged, msgspec.json.encode({"risk": {**settings, "position_lots_max": 50}}).decode(), "h3")

    assert (tighter, limits.position_lots_max) == (10, 10)
    assert r.decide(1.0).target_lots == 10


@pytest.mark.parametrize(
    ("event", "code"),
    [((ev.FeedUp, "sim"), "feed_up"), ((ev.FeedStale, "sim", 5_000), "feed_stale"), ((ev.ClockSkewed, 1_500), "clock_skewed")],
)
def test_somebody_is_told_of_the_health_of_feed_and_clock(rig: Make, event: tuple[Any, ...], code: str) -> None:
    assert alerts(rig().give(*event)) == [code]


BLACKOUT = {"start": "2025-06-15T15:06:45Z", "end": "2025-06-15T15:07:45Z", "position": "flatten"}


def exits(effects: list[Any]) -> list[SubmitOrder]:
    return [e for e in effects if isinstance(e, SubmitOrder) and e.purpose == "exit"]


def test_a_window_that_flattens_closes_as_it_begins_although_nothing_is_decided(rig: Make, windows: Make) -> None:
    r = rig(windows=windows(BLACKOUT))
    r.decide(0.5, dt_ms=4000)  # 15:06:44

    before, begun, after = r.timer(900), r.timer(100), r.timer(100)

    assert exits(before) == exits(after) == []
    assert [(e.side, e.qty_lots, e.order_type, e.reduce_only) for e in exits(begun)] == [(-1, 500, "market", True)]
    assert [e.code for e in begun if isinstance(e, RaiseAlert)] == ["session_exit"]
    assert r.lots == 0
    assert r.protective() == {}


def test_an_entry_that_fills_in_a_window_that_flattens_is_closed_at_the_next_timer(rig: Make, windows: Make) -> None:
    r = rig(answers=False, windows=windows(BLACKOUT))
    r.quote(dt_ms=4500)
    r.decide(1.0, dt_ms=400)
    (entry,) = r.sent
    r.give(ev.OrderAccepted, entry.client_order_id, "V")
    waits = r.timer(200)
    kind, fields = r.fill_of(entry, 10_002, 1000)
    r.answers = True
    r.give(kind, *fields)

    assert exits(waits) == []
    assert [e.qty_lots for e in exits(r.timer())] == [1000]
    assert r.lots == 0


@pytest.mark.parametrize(
    "refusal", [(ev.OrderRejected, "market_closed", ""), (ev.OrderExpired, "no liquidity"), (ev.OrderCanceled, "no liquidity")]
)
def test_an_exit_for_a_window_that_the_venue_refuses_is_tried_ever_more_slowly(rig: Make, windows: Make, refusal: tuple[Any, ...]) -> None:
    r = rig(windows=windows(BLACKOUT))
    r.decide(0.5, dt_ms=4000)
    r.answers, begin = False, r.now
    tries = []
    for _ in range(300):
        for e in exits(r.timer()):
            tries.append((r.now - begin) // 10**8)
            r.give(refusal[0], e.client_order_id, *refusal[1:])

    assert tries == [10, 60, 160]


@pytest.mark.parametrize("stop", [(ev.Kill, "", 0), (ev.FeedDown, "sim", "lost")])
def test_a_kill_or_a_missing_quote_keeps_what_is_held_in_a_window(rig: Make, windows: Make, stop: tuple[Any, ...]) -> None:
    r = rig(windows=windows(BLACKOUT))
    r.decide(0.5, dt_ms=4000)
    r.give(*stop)

    assert exits([e for _ in range(20) for e in r.timer()]) == []
    assert r.lots == 500


def test_a_halt_keeps_what_is_held_in_a_window_until_the_operator_resets_it(rig: Make, windows: Make) -> None:
    r = rig(windows=windows(BLACKOUT))
    r.decide(0.5, dt_ms=4000)
    r.give(ev.InstrumentDefined, 7, r.engine.markets[0].definition)  # one that this engine was not built for

    halted = exits([e for _ in range(20) for e in r.timer()])
    r.give(ev.Resume, True)

    assert halted == []
    assert [e.qty_lots for e in exits(r.timer())] == [500]


def test_a_window_that_flattens_cancels_the_entry_that_rests(rig: Make, windows: Make) -> None:
    r = rig(windows=windows(BLACKOUT), execution=ExecutionSettings(dead_band_share=0.0, entry="limit"))
    r.decide(1.0, dt_ms=4000)
    (resting,) = r.working

    cancels = [e.client_order_id for e in r.timer(1100) if isinstance(e, CancelOrder)]

    assert cancels == [resting]


@pytest.mark.parametrize("kind", ["spot", "perpetual"])
def test_a_window_that_flattens_cancels_what_rests_also_beside_dust_and_while_an_exit_waits(rig: Make, windows: Make, kind: str) -> None:
    r = rig(kind=kind, windows=windows(BLACKOUT), execution=ExecutionSettings(dead_band_share=0.0, entry="limit"))
    market = r.engine.markets[0]
    market.terms = msgspec.structs.replace(market.terms, min_notional_e8=10**8)
    r.engine.state.risk.cool_until_ns[-1] = r.now + 60_000_000_000  # the venue has just refused an exit
    r.decide(1.0, dt_ms=4000)
    (resting,) = r.working

    cancels = [e.client_order_id for e in r.timer(1100) if isinstance(e, CancelOrder)]

    assert cancels == [resting]


def refuse(r: Any, times: int) -> list[int]:
    """Tenths of a second until each of so many exits, all of them refused by the venue."""
    tries: list[int] = []
    r.answers, begin = False, r.now
    while len(tries) < times:
        for e in exits(r.timer()):
            tries.append((r.now - begin) // 10**8)
            r.give(ev.OrderRejected, e.client_order_id, "busy", "")
    r.answers = True
    return tries


def test_a_fill_shows_that_the_venue_takes_orders_again_so_that_the_next_refused_exit_does_not_wait_long(rig: Make, windows: Make) -> None:
    later = {"start": "2025-06-15T15:16:45Z", "end": "2025-06-15T15:17:45Z", "position": "flatten"}
    r = rig(windows=windows(BLACKOUT, later))
    r.decide(0.5, dt_ms=4000)
    first = refuse(r, 3)
    r.timer(60_000)  # the position is held until after the window
    r.decide(0.0, dt_ms=100)
    flat = r.lots
    r.decide(0.5, dt_ms=(START_NS + 604_000 * 10**6 - r.now) // 10**6)

    assert first == [10, 60, 160]
    assert flat == 0
    assert refuse(r, 3) == [10, 60, 160]


def test_an_exit_that_was_refused_on_one_instrument_holds_up_no_other(rig: Make, windows: Make, says: Make) -> None:
    r = rig(started=False, windows=windows(BLACKOUT))
    config = r.engine.config
    two = (config.instruments[0], msgspec.structs.replace(config.instruments[0], symbol="Y"))
    strategies = r.says, says()
    lanes = tuple(LaneSpec(instrument=i, strategy=s) for i, s in enumerate(strategies))
    r.engine = Engine(msgspec.structs.replace(config, instruments=two, lanes=lanes))
    r.give(ev.RunStarted, 1, "test", "paper", {}, "{}", "hash")
    r.give(ev.TradingEnabled)
    for strategy in strategies:
        strategy.signal = 0.4
    r.quote(dt_ms=4000)
    r.give(ev.Quote, 1, 10_000, 10_002, 50, 50)
    r.answers = False
    (both,) = [exits(effects) for effects in (r.timer() for _ in range(10)) if exits(effects)]
    r.give(ev.OrderRejected, both[0].client_order_id, "busy", "")
    kind, fields = r.fill_of(both[1], 10_000, 100)
    r.give(kind, *fields)
    r.give(ev.OrderExpired, both[1].client_order_id, "nobody there any more")

    again = [e.instrument for _ in range(20) for e in exits(r.timer())]

    assert [e.instrument for e in both] == [0, 1]
    assert again == [1]


def test_what_a_window_closed_for_one_lane_no_decision_of_another_opens_again(rig: Make, windows: Make, says: Make) -> None:
    slow, fast = says(min_interval_ms=3_600_000), says()
    r = rig(slow, fast, windows=windows(BLACKOUT))
    slow.signal = 0.5
    r.quote(dt_ms=4000)
    r.timer(1000)
    in_window = r.lots

    r.quote(dt_ms=90_000)

    assert in_window == 0
    assert r.lots == 0
