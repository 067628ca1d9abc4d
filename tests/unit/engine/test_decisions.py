"""Which verb and which code a decision gets, and what of it is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from mia.domain import events as ev
from mia.domain.codes import Code
from mia.domain.effects import RaiseAlert, RecordDecision, SubmitOrder
from mia.domain.ids import run_of
from mia.features.blocks import BLOCK_OF
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import missing_columns

Make = Callable[..., Any]


def depth_column() -> str:
    """Some column that is made of the order book alone."""
    return next(n for n, c in shipped_catalogue().by_name.items() if n in BLOCK_OF and tuple(c.inputs) == ("depth",))


def test_an_entry_is_recorded_with_its_orders_and_an_exit_with_flat(rig: Make) -> None:
    r = rig()

    entry = r.decide(1.0)
    exit_ = r.decide(0.0)

    assert (entry.decision, entry.code, entry.signal, entry.position_lots, entry.target_lots) == ("buy", Code.OK, 1.0, 0, 1000)
    assert entry.order_ids == (r.sent[0].client_order_id,)
    assert exit_.decision == "flat"
    assert exit_.trade_id == "test-1"
    assert r.lots == 0


def test_the_verbs_follow_what_happens_to_the_exposure(rig: Make) -> None:
    r = rig()

    verbs = [r.decide(signal).decision for signal in (0.5, 0.5, 0.25, 0.75, -0.5, -1.0, 0.0, 0.0)]

    assert verbs == ["buy", "hold", "reduce", "buy", "sell", "sell", "flat", "hold"]


def test_the_record_comes_before_the_orders_it_explains(rig: Make) -> None:
    r = rig(answers=False)
    r.says.signal = 1.0

    effects = r.quote()

    kinds = [type(e) for e in effects if isinstance(e, RecordDecision | SubmitOrder)]
    assert kinds == [RecordDecision, SubmitOrder]


def test_order_ids_are_sixteen_characters_that_name_run_and_decision(rig: Make) -> None:
    r = rig(started=False)
    r.give(ev.RunStarted, 77, "test", "paper", {}, "{}", "h")
    r.give(ev.TradingEnabled)

    r.decide(1.0)

    ids = [order.client_order_id for order in r.sent]
    assert len(ids) == len(set(ids)) == 3  # entry, stop, take
    assert all(len(i) == 16 and i.startswith("mia") and run_of(i) == 77 for i in ids)


def test_openings_wait_for_warm_features(rig: Make, says: Make) -> None:
    r = rig(says(columns=("ema(3)",)))

    codes = []
    for i in range(6):
        r.give(ev.Trade, 0, 10_000 + i, 5, 1, i, dt_ms=500)
        codes.append(r.decide(1.0, dt_ms=500).code)

    assert codes[0] == Code.WARM_UP
    assert codes[-1] == Code.OK
    assert r.says.asked < 6


def test_a_cold_decision_says_nothing_of_signal_or_inputs(rig: Make, says: Make) -> None:
    record = rig(says(columns=("ema(3)",))).decide(1.0)

    assert record.decision == "refused"
    assert math.isnan(record.signal)
    assert math.isnan(record.alpha)
    assert record.inputs_crc == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_feature_that_is_not_finite_never_reaches_the_policy(rig: Make, says: Make, bad: float) -> None:
    r = rig(says(columns=("mid",)))
    r.decide(0.0)
    asked = r.says.asked
    plan = r.engine.lanes[0].plan

    class Poisoned:
        values = memoryview(bytearray(8)).cast("d")

        def __getattr__(self, name: str) -> Any:
            return getattr(plan, name)

        def observe(self, ts: int) -> None:
            self.values[0] = bad

    object.__setattr__(r.engine.lanes[0], "plan", Poisoned())
    record = r.decide(1.0)

    assert record.code == Code.FEATURE_NOT_FINITE
    assert r.says.asked == asked
    assert r.lots == 0


def test_a_feature_outside_of_its_trained_range_is_refused(rig: Make, says: Make) -> None:
    strategy = says(columns=("mid",))
    strategy.hi = (10_500.0,)
    r = rig(strategy)

    inside = r.decide(0.5, bid=10_000)
    outside = r.decide(1.0, bid=11_000)

    assert (inside.code, outside.code) == (Code.OK, Code.FEATURE_OUT_OF_RANGE)


def test_a_model_out_of_its_range_for_long_is_told_once_a_row(rig: Make, says: Make) -> None:
    strategy = says(columns=("mid",))
    strategy.hi = (10_500.0,)
    r = rig(strategy)
    r.quote()

    def told(n: int, **quote: int) -> list[str]:
        return [e.text for _ in range(n) for e in r.quote(**quote) if isinstance(e, RaiseAlert) and e.code == "out_of_range"]

    assert told(199, bid=20_000) == []
    assert told(1, bid=10_000) == []  # in range again: counted anew
    assert told(199, bid=20_000) == []
    (text,) = told(100, bid=20_000)
    assert "mid" in text


@pytest.mark.parametrize("signal", [math.nan, math.inf, -math.inf, 1.5, -1.0000001])
def test_an_action_that_is_not_in_range_moves_nothing(rig: Make, signal: float) -> None:
    r = rig()
    r.decide(0.5)
    held = r.lots

    record = r.decide(signal)

    assert (record.decision, record.code) == ("refused", Code.ACTION_INVALID)
    assert record.order_ids == ()
    assert r.lots == held


@pytest.mark.parametrize("alpha", [math.nan, 1.5, -0.1, math.inf])
def test_a_trade_probability_that_is_no_probability_opens_nothing(rig: Make, alpha: float) -> None:
    r = rig()
    r.says.alpha = alpha

    record = r.decide(1.0)

    assert (record.decision, record.code) == ("refused", Code.ALPHA_INVALID)
    assert r.lots == 0


def test_a_low_trade_probability_refuses_openings_and_lets_exits_pass(rig: Make, says: Make) -> None:
    r = rig(says(alpha_min=0.6))
    opened = r.decide(0.5)
    r.says.alpha = 0.59

    more = r.decide(1.0)
    less = r.decide(0.25)
    gone = r.decide(0.0)

    assert opened.decision == "buy"
    assert (more.decision, more.code) == ("refused", Code.ALPHA_BELOW_MIN)
    assert less.decision == "reduce"
    assert gone.decision == "flat"


def test_a_flip_without_the_trade_probability_for_it_becomes_flat(rig: Make, says: Make) -> None:
    r = rig(says(alpha_min=0.6))
    r.decide(0.5)
    r.says.alpha = 0.1

    record = r.decide(-0.5)

    assert (record.decision, record.code) == ("flat", Code.ALPHA_BELOW_MIN)
    assert r.lots == 0


def test_spot_does_not_go_short(rig: Make) -> None:
    r = rig(kind="spot")
    r.decide(0.5)

    record = r.decide(-1.0)

    assert (record.decision, record.code) == ("flat", Code.SPOT_NO_SHORT)
    assert r.lots == 0


def test_a_lane_that_reads_depth_waits_for_a_whole_book_after_a_gap(rig: Make, says: Make) -> None:
    r = rig(says(columns=(depth_column(),)))
    r.book()
    before = r.decide(0.3)
    r.give(ev.FeedGap, 0, 5, 9)

    broken = r.decide(1.0)
    blind = r.decide(0.0)
    r.book()
    mended = r.decide(1.0)

    assert before.code == Code.OK
    assert (broken.decision, broken.code) == ("refused", Code.BOOK_INVALID)
    assert (blind.decision, blind.target_lots) == ("refused", blind.position_lots)  # never asked on made-up depth; stop and take guard
    assert mended.code == Code.OK
    assert r.engine.state.counters.gaps == 1


def test_a_policy_with_a_mask_decides_without_the_book_and_is_told_so(rig: Make, says: Make) -> None:
    class Sees(says):  # type: ignore[misc,valid-type]
        seen: list[list[float]] = []

        def evaluate(self, obs: memoryview, regime_probs: Any) -> Any:
            self.seen.append(list(obs))
            return super().evaluate(obs, regime_probs)

    strategy = Sees(columns=("queue_imb_1", depth_column(), "has(depth)"))
    r = rig(strategy)
    r.book()
    r.decide(0.3)
    r.give(ev.FeedGap, 0, 5, 9)

    blind = r.decide(1.0)
    r.book()
    r.decide(1.0)

    assert (blind.decision, blind.code) == ("buy", Code.OK)
    assert [obs[2] for obs in strategy.seen] == [1.0, 0.0, 1.0]
    assert strategy.seen[1][1] == shipped_catalogue().get(depth_column()).neutral
    assert (r.engine.markets[0].reads_book, r.engine.markets[0].needs_book) == (True, False)


@pytest.mark.parametrize(("seconds", "code"), [(30, Code.OK), (600, Code.WARM_UP)])
def test_after_a_long_outage_of_the_feed_features_warm_up_anew(seconds: int, code: Code, rig: Make, says: Make) -> None:
    r = rig(says(columns=("ret_1",)))
    for _ in range(4):
        r.give(ev.Trade, 0, 10_000, 5, 1, 1, dt_ms=1_000)
    before = r.decide(0.3)
    r.give(ev.FeedDown, "sim", "connection lost")
    r.give(ev.FeedUp, "sim", dt_ms=1_000 * seconds)

    after = r.decide(1.0)

    assert before.code == Code.OK
    assert after.code == code


def test_what_comes_from_outside_reaches_the_plans_of_all_lanes(rig: Make, says: Make) -> None:
    r = rig(says(columns=("vix_term_slope", "has(reference)")))
    until = r.now + 10**18
    r.give(ev.Reference, "vix", 20.0, r.now, until)
    r.give(ev.Reference, "vix3m", 22.0, r.now, until)
    r.give(ev.Reference, "moon_phase", 0.5, r.now, until)  # a series that no column reads is nobody's business
    plan = r.engine.lanes[0].plan

    plan.observe(r.now)

    assert list(plan.values) == pytest.approx([math.log(22.0 / 20.0), 1.0])
    assert missing_columns(plan) == []


def test_a_lost_connection_makes_the_book_unusable_until_it_is_whole_again(rig: Make, says: Make) -> None:
    r = rig(says(columns=(depth_column(),)))
    r.book()
    r.give(ev.FeedDown, "sim", "connection lost")

    broken = r.decide(1.0)
    r.book()

    assert broken.code == Code.BOOK_INVALID
    assert r.decide(1.0).code == Code.OK


def test_a_lane_that_reads_no_depth_does_not_mind_a_gap(rig: Make) -> None:
    r = rig()
    r.give(ev.FeedGap, 0, 5, 9)

    assert r.decide(1.0).code == Code.OK


def test_an_old_quote_stops_everything_even_exits(rig: Make, says: Make) -> None:
    r = rig(says(trigger="trade"))
    r.quote()
    r.says.signal = 1.0
    r.give(ev.Trade, 0, 10_001, 1, 1, 1)
    assert r.lots > 0
    r.says.signal = 0.0

    (record,) = r.records(r.give(ev.Trade, 0, 10_001, 1, 1, 2, dt_ms=2001))

    assert (record.decision, record.code) == ("refused", Code.QUOTE_STALE)
    assert (record.limit, record.actual) == (2000.0, 2001.0)


@pytest.mark.parametrize("bad", [(10_010, 10_000, 5), (10_000, 10_000, 5), (10_000, 10_002, 0), (0, 10_000, 5)])
def test_without_a_proper_quote_nothing_is_traded(rig: Make, says: Make, bad: tuple[int, int, int]) -> None:
    r = rig(says(trigger="trade"))
    r.quote()
    r.says.signal = 1.0
    bid, ask, lots = bad
    r.quote(bid, ask, lots=lots)

    (record,) = r.records(r.give(ev.Trade, 0, 10_001, 1, 1, 1))

    assert (record.decision, record.code) == ("refused", Code.QUOTE_MISSING)


def test_a_crossed_quote_causes_no_decision_of_a_quote_lane(rig: Make) -> None:
    r = rig()
    r.says.signal = 1.0

    assert r.records(r.quote(10_010, 10_000)) == []


def test_after_a_feed_went_down_its_last_quote_is_no_quote(rig: Make, says: Make) -> None:
    r = rig(says(trigger="trade"))
    r.quote()
    r.says.signal = 1.0
    r.give(ev.FeedDown, "sim", "connection lost")

    (record,) = r.records(r.give(ev.Trade, 0, 10_001, 1, 1, 1))

    assert record.code == Code.QUOTE_MISSING


def test_the_interval_between_decisions_is_kept(rig: Make, says: Make) -> None:
    r = rig(says(min_interval_ms=250))

    times = [record.ts_ns for _ in range(10) for record in r.records(r.quote(dt_ms=100))]

    assert [b - a for a, b in pairwise(times)] == [300_000_000] * (len(times) - 1)


def test_a_bar_lane_decides_when_a_timer_closes_the_bar(rig: Make, says: Make) -> None:
    r = rig(says(trigger="bar"))
    r.says.signal = 1.0
    assert r.records(r.quote(dt_ms=10)) == []
    r.give(ev.Trade, 0, 10_001, 1, 1, 1, dt_ms=10)

    decided = [record.ts_ns for _ in range(25) for record in r.records(r.timer(dt_ms=100) + r.quote(dt_ms=0))]

    assert len(decided) in (2, 3)
    assert decided[1] - decided[0] == 1_000_000_000


def test_a_trade_lane_decides_on_trades_only(rig: Make, says: Make) -> None:
    r = rig(says(trigger="trade"))

    quoted = r.records(r.quote())
    traded = r.records(r.give(ev.Trade, 0, 10_001, 1, 1, 1))

    assert (len(quoted), len(traded)) == (0, 1)


def test_lanes_on_one_instrument_are_summed(rig: Make, says: Make) -> None:
    first, second = says(), says()
    r = rig(first, second)
    first.signal, second.signal = 0.25, 0.5

    for _ in range(5):  # a sum that fed on itself would grow with each round
        r.quote()
    both = r.lots
    first.signal = 0.0
    r.quote()
    alone = r.lots
    second.signal = 0.0
    r.quote()

    assert (both, alone, r.lots) == (250 + 500, 500, 0)


def test_opposite_lanes_cancel_out(rig: Make, says: Make) -> None:
    first, second = says(), says()
    r = rig(first, second)
    first.signal, second.signal = 0.5, -0.5

    for _ in range(3):
        r.quote()

    assert r.lots == 0


def test_on_spot_a_lane_that_wants_to_be_short_takes_nothing_from_the_other(rig: Make, says: Make) -> None:
    first, second = says(), says()
    r = rig(first, second, kind="spot")
    first.signal, second.signal = 0.5, -1.0

    held = []
    for _ in range(4):
        r.quote()
        held.append(r.lots)

    assert held == [held[0]] * 4
    assert held[0] > 0


def test_the_sum_of_lanes_is_cut_by_the_limits_of_the_instrument(rig: Make, says: Make) -> None:
    first, second = says(), says()
    r = rig(first, second, position_lots_max=100)
    first.signal = second.signal = 1.0

    for _ in range(4):
        r.quote()

    assert r.lots == 100
