"""News, posts and predictions against plain sums: known from known_ns on, stale in time, absent when nobody speaks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.events import AnyEvent, NewsScored, Predicted, Reference, Timer
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import compute
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import from_events
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.news_block import SLOTS

SEC = 1_000_000_000
MIN, HOUR, DAY = 60 * SEC, 3600 * SEC, 86_400 * SEC
T0 = 1_700_000_000 * SEC + 123_456_789
LONG = 10**19 // 2


def plan_of(instrument: Instrument) -> tuple[Plan, Arena]:
    arena = Arena(8_000_000)
    return build_plan(SLOTS, instrument, BarSpec.parse("time:1m"), arena, Book(arena, 64), neutral=float("nan")), arena


def feed(plan: Plan, e: AnyEvent) -> None:
    if isinstance(e, NewsScored):
        plan.on_news(e.ts_recv_ns, ("news", "social").index(e.source), e.score, e.impact, e.known_at_ns)
    elif isinstance(e, Predicted):
        name = ("vix", "short", "medium", "long").index(e.name)
        plan.on_predicted(e.ts_recv_ns, name, e.value, e.confidence, e.known_at_ns, e.valid_until_ns)
    elif isinstance(e, Reference):
        plan.on_reference(e.ts_recv_ns, 0, e.value, e.known_at_ns, e.valid_until_ns)


def at(plan: Plan, t: int) -> dict[str, float]:
    plan.observe(t)
    return dict(zip(SLOTS, list(plan.values), strict=True))


def news(t: int, score: float, impact: float = 0.5, known: int | None = None, source: str = "news") -> NewsScored:
    return NewsScored(0, t, t, source, "t", score, impact, t if known is None else known, LONG)


def predicted(t: int, name: str, value: float, confidence: float = 1.0, known: int | None = None, until: int = LONG) -> Predicted:
    return Predicted(0, t, t, name, value, confidence, t if known is None else known, until)


def vix(t: int, value: float, known: int | None = None, until: int = LONG) -> Reference:
    return Reference(0, t, t, "vix", value, t if known is None else known, until)


def feed_oracle(heard: list[NewsScored], now: int) -> dict[str, float] | None:
    """Sums of one source at the whole second; None while it is dead."""
    t = now // SEC * SEC
    if not heard or t - heard[-1].ts_recv_ns > DAY:
        return None
    items: list[tuple[float, float, int]] = []
    for e in heard:
        if e.impact > 0:
            same = sum(s * e.score > 0 and 0 <= e.known_at_ns - k <= HOUR for s, _, k in items[-128:])
            items.append((e.score, e.impact / (1 + same), e.known_at_ns))
    kept = [i for i in items[-128:] if i[2] <= t]
    six = [(s, w, t - k) for s, w, k in kept if t - k <= 6 * HOUR]
    n = len(six)
    e = np.exp([-age / HOUR for _, _, age in six])
    s = np.array([x for x, _, _ in six])
    total, first = float(e.sum()), float((e * s).sum())
    hour = [(x, w) for x, w, age in six if age <= HOUR]
    older = [x for x, _, age in six if age > HOUR]
    listened = min(t - heard[0].ts_recv_ns, DAY)
    if len(items) > 128:
        listened = min(listened, t - min([t, *(k for _, _, k in kept)]))
    mean = sum(t - k <= DAY for _, _, k in kept) / (listened / HOUR) if listened > 0 else 0.0
    out = {
        "score": first / (1 + n),
        "impact": max([abs(x) * w for x, w in hour], default=0.0),
        "count": float(np.clip((len(hour) - mean) / math.sqrt(mean), -10, 10)) if mean > 0 else 0.0,
        "dispersion": math.sqrt(float((e * (s - first / total) ** 2).sum()) / total) if n else 0.0,
        "age": min(1.0, math.log(1 + min((t - k) / MIN for _, _, k in kept)) / math.log(1441)) if kept else math.nan,
        "momentum": float(np.mean([x for x, _ in hour]) - np.mean(older)) if hour and older else 0.0,
        "negative": float((e * np.maximum(-s, 0)).sum() / (e * abs(s)).sum()) if n and (e * abs(s)).sum() > 1e-12 else 0.5,
    }
    if t - heard[0].ts_recv_ns < HOUR:
        out["count"] = math.nan
    return out


def held(heard: list[Any], now: int) -> list[Any]:
    """The values of one slow series as of now, in the order in which they were known, those out of order dropped."""
    known: list[Any] = []
    for e in sorted((e for e in heard if e.known_at_ns <= now), key=lambda e: max(e.known_at_ns, e.ts_recv_ns)):
        if not known or e.known_at_ns >= known[-1].known_at_ns:
            known.append(e)
    return known


def oracle(heard: list[AnyEvent], now: int) -> dict[str, float]:
    out = dict.fromkeys(SLOTS, math.nan)
    items = feed_oracle([e for e in heard if isinstance(e, NewsScored) and e.source == "news"], now)
    posts = feed_oracle([e for e in heard if isinstance(e, NewsScored) and e.source == "social"], now)
    if items:
        out |= {"news_score": items["score"], "news_impact_score": items["impact"], "news_count_1h": items["count"]}
        out |= {"news_dispersion": items["dispersion"], "news_age": items["age"], "news_momentum": items["momentum"]}
        out["news_negative_share"] = items["negative"]
    if posts:
        out |= {"social_score": posts["score"], "social_count_1h": posts["count"]}
    lean, ages = [], []
    for name in ("short", "medium", "long"):
        known = held([e for e in heard if isinstance(e, Predicted) and e.name == name], now)
        if known and now <= known[-1].valid_until_ns:
            x = [(2 * min(1, max(0, e.value)) - 1) * e.confidence for e in known[-2:]]
            out[f"pred_{name}"] = x[-1]
            lean.append(x[-1])
            ages.append((now - known[-1].known_at_ns) / MIN)
            if name == "short" and len(x) == 2:
                out["pred_revision"] = x[1] - x[0]
    if lean:
        out["pred_age"] = min(1.0, math.log(1 + min(ages)) / math.log(1441))
    if len(lean) > 1:
        out["pred_agreement"] = abs(sum(lean)) / sum(map(abs, lean)) if any(lean) else 0.0
    level = held([e for e in heard if isinstance(e, Reference)], now)
    ahead = held([e for e in heard if isinstance(e, Predicted) and e.name == "vix"], now)
    if level and ahead and now <= level[-1].valid_until_ns and now <= ahead[-1].valid_until_ns:
        out["predicted_vix"] = float(np.clip(ahead[-1].value / level[-1].value - 1, -1, 5))
    return out


def made_up(n: int, seed: int, gap_s: float) -> list[AnyEvent]:
    """Slow data with heartbeats, items that become known later, late arrivals, short validities and a long silence."""
    rnd = random.Random(seed)
    t, out = T0, []
    for k in range(n):
        t += int(rnd.expovariate(1 / gap_s) * SEC) + (30 * HOUR if k == n // 2 else 0)
        kind = rnd.random()
        known = t - rnd.choice((0, 0, 0, 40 * SEC, 2 * HOUR))
        if kind < 0.7:
            source = "news" if kind < 0.45 else "social"
            out.append(news(t, rnd.uniform(-1, 1), rnd.choice((0.0, 0.2, 0.9)), rnd.choice((known, t + 90 * SEC)), source))
        elif kind < 0.93:
            name = rnd.choice(("short", "short", "medium", "long"))
            out.append(predicted(t, name, rnd.uniform(-0.1, 1.1), rnd.random(), known, t + rnd.choice((MIN, 3 * HOUR))))
        elif kind < 0.97:
            out.append(predicted(t, "vix", rnd.uniform(10, 40), 1.0, known, t + 5 * HOUR))
        else:
            out.append(vix(t, rnd.uniform(10, 40), known, t + 5 * HOUR))
    return out


@pytest.mark.parametrize(("seed", "gap_s"), [(1, 120.0), (2, 20.0), (3, 900.0)])
def test_columns_match_plain_sums_at_many_moments(seed: int, gap_s: float, instrument: Instrument) -> None:
    plan, _ = plan_of(instrument)
    events, rnd = made_up(500, seed, gap_s), random.Random(seed)
    seen: dict[str, set[float]] = {name: set() for name in SLOTS}

    for k, e in enumerate(events, 1):
        feed(plan, e)
        now = e.ts_recv_ns + int(rnd.choice((0.0, 0.4, 35.0, 3000.0)) * SEC)
        if k < len(events):
            now = min(now, events[k].ts_recv_ns - 1)
        got, expected = at(plan, now), oracle(events[:k], now)
        for name in SLOTS:
            assert got[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-7 if name == "news_dispersion" else 1e-9, nan_ok=True), (
                k,
                name,
            )
            low, high = shipped_catalogue().get(name).range
            assert math.isnan(got[name]) or low <= got[name] <= high, name
            seen[name].add(got[name])

    assert all(len(values) > 10 for values in seen.values())


def test_an_item_counts_from_the_second_in_which_it_is_known(instrument: Instrument) -> None:
    plan, _ = plan_of(instrument)
    known = (T0 // SEC + 5) * SEC + 400_000_000

    feed(plan, news(T0, 0.8, known=known))

    assert at(plan, known - 1)["news_score"] == 0.0
    assert at(plan, known + 599_999_999)["news_score"] == 0.0
    assert at(plan, known + 600_000_000)["news_score"] == pytest.approx(0.8 * math.exp(-0.6 / 3600) / 2)


def test_a_prediction_that_is_not_known_yet_leaves_the_present_one_alone(instrument: Instrument) -> None:
    plan, _ = plan_of(instrument)
    feed(plan, predicted(T0, "short", 0.7, until=T0 + HOUR))
    feed(plan, predicted(T0 + SEC, "short", 0.1, known=T0 + MIN, until=T0 + 2 * MIN))

    assert at(plan, T0 + MIN - 1)["pred_short"] == pytest.approx(0.4)
    assert math.isnan(at(plan, T0 + MIN - 1)["pred_revision"])
    assert at(plan, T0 + MIN)["pred_short"] == pytest.approx(-0.8)
    assert at(plan, T0 + MIN)["pred_revision"] == pytest.approx(-1.2)
    assert at(plan, T0 + 2 * MIN)["pred_short"] == pytest.approx(-0.8)
    assert math.isnan(at(plan, T0 + 2 * MIN + 1)["pred_short"])


def test_nobody_heard_is_not_no_news_and_a_heartbeat_is(instrument: Instrument) -> None:
    plan, _ = plan_of(instrument)

    silent = at(plan, T0)
    feed(plan, news(T0 + SEC, 0.0, impact=0.0))
    quiet = at(plan, T0 + HOUR + 2 * SEC)
    dead = at(plan, T0 + DAY + 3 * SEC)

    assert all(math.isnan(v) for v in silent.values())
    assert [quiet[n] for n in ("news_score", "news_impact_score", "news_count_1h", "news_dispersion")] == [0.0] * 4
    assert quiet["news_negative_share"] == 0.5
    assert math.isnan(quiet["news_age"])
    assert math.isnan(quiet["social_score"])
    assert all(math.isnan(v) for v in dead.values())


def test_observing_more_often_and_a_restore_change_nothing(instrument: Instrument) -> None:
    events = made_up(200, 7, 60.0)
    often, arena = plan_of(instrument)
    once, _ = plan_of(instrument)
    for k, e in enumerate(events):
        feed(often, e)
        at(often, e.ts_recv_ns)
        feed(once, e)
        if k == 120:
            saved = arena.snapshot()
            often, arena = plan_of(instrument)
            arena.restore(saved)

    last = events[-1].ts_recv_ns + 700_000_000

    assert np.array(list(at(often, last).values())).tobytes() == np.array(list(at(once, last).values())).tobytes()


def test_batch_gives_the_same_bits_as_event_by_event(instrument: Instrument) -> None:
    events: list[AnyEvent] = []
    for e in made_up(150, 9, 30.0):
        events += [e, Timer(0, 0, (e.ts_recv_ns // MIN + 1) * MIN)]
    events.sort(key=lambda e: e.ts_recv_ns)
    plan, _ = plan_of(instrument)
    rows = []
    for e in events:
        if isinstance(e, Timer):
            plan.on_time(e.ts_recv_ns)
        feed(plan, e)
        rows.append(list(at(plan, e.ts_recv_ns).values()))
    whole, _ = plan_of(instrument)

    compute(whole, from_events(events), 0, "bar")
    got = list(at(whole, events[-1].ts_recv_ns).values())

    assert np.array(got).tobytes() == np.array(rows[-1]).tobytes()


WILD = st.floats(allow_nan=True, allow_infinity=True)
STAMP = st.integers(-(2**62), 2**62)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), WILD, WILD, STAMP, STAMP, st.integers(0, 10**14)), max_size=30))
def test_wild_slow_data_leave_finite_columns_in_range(rows: list[tuple[int, float, float, int, int, int]]) -> None:
    from mia.train.settings import perpetual

    plan, _ = plan_of(perpetual())
    t = T0
    for kind, x, y, known, until, step in rows:
        t += step
        known = known // 4 + T0 // 2
        if kind < 2:
            plan.on_news(t, kind, x, y, known)
        elif kind < 5:
            plan.on_predicted(t, kind - 2, x, y, known, until)
        else:
            plan.on_reference(t, 0, x, known, until)
        for name, value in at(plan, t).items():
            low, high = shipped_catalogue().get(name).range
            assert math.isnan(value) or low <= value <= high, name


def test_columns_of_predictions_wait_for_no_news(bench: Callable[..., Any]) -> None:
    b = bench(["pred_short", "pred_medium"])
    b.plan.on_predicted(T0, 1, 0.9, 0.5, T0, T0 + MIN)
    b.plan.on_predicted(T0, 2, 0.2, 0.5, T0, T0 + MIN)

    row = b.row(T0 + SEC)

    assert row == pytest.approx([0.4, -0.3])
    assert b.plan.first_cold() == -1
