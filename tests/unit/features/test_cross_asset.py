"""Every cross-asset feature against a plain version of its formula; what was known when; wild references."""

from __future__ import annotations

import datetime as dt
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import REFERENCE, EventColumns
from mia.features.plan import Plan, build_plan
from mia.features.series import REFERENCE_NUMBER, REFERENCES
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.cross_block import READS as CROSS_READS
from mia.kernels.cross_block import SLOTS as CROSS
from mia.kernels.pair_block import READS as PAIR_READS
from mia.kernels.pair_block import SLOTS as PAIR
from mia.kernels.reference_block import SERIES

ROOT = Path(__file__).resolve().parents[3]
SEC = 1_000_000_000
DAY = 86_400 * SEC
COLUMNS = shipped_catalogue().category("cross_asset")
FOREVER = 4_000_000_000 * SEC
START = 1_700_006_400 * SEC  # 00:00 UTC
LOW = {"us2y": -1e3, "us10y": -1e3, "high_yield_spread": -1e3, "fed_funds": -1e3, "funding_rate": -1.0, "nyse_tick": -1e5}
HIGH = {
    "vix": 1e4, "vix3m": 1e4, "us2y": 1e3, "us10y": 1e3, "dollar_index": 1e6, "high_yield_spread": 1e3, "fed_funds": 1e3,
    "funding_rate": 1.0, "nyse_tick": 1e5, "trin": 1e6,
}  # fmt: skip


class Value(NamedTuple):
    at: int
    series: str
    value: float
    known: int
    until: int


def as_columns(values: Sequence[Value]) -> EventColumns:
    rows = np.array([(REFERENCE, v.at, 0, REFERENCE_NUMBER[v.series], v.known, v.until) for v in values], dtype=np.int64).reshape(-1, 6)
    zeros = np.zeros(len(values), dtype=np.int64)
    x = np.array([v.value for v in values], dtype=np.float64)
    return EventColumns._make([*rows.T, zeros, zeros, zeros, x, zeros.astype(float), np.zeros((0, 2), dtype=np.int64)])


def new_plan(instrument: Instrument, calendar: Calendar = UTC_DAYS, columns: Sequence[str] = COLUMNS) -> tuple[Plan, Arena]:
    arena = Arena(8_000_000)
    return build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), calendar, neutral=math.nan), arena


def run(instrument: Instrument, times: Any, closes: Any, values: Sequence[Value], calendar: Calendar = UTC_DAYS) -> Any:
    closes = np.asarray(closes, dtype=float)
    bars = bars_from_ohlcv(closes, closes, closes, closes, np.ones(len(closes)))
    plan, _ = new_plan(instrument, calendar)
    _, matrix = compute_bars(plan, np.asarray(times, dtype=np.int64), bars, with_cold=True, outside=as_columns(values))
    return matrix


class Held:
    """What is known of one series at a moment: values with the time they count from, and daily observations."""

    def __init__(self, series: str, values: Sequence[Value], t: int) -> None:
        mine = [(max(v.at, v.known), k, v) for k, v in enumerate(values) if v.series == series]
        self.taken: list[tuple[int, Value]] = []
        self.daily: list[float] = []
        self.until = -1
        for since, _, v in sorted(x for x in mine if x[0] <= t):
            if not (LOW.get(series, 1e-9) <= v.value <= HIGH.get(series, 1e9)) or (self.taken and v.known < self.taken[-1][1].known):
                continue
            last = self.taken[-1][1] if self.taken else None
            self.until = v.until
            if last and (last.known, last.value) == (v.known, v.value):
                continue
            if last and v.known > last.known and v.known // DAY == last.known // DAY:
                self.daily[-1] = v.value
            else:
                self.daily.append(v.value)
            self.taken.append((since, v))
        self.now = self.taken[-1][1].value if self.taken else math.nan
        self.is_fresh = bool(self.taken) and t <= self.until

    def upto(self, t: int) -> float:
        found = [v.value for since, v in self.taken if since <= t]
        return found[-1] if found else math.nan


def z(x: Any) -> float:
    x = np.asarray(x, dtype=float)
    return float(np.clip((x[-1] - x.mean()) / x.std(), -10, 10)) if x.std() > 1e-12 * abs(x.mean()) else 0.0


def corr(a: Any, b: Any) -> float:
    a, b = np.asarray(a) - np.mean(a), np.asarray(b) - np.mean(b)
    if (a * a).sum() <= 1e-22 or (b * b).sum() <= 1e-22:
        return 0.0
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))


def oracle(times: Sequence[int], closes: Any, values: Sequence[Value]) -> dict[str, float]:
    """The columns after the last bar, sessions being UTC days; NaN where absent. values: in order of arrival."""
    t, c = times[-1], np.asarray(closes, dtype=float)
    values = [v for v in values if v.at < t]
    r = np.concatenate(([0.0], np.diff(np.log(c))))
    out = dict.fromkeys(COLUMNS, math.nan)
    h = {name: Held(name, values, t) for name in REFERENCES}
    vix, dollar = h["vix"], h["dollar_index"]
    if vix.is_fresh:
        x = vix.daily
        if len(x) >= 252:
            out["vix_z_252"] = z(x[-252:])
            window = np.array(x[-252:])
            out["vix_percentile_252"] = ((window < x[-1]).sum() + (window == x[-1]).sum() / 2) / 252
        for n in (1, 5):
            if len(x) > n:
                out[f"vix_change_{n}"] = float(np.clip(math.log(x[-1] / x[-1 - n]), -3, 3))
        if h["vix3m"].is_fresh:
            out["vix_term_slope"] = float(np.clip(math.log(h["vix3m"].now / vix.now), -3, 3))
        days = np.array([(s - 1) // DAY for s in times])
        ended = [d for d in dict.fromkeys(days) if d != days[-1]]
        variances = [(r[days == d] ** 2).sum() for d in ended[1:]]
        if len(variances) >= 20:
            out["vrp"] = float(np.clip((vix.now / 100) ** 2 - 252 * np.mean(variances[-20:]), -10, 10))
        edges: list[tuple[float, float, int]] = []
        for d in ended:
            opened = times[int(np.argmax(days == d))]
            edge = max((d + 1) * DAY, opened)
            seen = sum(since <= edge for since, _ in vix.taken)
            if seen and (not edges or seen != edges[-1][2]):
                edges.append((c[days == d][-1], vix.upto(edge), seen))
        if len(edges) > 60:
            pairs = np.diff(np.log([e[:2] for e in edges[-61:]]), axis=0)
            out["vix_es_correlation"] = corr(pairs[:, 0], pairs[:, 1])
    if dollar.is_fresh:
        if len(dollar.daily) > 5:
            out["dxy_ret_5d"] = float(np.clip(math.log(dollar.daily[-1] / dollar.daily[-6]), -1, 1))
        if len(dollar.daily) >= 60:
            out["dxy_z_60"] = z(dollar.daily[-60:])
    if h["us10y"].is_fresh and h["us2y"].is_fresh:
        out["yield_slope_10y2y"] = float(np.clip(h["us10y"].now - h["us2y"].now, -10, 10))
    if h["fed_funds"].is_fresh and h["us2y"].is_fresh:
        out["policy_gap_2y"] = float(np.clip(h["us2y"].now - h["fed_funds"].now, -10, 10))
    for column, series, n, bound in (
        ("us10y_change_5d", "us10y", 5, 5), ("credit_spread_change_5d", "high_yield_spread", 5, 20),
        ("fed_funds_change_3", "fed_funds", 3, 10),
    ):  # fmt: skip
        if h[series].is_fresh and len(h[series].daily) > n:
            out[column] = float(np.clip(h[series].daily[-1] - h[series].daily[-1 - n], -bound, bound))
    if h["funding_rate"].is_fresh:
        rates = [v.value for _, v in h["funding_rate"].taken]
        out["funding_rate"] = float(np.clip(1e4 * rates[-1], -100, 100))
        if len(rates) >= 90:
            out["funding_z_90"] = z(rates[-90:])
    if h["nyse_tick"].is_fresh:
        out["nyse_tick"] = float(np.clip(h["nyse_tick"].now / 1000, -5, 5))
    if h["trin"].is_fresh:
        out["trin"] = float(np.clip(math.log(h["trin"].now), -5, 5))
    bar_values: dict[str, list[float]] = {name: [] for name in ("ref", "ref2", "spot", "perp")}
    for k in range(max(0, len(times) - 70), len(times)):
        for name, column in bar_values.items():
            held = Held(name, [v for v in values if v.at < times[k]], times[k])
            column.append(held.now if held.is_fresh else math.nan)
    if h["spot"].is_fresh and h["perp"].is_fresh:
        out["basis_bps"] = float(np.clip(1e4 * (h["perp"].now - h["spot"].now) / h["spot"].now, -1000, 1000))
        basis = np.array(bar_values["perp"]) / np.array(bar_values["spot"]) - 1
        if len(basis) >= 60 and np.isfinite(basis[-60:]).all():
            out["basis_z_60"] = z(basis[-60:])
    for name in ("ref", "ref2"):
        level = np.log(bar_values[name])
        if len(level) < 61 or not np.isfinite(level[-61:]).all():
            continue
        x, y = np.diff(level), r[-60:]
        out[f"{name}_corr_60"] = corr(x[-60:], y)
        if len(level) >= 62 and np.isfinite(level[-62]):
            out[f"{name}_lead_1"] = corr(x[-61:-1], y)
            if name == "ref":
                out["ref_lag_1"] = corr(x[-60:], r[-61:-1])
        if name == "ref2":
            continue
        x = x[-60:]
        moves = ((x - x.mean()) ** 2).sum() > 1e-22
        beta = np.cov(x, y, bias=True)[0, 1] / x.var() if moves else 0.0
        out["beta_ref_60"] = float(np.clip(beta, -20, 20))
        out["ref_ret_z_60"] = float(np.clip(x[-1] / x.std(), -10, 10)) if moves else 0.0
        gap = y - x
        out["ref_rel_strength_20"] = float(np.clip(gap[-20:].sum() / (math.sqrt(20) * gap.std()), -10, 10))
        rest = y - y.mean() - beta * (x - x.mean())
        out["ref_resid_z_60"] = float(np.clip(rest[-1] / rest.std(), -10, 10)) if moves else 0.0
        lx, lc = level[-60:] - level[-60:].mean(), np.log(c[-60:]) - np.log(c[-60:]).mean()
        rest = lc - (lc * lx).sum() / (lx * lx).sum() * lx if (lx * lx).sum() > 1e-22 else lc
        out["ref_spread_z_60"] = float(np.clip(rest[-1] / rest.std(), -10, 10)) if moves else 0.0
    return out


def world(days: int, bars_a_day: int, seed: int) -> tuple[Any, Any, list[Value]]:
    """Bars of a coin and every series around it, with weekends, late arrivals, early arrivals, repetitions and revisions."""
    rng = np.random.default_rng(seed)
    n = days * bars_a_day
    step = DAY // bars_a_day
    times = START + step * (1 + np.arange(n))
    moves = rng.normal(0, 0.01, n)
    closes = np.round(6_000_000 * np.exp(np.cumsum(moves)))
    values: list[Value] = []
    level = {"vix": 20.0, "vix3m": 21.0, "us2y": 4.0, "us10y": 4.2, "dollar_index": 120.0, "high_yield_spread": 3.5}
    for d in range(days):
        noon = START + d * DAY
        if d % 7 < 5:
            for name in level:
                level[name] *= math.exp(rng.normal(-sum(moves[d * bars_a_day : (d + 1) * bars_a_day]) if name == "vix" else 0, 0.02))
                if name == "dollar_index":
                    continue
                known = noon + int(20.3 * 3600) * SEC
                values.append(Value(known + int(rng.choice((-3600, 0, 0, 7200))) * SEC, name, level[name], known, known + 5 * DAY))
                if rng.random() < 0.1:
                    values.append(values[-1]._replace(at=known + 8000 * SEC))
                if rng.random() < 0.1:
                    values.append(Value(known + 9000 * SEC, name, level[name] * 1.01, known + 9000 * SEC, known + 5 * DAY))
            week = [level["dollar_index"] * math.exp(x) for x in rng.normal(0, 0.01, 5)]
            if d % 7 == 0:
                values += [Value(noon + 70_000 * SEC, "dollar_index", v, noon + 70_000 * SEC, noon + 11 * DAY) for v in week]
        if d % 30 == 3:
            values.append(Value(noon, "fed_funds", 4 + rng.normal(), noon, noon + 45 * DAY))
        for eight in range(3):
            at = noon + eight * 28_800 * SEC
            values.append(Value(at, "funding_rate", rng.normal(1e-4, 1e-4), at, at + DAY // 2))
    follow = np.concatenate(([0.0], moves[:-1]))
    for k in range(n):
        at = int(times[k]) - 1000 * SEC
        price = float(closes[k])
        values.append(Value(at, "ref", 50 * math.exp(np.log(price / 6e6) * 0.7 + rng.normal(0, 0.005)), at, at + step + 2000 * SEC))
        values.append(Value(at, "ref2", 3 * math.exp(moves[k : k + 2].sum() * 0.5 + follow[k] + rng.normal(0, 0.004)), at, at + 3 * step))
        values.append(Value(at, "spot", price, at, at + 2 * step))
        values.append(Value(at, "perp", price * (1 + rng.normal(1e-4, 2e-4)), at, at + 2 * step))
        values.append(Value(at, "nyse_tick", rng.normal(0, 400), at, at + step))
        values.append(Value(at, "trin", math.exp(rng.normal(0, 0.3)), at, at + step))
    return times, closes, sorted(values, key=lambda v: v.at)


def test_there_are_30_columns_of_known_series() -> None:
    assert len(COLUMNS) == 30
    assert REFERENCES[: len(SERIES)] == SERIES
    for slots, reads in ((CROSS, CROSS_READS), (PAIR, PAIR_READS)):
        for name, series in zip(slots, reads, strict=True):
            assert set(shipped_catalogue().get(name).series) == set(series), name


@pytest.mark.parametrize("seed", [1, 2])
def test_every_column_matches_its_formula(seed: int, instrument: Instrument) -> None:
    times, closes, values = world(400, 3, seed)

    matrix = run(instrument, times, closes, values)

    stated = dict.fromkeys(COLUMNS, 0)
    for row in (1, 5, 59, 60, 61, 62, 150, 186, 400, 777, 1000, 1101, 1150, 1199):
        expected = oracle([int(t) for t in times[: row + 1]], closes[: row + 1], values)
        for k, name in enumerate(COLUMNS):
            assert matrix[row, k] == pytest.approx(expected[name], rel=1e-7, abs=1e-9, nan_ok=True), (name, row)
            stated[name] += math.isfinite(expected[name])
    assert all(stated.values()), stated
    known = matrix[np.isfinite(matrix).all(axis=1)]
    assert len(known) > 100
    assert (known.std(axis=0) > 0).all()
    twins = np.argwhere(np.abs(np.corrcoef(known.T) - np.eye(30)) > 0.9999)
    assert twins.tolist() == []


def test_a_reference_that_was_stale_at_one_bar_is_absent_until_its_window_is_whole_again(instrument: Instrument) -> None:
    times, closes, values = world(60, 10, 3)
    gone = {int(times[k]) - 1000 * SEC for k in (300, 301)}  # a value is good for two bars
    values = [v for v in values if v.series not in ("ref", "ref2") or v.at not in gone]

    matrix = run(instrument, times, closes, values)

    for name, first in (("ref_corr_60", 362), ("ref_lead_1", 363)):
        k = COLUMNS.index(name)
        assert np.flatnonzero(np.isnan(matrix[200:, k])).tolist() == list(range(101, first - 200)), name
    expected = oracle([int(t) for t in times[:364]], closes[:364], values)
    for name in PAIR:
        assert matrix[363, COLUMNS.index(name)] == pytest.approx(expected[name], rel=1e-7, abs=1e-9, nan_ok=True), name


def test_a_vix_that_is_known_after_the_next_open_is_no_part_of_the_session_before(instrument: Instrument) -> None:
    times, closes, _ = world(90, 3, 4)
    rng = np.random.default_rng(4)
    hour = [START + d * DAY + 3600 * SEC for d in range(90)]  # after the open, before the first bar is whole
    values = [Value(t, "vix", 20 * math.exp(rng.normal(0, 0.1)), t, t + 5 * DAY) for t in hour]

    matrix = run(instrument, times, closes, values)

    expected = oracle([int(t) for t in times], closes, values)
    assert math.isfinite(expected["vix_es_correlation"])
    assert matrix[-1, COLUMNS.index("vix_es_correlation")] == pytest.approx(expected["vix_es_correlation"], rel=1e-7)


def test_values_stay_inside_the_ranges(instrument: Instrument) -> None:
    times, closes, values = world(300, 3, 9)

    matrix = run(instrument, times, closes, values)

    for k, name in enumerate(COLUMNS):
        known = matrix[:, k][np.isfinite(matrix[:, k])]
        low, high = shipped_catalogue().get(name).range
        assert ((known >= low) & (known <= high)).all(), name


def at(plan: Plan, t: int) -> dict[str, float]:
    plan.observe(t)
    return dict(zip(plan.columns, plan.values, strict=True))


def test_a_value_counts_from_the_moment_it_is_known_and_is_absent_past_its_time(instrument: Instrument) -> None:
    plan, _ = new_plan(instrument)

    plan.on_reference(START, REFERENCE_NUMBER["trin"], 2.0, START + 10, START + 20)

    found = [at(plan, START + dt)["trin"] for dt in (0, 9, 10, 20, 21)]
    assert found == pytest.approx([math.nan, math.nan, math.log(2), math.log(2), math.nan], nan_ok=True)


def test_an_older_value_that_arrives_late_changes_nothing_and_a_revision_does(instrument: Instrument) -> None:
    plan, _ = new_plan(instrument)
    number = REFERENCE_NUMBER["nyse_tick"]
    plan.on_reference(START, number, 100.0, START, FOREVER)

    plan.on_reference(START + 1, number, 900.0, START - 5, FOREVER)
    old = at(plan, START + 1)["nyse_tick"]
    plan.on_reference(START + 2, number, 200.0, START + 2, FOREVER)

    assert (old, at(plan, START + 2)["nyse_tick"]) == (0.1, 0.2)


def test_a_series_that_no_plan_was_given_leaves_its_columns_absent(instrument: Instrument) -> None:
    times, closes, values = world(120, 3, 4)

    matrix = run(instrument, times, closes, [v for v in values if v.series != "ref2"])

    missing = [name for k, name in enumerate(COLUMNS) if not np.isfinite(matrix[:, k]).any()]
    assert set(missing) == {"ref2_corr_60", "ref2_lead_1", "vix_z_252", "vix_percentile_252"}


def test_a_constant_series_gives_zero_not_noise(instrument: Instrument) -> None:
    times = START + 60 * SEC * np.arange(1, 200)
    closes = 6_000_000 + np.arange(199) % 3
    values = [
        Value(int(t) - SEC, name, 0.0001 if name == "funding_rate" else 0.1, int(t) - SEC, FOREVER)
        for t in times for name in ("funding_rate", "ref", "spot", "perp")
    ]  # fmt: skip

    row = dict(zip(COLUMNS, run(instrument, times, closes, values)[-1], strict=True))

    for name in ("funding_z_90", "ref_corr_60", "beta_ref_60", "ref_ret_z_60", "ref_spread_z_60", "basis_z_60", "basis_bps"):
        # A repetition of a funding rate at another time is another observation, of the same value.
        assert row[name] == 0.0, name


def test_state_survives_a_restore_with_values_that_wait(instrument: Instrument) -> None:
    times, closes, values = world(100, 3, 5)
    early = [v._replace(at=v.at - DAY) for v in values]
    whole = run(instrument, times, closes, early)
    bars = bars_from_ohlcv(closes, closes, closes, closes, np.ones(len(closes)))

    parts = []
    plan, arena = new_plan(instrument)
    for start, stop in ((0, 111), (111, 200), (200, 300)):
        low = times[start - 1] if start else 0
        some = [v for v in early if low <= v.at < times[stop - 1]]
        parts.append(compute_bars(plan, times[start:stop], bars[start:stop], with_cold=True, outside=as_columns(some))[1])
        saved = arena.snapshot()
        plan, arena = new_plan(instrument)
        arena.restore(saved)

    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_observing_more_often_changes_nothing(instrument: Instrument) -> None:
    times, closes, values = world(80, 3, 6)
    late = sorted((v._replace(known=v.known + 3600 * SEC) for v in values), key=lambda v: v.at)
    bars = bars_from_ohlcv(closes, closes, closes, closes, np.ones(len(closes)))
    found = []
    for often in (False, True):
        plan, _ = new_plan(instrument)
        k = 0
        for t, bar in zip(times.tolist(), bars, strict=True):
            while k < len(late) and late[k].at < t:
                v = late[k]
                plan.on_reference(v.at, REFERENCE_NUMBER[v.series], v.value, v.known, v.until)
                if often:
                    plan.observe(v.at)
                k += 1
            plan.on_bar(t, np.ascontiguousarray(bar))
        plan.observe(int(times[-1]))
        found.append(bytes(plan.values))
    assert found[0] == found[1]


_INTERPRETED = """
import math, pickle, sys
import numpy as np
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.columns import EventColumns
from mia.features.plan import build_plan
from mia.kernels import plan_core
from mia.kernels.arena import Arena
from mia.kernels.book import Book
assert plan_core.__file__.endswith(".py")
columns, instrument, calendar, times, bars, events = pickle.load(sys.stdin.buffer)
arena = Arena(8_000_000)
plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), calendar, neutral=math.nan)
_, matrix = compute_bars(plan, times, bars, with_cold=True, outside=EventColumns._make(events))
pickle.dump((matrix, arena.snapshot()), sys.stdout.buffer)
"""


def test_interpreted_kernels_give_the_same_bits_of_references_and_calendars(instrument: Instrument) -> None:
    times, closes, values = world(100, 3, 8)
    late = sorted((v._replace(known=v.known + 3600 * SEC * (k % 3)) for k, v in enumerate(values)), key=lambda v: v.at)
    events = as_columns(late)
    opens, ends = globex(int(times[0]), int(times[-1]))
    calendar = Calendar(opens_ns=opens, closes_ns=ends, event_ns=opens[::7], event_impact=(0.9,) * len(opens[::7]), roll_ns=opens[::30])
    columns = (*COLUMNS, *shipped_catalogue().category("calendar"))
    bars = bars_from_ohlcv(closes, closes, closes, closes, np.ones(len(closes)))
    job = pickle.dumps((columns, instrument, calendar, times, bars, tuple(events)))
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(ROOT))

    done = subprocess.run([sys.executable, "-c", _INTERPRETED], input=job, capture_output=True, env=env, cwd=ROOT, check=True)

    plan, arena = new_plan(instrument, calendar, columns)
    _, matrix = compute_bars(plan, times, bars, with_cold=True, outside=events)
    other, state = pickle.loads(done.stdout)
    assert matrix.tobytes() == other.tobytes()
    assert arena.snapshot() == state


ODD = [0.0, -1.0, 1e-300, 1e300, -1e300, 1e9, 1e-9, 5e-324, math.nan, math.inf]
WILD = st.one_of(st.sampled_from(ODD), st.floats(allow_nan=True, allow_infinity=True))
MOMENT, EARLY, TTL = st.integers(0, 300 * 60), st.integers(-4000, 4000), st.integers(-100, 40_000)


@settings(max_examples=80, deadline=None)
@given(
    events=st.lists(st.tuples(MOMENT, st.sampled_from(REFERENCES), WILD, EARLY, TTL), max_size=250),
    prices=st.lists(st.integers(1, 10**9), min_size=70, max_size=100),
)
def test_wild_references_never_leave_the_ranges(events: list[Any], prices: list[int], instrument: Instrument) -> None:
    values = [Value(START + s * SEC, name, x, START + (s + k) * SEC, START + (s + ttl) * SEC) for s, name, x, k, ttl in events]
    values.sort(key=lambda v: v.at)
    times = START + 180 * SEC * np.arange(1, len(prices) + 1)

    matrix = run(instrument, times, prices, values)

    for k, name in enumerate(COLUMNS):
        low, high = shipped_catalogue().get(name).range
        known = matrix[:, k][~np.isnan(matrix[:, k])]
        assert ((known >= low) & (known <= high)).all(), name
    waiting = sum(v.known > v.at for v in values)
    if waiting <= 60 and all(math.isfinite(v.value) for v in values):
        expected = oracle(times.tolist(), prices, values)
        levels = ("nyse_tick", "trin", "funding_rate", "yield_slope_10y2y", "policy_gap_2y", "vix_change_1", "vix_term_slope", "basis_bps")
        for name in levels:
            assert matrix[-1, COLUMNS.index(name)] == pytest.approx(expected[name], rel=1e-6, abs=1e-7, nan_ok=True), name


@pytest.mark.data
@pytest.mark.parametrize(("file", "mean"), [("es_tickbars2800_2015-2016.csv.gz", -0.885), ("es_dollarbars70m_2015-2016.csv.gz", -0.881)])
def test_vix_correlation_of_es_is_about_minus_0_9_over_windows_of_60_sessions(
    file: str, mean: float, market_data: Path, instrument: Instrument
) -> None:
    from mia.backtest.references import read_reference

    bars = pl.read_csv(market_data / file).select(pl.col("date_time").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="ns"), "close")
    times = bars["date_time"].dt.epoch("ns").to_numpy()
    keep = np.concatenate(([True], np.diff(times) > 0))
    opens, closes = globex(times[0], times[-1])
    vix = read_reference("vix", market_data / "vix_daily_1990_2026.csv")
    vix = vix.slice(*np.searchsorted(vix.ts_recv_ns, [times[0] - 400 * DAY, times[-1]]))
    c = (bars["close"].to_numpy() * 4)[keep]
    plan, _ = new_plan(instrument, Calendar(opens_ns=opens, closes_ns=closes), ["vix_es_correlation", "vix_z_252", "vrp"])

    _, matrix = compute_bars(plan, times[keep], bars_from_ohlcv(c, c, c, c, np.ones(len(c))), with_cold=True, outside=vix)

    known = matrix[np.isfinite(matrix).all(axis=1)]
    assert len(known) > 20_000
    assert known[:, 0].mean() == pytest.approx(mean, abs=0.005)
    assert known[:, 0].max() < -0.65
    assert known[:, 2].mean() == pytest.approx(0.008, abs=0.002)  # VIX^2 above realized variance by 0.8 points of variance a year


def globex(first: int, last: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sessions from 17:00 to 16:00 Chicago, Sunday to Thursday."""
    from mia.risk.windows import Family, Windows

    windows = Windows({"es": Family(time_zone="America/Chicago", sessions=["sun-thu 17:00-16:00"], valid_until="2030-01-01T00:00:00Z")}, ())
    days = [dt.datetime.fromtimestamp(t / 1e9, dt.UTC).date() for t in (first, last)]
    rows = windows.sessions("es", days[0] - dt.timedelta(days=3), days[1] + dt.timedelta(days=3))
    return tuple(row[0] for row in rows), tuple(row[1] for row in rows)
