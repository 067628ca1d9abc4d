"""Every open position has a stop and a take: after entries, changes and restarts, held by the venue or by the engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mia.domain import events as ev
from mia.domain.codes import Code
from mia.domain.effects import CancelOrder, QueryOrder, RaiseAlert, SubmitOrder

Make = Callable[..., Any]


def test_an_entry_is_followed_by_a_stop_and_a_take_of_its_size(rig: Make) -> None:
    r = rig()

    r.decide(1.0)  # at the ask, 10,002

    assert r.protective() == {"stop": (1000, 9802), "take": (1000, 10502)}  # 2 % and 5 %, to the nearer tick
    assert all(o.reduce_only and o.side == -1 for o in r.sent[1:])
    assert r.sent[1].group == r.sent[2].group == "test-1"


def test_a_short_is_protected_on_the_other_side(rig: Make) -> None:
    r = rig()

    r.decide(-1.0)  # at the bid, 10,000

    assert r.protective() == {"stop": (1000, 10200), "take": (1000, 9500)}


def test_protection_follows_the_position_and_its_average_entry(rig: Make) -> None:
    r = rig()
    r.decide(0.5)

    r.decide(1.0, bid=10_100)
    grown = r.protective()
    r.decide(0.3, bid=10_100)
    shrunk = r.protective()
    r.decide(0.0, bid=10_100)
    gone = r.protective()

    assert grown["stop"] == (1000, 9851)  # average 10,052
    assert shrunk["stop"][0] == shrunk["take"][0] == 300
    assert gone == {}


def test_a_part_fill_is_protected_at_once(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    entry = r.sent[0]
    r.give(ev.OrderAccepted, entry.client_order_id, "V")
    kind, fields = r.fill_of(entry, 10_002, 10)

    effects = r.give(kind, *fields)

    assert [(o.purpose, o.qty_lots) for o in effects if isinstance(o, SubmitOrder)] == [("stop", 10), ("take", 10)]


def test_a_fill_while_the_stop_is_on_its_way_is_protected_once_it_works(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    entry = r.sent[0]
    r.give(ev.OrderAccepted, entry.client_order_id, "V")
    for lots in (10, 20):
        kind, fields = r.fill_of(entry, 10_002, lots)
        r.give(kind, *fields)
    stop, take = r.sent[1:]

    replaced = [e for o in (stop, take) for e in r.give(ev.OrderAccepted, o.client_order_id, "V")]

    assert [(e.client_order_id, e.qty_lots) for e in replaced] == [(stop.client_order_id, 30), (take.client_order_id, 30)]


def test_a_fill_while_the_stop_is_being_replaced_is_protected_once_it_was(rig: Make) -> None:
    r = rig()
    r.decide(0.5)
    r.answers = False
    r.decide(1.0)
    entry = r.sent[-1]
    stop, take = r.working
    r.give(ev.OrderAccepted, entry.client_order_id, "V")
    for lots in (2, 498):
        kind, fields = r.fill_of(entry, 10_002, lots)
        r.give(kind, *fields)

    replaced = [e for i in (stop, take) for e in r.give(ev.OrderReplaced, i, 0, 0, 502)]
    clipped = r.give(ev.OrderReplaced, stop, 0, 0, 700)

    assert [(e.client_order_id, e.qty_lots) for e in replaced] == [(stop, 1000), (take, 1000)]
    assert clipped == []  # the venue's own change; the next second looks at it
    assert r.lots == 1000


def test_protection_that_does_not_fit_its_position_is_mended_within_a_second(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    stop = next(i for i, o in r.working.items() if o.purpose == "stop")
    r.give(ev.OrderReplaced, stop, 0, 0, 400)  # a word of the venue's own

    for _ in range(11):
        r.timer()

    assert r.protective()["stop"][0] == 1000


def test_a_stop_that_begins_to_work_after_its_position_is_gone_is_canceled(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    entry = r.sent[0]
    kind, fields = r.fill_of(entry, 10_002, 1000)
    r.give(kind, *fields)
    stop = r.sent[1]
    r.give(ev.Flatten, "operator")
    exit_ = r.sent[-1]
    kind, fields = r.fill_of(exit_, 10_000, 1000)
    r.give(kind, *fields)

    effects = r.give(ev.OrderAccepted, stop.client_order_id, "V")

    assert [e.client_order_id for e in effects if isinstance(e, CancelOrder)] == [stop.client_order_id]


def test_a_flip_leaves_only_the_protection_of_the_new_side(rig: Make) -> None:
    r = rig()
    r.decide(0.4)

    record = r.decide(-0.4)

    assert (record.decision, r.lots) == ("sell", -400)
    assert r.protective() == {"stop": (400, 10200), "take": (400, 9500)}
    assert {r.working[i].side for i in r.working} == {1}


def test_lost_protection_is_armed_again_when_trading_is_enabled(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    r.answers = False
    for order_id in list(r.working):
        r.engine.state.table.absent(order_id)
    assert r.protective() == {}
    r.sent.clear()

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    effects = r.give(ev.TradingEnabled)

    assert [o.purpose for o in effects if isinstance(o, SubmitOrder)] == ["stop", "take"]


def test_lost_protection_is_armed_again_within_a_second(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    stop = next(i for i, o in r.working.items() if o.purpose == "stop")
    r.engine.state.table.absent(stop)

    for _ in range(11):
        r.timer()

    assert set(r.protective()) == {"stop", "take"}


def test_a_restart_with_protection_in_place_sends_nothing_and_uses_up_no_order_number(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    before = r.engine.state.decision_id

    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    effects = r.give(ev.TradingEnabled)

    assert effects == []
    assert r.engine.state.decision_id == before


def test_a_stop_that_fills_ends_the_trade_and_cools_every_lane_down(rig: Make, says: Make) -> None:
    first, second = says(), says()
    r = rig(first, second)
    r.decide(0.5)
    stop = next(o for o in r.working.values() if o.purpose == "stop")
    first.signal = second.signal = 0.5
    kind, fields = r.fill_of(stop, 9_800, stop.qty_lots)

    r.give(kind, *fields)
    codes = [record.code for record in r.records(r.quote(9_800))]

    assert r.lots == 0
    assert codes == [Code.COOL_DOWN, Code.COOL_DOWN]
    assert r.engine.state.counters.trades == 1


def test_where_the_venue_holds_no_stops_the_engine_closes_at_the_level(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(1.0)
    assert r.protective() == {}

    above = r.quote(9_803)
    at = r.quote(9_802)

    assert not [o for o in above if isinstance(o, SubmitOrder)]
    (exit_,) = [o for o in at if isinstance(o, SubmitOrder)]
    assert (exit_.purpose, exit_.order_type, exit_.qty_lots, exit_.reduce_only) == ("exit", "market", 1000, True)
    assert "engine_stop" in [e.code for e in at if isinstance(e, RaiseAlert)]
    assert r.lots == 0
    assert r.decide(1.0).code == Code.COOL_DOWN


def test_the_engine_takes_profit_where_the_venue_cannot(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(-1.0)

    r.says.signal = -1.0
    r.quote(9_498)  # ask 9,500

    assert r.lots == 0


def test_an_engine_held_stop_works_while_killed(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(1.0)
    r.give(ev.Kill, "all", "operator")

    r.quote(9_700)

    assert r.lots == 0


def test_a_silent_order_is_asked_for(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)

    asked = [type(e).__name__ for _ in range(70) for e in r.timer()]

    assert asked.count("QueryOrder") >= 1
    assert len(r.sent) == 1


def test_an_engine_held_exit_that_is_rejected_is_tried_again_after_a_second(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(1.0)
    r.answers = False
    before = len(r.sent)

    for _ in range(25):
        r.quote(9_700)
        for order in r.sent[before:]:
            if r.engine.state.table.orders.get(order.client_order_id) is not None:
                r.give(ev.OrderRejected, order.client_order_id, "busy", "")

    exits = [o for o in r.sent[before:] if o.purpose == "exit"]
    assert 2 <= len(exits) <= 4
    assert r.lots == 1000


def test_a_replace_without_an_answer_is_asked_for(rig: Make) -> None:
    r = rig()
    r.decide(0.5)
    r.answers = False
    replaced = r.engine.state.table.open_orders(0)[0].client_order_id
    r.engine.state.table.replacing[replaced] = (1, 0, 1)

    asked = [e.client_order_id for _ in range(70) for e in r.timer() if type(e).__name__ == "QueryOrder"]

    assert replaced in asked


def test_in_recovery_the_engine_closes_nothing_until_the_venue_said_what_is_held(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(1.0)
    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")

    early = r.quote(9_700)
    r.give(ev.PositionReported, 0, 400, 0)
    r.give(ev.TradingEnabled)
    after = r.quote(9_700)

    assert not [o for o in early if isinstance(o, SubmitOrder)]
    assert [o.qty_lots for o in after if isinstance(o, SubmitOrder)] == [400]
    assert r.lots == 0


def test_a_flatten_of_before_a_restart_goes_on_with_what_the_venue_says_is_held(rig: Make) -> None:
    r = rig(holds_stops=False)
    r.decide(1.0)
    r.answers = False
    r.give(ev.Flatten, "operator")
    flattened = r.sent[-1]
    r.give(ev.OrderRejected, flattened.client_order_id, "market_closed", "")
    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    before = len(r.sent)
    r.quote()
    r.give(ev.Flatten, "operator again")
    for _ in range(15):
        r.timer()
    early = r.sent[before:]

    r.give(ev.PositionReported, 0, 400, 0)
    r.give(ev.TradingEnabled)
    r.answers = True
    for _ in range(15):
        r.timer()

    assert early == []
    assert [o.qty_lots for o in r.sent[before:]] == [400]
    assert r.lots == 0


def test_an_order_that_recovery_found_absent_is_no_rejection_of_the_venue(rig: Make) -> None:
    r = rig(answers=False)
    r.decide(1.0)
    r.give(ev.RunStarted, 2, "test", "paper", {}, "{}", "hash")
    r.give(ev.OpenOrdersReported, "sim", ())

    effects = r.give(ev.OrderRejected, r.sent[0].client_order_id, "unknown_order", "the venue does not have it")

    assert effects == []
    assert r.engine.state.is_recovering


def test_a_stop_that_the_venue_gives_up_is_sent_again_however_long_all_was_in_line(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    quiet = [effect for _ in range(30) for effect in (*r.quote(), *r.timer(dt_ms=1_000)) if isinstance(effect, SubmitOrder | CancelOrder)]
    stop = next(o for o in r.sent if o.purpose == "stop")

    r.give(ev.OrderExpired, stop.client_order_id, "by the venue", dt_ms=100)
    r.timer(dt_ms=1_000)

    assert quiet == []
    assert r.sent[-1].purpose == "stop"
    assert r.sent[-1].client_order_id != stop.client_order_id
    assert r.protective() == {"stop": (1000, 9802), "take": (1000, 10502)}


def test_an_order_without_an_answer_is_asked_for_each_second_also_after_a_long_quiet_time(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    for _ in range(10):
        r.timer(dt_ms=1_000)
    r.answers = False
    r.decide(0.0)
    exit_order = r.sent[-1]

    asked = [[type(e) for e in (*r.quote(), *r.timer(dt_ms=1_000)) if isinstance(e, QueryOrder)] for _ in range(8)]

    assert not exit_order.group
    assert asked[:4] == [[]] * 4  # five seconds are given to it
    assert all(one == [QueryOrder] for one in asked[-3:])


def test_a_stop_that_the_venue_refuses_after_all_is_sent_again_once_the_lane_has_cooled_down(rig: Make) -> None:
    r = rig()
    r.decide(1.0)
    for _ in range(10):
        r.timer(dt_ms=1_000)
    stop = next(o for o in r.sent if o.purpose == "stop")

    r.give(ev.OrderRejected, stop.client_order_id, "venue", "no stops today", dt_ms=100)
    without = r.protective()
    for _ in range(120):
        r.timer(dt_ms=1_000)

    assert set(without) == {"take"}
    assert r.protective() == {"stop": (1000, 9802), "take": (1000, 10502)}
