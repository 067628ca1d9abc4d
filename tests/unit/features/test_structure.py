"""The structure columns against plain versions of their formulas, over sessions of tables and of UTC days."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book

Array = Any
MINUTE, HOUR, DAY = 60_000_000_000, 3_600_000_000_000, 86_400_000_000_000
SUNDAY = 1_700_352_000_000_000_000  # 2023-11-19 00:00 UTC
NAMES = shipped_catalogue().category("structure")
_ES_OPENS = tuple(SUNDAY + d * DAY + 23 * HOUR for d in (0, 1, 2, 3, 4, 7, 8, 9))  # 17:00 Chicago, no Friday and Saturday evening
ES = Calendar(opens_ns=_ES_OPENS, closes_ns=tuple(t + 23 * HOUR for t in _ES_OPENS))
_CASH_OPENS = tuple(SUNDAY + d * DAY + 14 * HOUR + 30 * MINUTE for d in (1, 2, 3, 4, 5, 8, 9, 10))
CASH = Calendar(opens_ns=_CASH_OPENS, closes_ns=tuple(t + 390 * MINUTE for t in _CASH_OPENS))


def make(instrument: Instrument, calendar: Calendar = UTC_DAYS, columns: Sequence[str] = NAMES) -> tuple[Plan, Arena]:
    """A plan whose holes show as NaN."""
    arena = Arena(1_000_000)
    plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena, 64), calendar, neutral=float("nan"))
    return plan, arena


def rows(plan: Plan, ts: Array, bars: Array) -> Array:
    return compute_bars(plan, ts, bars, with_cold=True)[1]


def walk(n: int, seed: int, step: int = 40, start: float = 60_000.0) -> Array:
    """n bars of a random walk with gaps, doji bars and bars without trades."""
    rng = np.random.default_rng(seed)
    close = start + np.cumsum(rng.integers(-step, step + 1, n)).astype(float)
    opens = np.concatenate(([start], close[:-1])) + rng.integers(-3, 4, n)
    empty = rng.random(n) < 0.08
    for i in np.flatnonzero(empty):
        close[i] = opens[i] = close[i - 1] if i else start
    high = np.maximum(opens, close) + np.where(empty, 0, rng.integers(0, step, n))
    low = np.minimum(opens, close) - np.where(empty, 0, rng.integers(0, step, n))
    return bars_from_ohlcv(opens, high, low, close, np.where(empty, 0.0, rng.integers(1, 1000, n)))


def div(a: float, b: float) -> float:
    return float(a) / float(b) if b > 0 else 0.0


def wilder(bars: Array, n: int = 14) -> float:
    high, low, c = bars[:, 1], bars[:, 2], bars[:, 3]
    tr = np.maximum(high[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = 0.0
    for i, x in enumerate(tr):
        atr += (x - atr) / min(i + 1, n)
    return atr


def swings(x: Array) -> list[float]:
    """Values above two neighbours on each side, in order; the last two have no later neighbours yet."""
    inner = [j for j in range(2, len(x) - 2) if x[j] > max(x[j - 2], x[j - 1], x[j + 1], x[j + 2])]
    return [float(x[j]) for j in inner]


def oracle(ts: Array, bars: Array, calendar: Calendar, tick: Decimal) -> dict[str, float]:
    """All columns after the last bar; NaN where there is none."""
    h, low, c, atr = bars[:, 1], bars[:, 2], bars[-1, 3], wilder(bars)
    out = dict.fromkeys(NAMES, np.nan)

    def atrs(x: float, bound: float = 200.0) -> float:
        return float(np.clip(div(x, atr), -bound, bound))

    highs, lows = swings(h), [-x for x in swings(-low)]
    if highs:
        out["swing_high_dist"] = atrs(c - highs[-1], 50.0)
    if lows:
        out["swing_low_dist"] = atrs(c - lows[-1], 50.0)
    if len(highs) > 2 and len(lows) > 2:
        out["hh_hl_score"] = (np.sign(np.diff(highs[-3:])).sum() + np.sign(np.diff(lows[-3:])).sum()) / 4
    if highs and lows:
        level = min((highs[-1], lows[-1]), key=lambda x: abs(x - c))
        near = (np.abs(h[-20:] - level) <= 0.1 * atr) | (np.abs(low[-20:] - level) <= 0.1 * atr)
        levels = np.array(highs[-8:] + lows[-8:])
        above, below = levels[levels >= c] - c, c - levels[levels <= c]
        out |= {
            "touch_count_20": near.mean(), "resistance_near": atr / (atr + above.min()) if len(above) else 0.0,
            "support_near": atr / (atr + below.min()) if len(below) else 0.0,
        }  # fmt: skip
    narrow = 0
    while narrow < 60 and h[-narrow - 1 :].max() - low[-narrow - 1 :].min() <= 4 * atr:
        narrow += 1
    price = Decimal(c) * tick
    x = price / (Decimal(10) ** price.adjusted()) * 100
    out |= {
        "breakout_score": atrs(c - h[-21:-1].max(), 20), "breakdown_score": atrs(c - low[-21:-1].min(), 20),
        "range_compression": div(h[-10:].max() - low[-10:].min(), h[-60:].max() - low[-60:].min()),
        "bars_since_high_60": int(h[-60:][::-1].argmax()) / 60, "bars_since_low_60": int(low[-60:][::-1].argmin()) / 60,
        "consolidation_60": narrow / 60, "round_number_dist": float(2 * abs(x - x.to_integral_value())),
    }  # fmt: skip
    return out | session_oracle(ts, bars, calendar, atrs)


def session_oracle(ts: Array, bars: Array, calendar: Calendar, atrs: Any) -> dict[str, float]:
    """The columns of sessions."""
    c = bars[-1, 3]
    if calendar.opens_ns:
        number = np.searchsorted(calendar.opens_ns, ts - 1, "right") - 1
        opens, closes = np.array(calendar.opens_ns)[number], np.array(calendar.closes_ns)[number]
    else:
        opens = (ts - 1) // DAY * DAY
        closes = opens + DAY
    starts = sorted(set(opens.tolist()))
    inside = ts <= closes
    out = {}

    def place(b: Array) -> float:
        high, low = b[:, 1].max(), b[:, 2].min()
        return float(np.clip((c - low) / (high - low), -20, 20)) if high > low else 0.5

    now = bars[(opens == starts[-1]) & inside]
    out["session_range_pos"] = min(max(place(now), 0.0), 1.0)
    opening = bars[(opens == starts[-1]) & (ts <= starts[-1] + 30 * MINUTE)]
    if len(starts) > 1 and ts[-1] >= starts[-1] + 30 * MINUTE and len(opening):
        out["opening_range_pos_30"] = place(opening)
    if len(starts) > 2:
        past = bars[(opens == starts[-2]) & inside]
        high, low = past[:, 1].max(), past[:, 2].min()
        out |= {"prev_day_high_dist": atrs(c - high), "prev_day_low_dist": atrs(c - low), "prev_day_close_dist": atrs(c - past[-1, 3])}
        out["session_range_ratio"] = min(div(now[:, 1].max() - now[:, 2].min(), high - low), 20.0)
    for k, start in reversed(list(enumerate(starts))):
        length = int(closes[opens == start][0]) - start
        if length < 12 * HOUR:
            night = bars[(opens == starts[k - 1]) & ~inside] if k else bars[:0]
            over = True
        else:
            end = start + 8 * HOUR if length == DAY else start + length - 450 * MINUTE
            night = bars[(opens == start) & (ts <= end)]
            over = k > 0 and bool((ts[opens == start] >= end).any())
        if over and len(night):
            out["overnight_range_pos"] = place(night)
            break
    return out


TABLES = {"es": ES, "cash": CASH, "utc": UTC_DAYS}


def times(which: str) -> Array:
    """Close times of 5-minute bars; with pre- and after-market on cash sessions."""
    if which == "utc":
        return np.arange(SUNDAY + 17 * HOUR, SUNDAY + 5 * DAY, 5 * MINUTE)
    table = TABLES[which]
    before, after = (0, 0) if which == "es" else (2 * HOUR, 3 * HOUR)
    spans = zip(table.opens_ns, table.closes_ns, strict=True)
    stamps = np.concatenate([np.arange(o - before + 5 * MINUTE, c + after + 1, 5 * MINUTE) for o, c in spans])
    return stamps[stamps > table.opens_ns[0] + 2 * HOUR]


@pytest.mark.parametrize("which", TABLES)
def test_every_column_matches_its_formula(which: str, instrument: Instrument) -> None:
    ts = times(which)
    bars = walk(len(ts), 5)

    matrix = rows(make(instrument, TABLES[which])[0], ts, bars)

    for row in (*range(60, len(ts), 37), *range(300, 330)):
        expected = oracle(ts[: row + 1], bars[: row + 1], TABLES[which], instrument.tick_size)
        for name, value in zip(NAMES, matrix[row], strict=True):
            assert value == pytest.approx(expected[name], rel=1e-7, abs=1e-9, nan_ok=True), (name, row)
    assert np.isfinite(matrix[-1]).all()
    assert np.nanstd(matrix, axis=0).min() > 0.0


def test_a_swing_appears_two_bars_after_its_high_and_not_before(instrument: Instrument) -> None:
    highs = [100.0] * 20 + [101, 103, 110, 104, 102, 101, 101]
    bars = np.array([[x - 1, x, x - 3, x - 2, 5, 0, 0, 5 * x - 5, 1, 0, 0] for x in highs], dtype=float)
    ts = SUNDAY + MINUTE * np.arange(1, len(bars) + 1)

    matrix = rows(make(instrument, columns=["swing_high_dist", "avwap_swing_gap"])[0], ts, bars)

    known = np.isfinite(matrix)
    assert not known[:24].any()
    assert known[24:].all()
    assert matrix[24, 0] == pytest.approx((bars[24, 3] - 110.0) / wilder(bars[:25]))


def test_a_flat_stretch_after_a_rise_is_no_swing(instrument: Instrument) -> None:
    highs = [100.0] * 16 + [105.0, 110.0] + [112.0] * 20
    bars = np.array([[x - 1, x, x - 1, x, 5, 0, 0, 5 * x, 1, 0, 0] for x in highs])
    ts = SUNDAY + MINUTE * np.arange(1, len(bars) + 1)

    matrix = rows(make(instrument, columns=["swing_high_dist", "swing_low_dist", "resistance_near"])[0], ts, bars)

    assert np.isnan(matrix).all()


@pytest.mark.parametrize("which", TABLES)
def test_nothing_known_later_changes_a_row(which: str, instrument: Instrument) -> None:
    ts = times(which)
    bars = walk(len(ts), 12)
    whole = rows(make(instrument, TABLES[which])[0], ts, bars)

    for stop in (55, 301, 303, 700):
        changed = bars.copy()
        changed[stop:] *= 3.0
        assert rows(make(instrument, TABLES[which])[0], ts, changed)[:stop].tobytes() == whole[:stop].tobytes()


def test_a_restored_snapshot_goes_on_with_the_same_bits(instrument: Instrument) -> None:
    ts = times("es")
    bars = walk(len(ts), 13)
    whole = rows(make(instrument, ES)[0], ts, bars)
    plan, arena = make(instrument, ES)
    rows(plan, ts[:1301], bars[:1301])

    again, other = make(instrument, ES)
    other.restore(arena.snapshot())

    assert rows(again, ts[1301:], bars[1301:]).tobytes() == whole[1301:].tobytes()


FINITE = ["breakout_score", "breakdown_score", "range_compression", "bars_since_high_60", "bars_since_low_60", "round_number_dist"]


@pytest.mark.parametrize("name", FINITE)
def test_finite_windows_forget_what_lies_before_and_wait_for_what_they_need(name: str, instrument: Instrument) -> None:
    ts, bars = times("utc"), walk(1000, 11)
    needed = shipped_catalogue().get(name).warm_up.bars
    start = 200 - needed if needed != 21 else 0  # breaks are scaled by an ATR, which forgets nothing

    long = rows(make(instrument, columns=[name])[0], ts[:200], bars[:200])[:, 0]
    short = rows(make(instrument, columns=[name])[0], ts[start:200], bars[start:200])[:, 0]

    assert short[-1] == long[-1]
    assert np.isnan(long[: needed - 1]).all()
    assert np.isfinite(long[needed - 1 :]).all()


def test_session_columns_wait_for_a_session_seen_from_its_start(instrument: Instrument) -> None:
    ts = times("es")
    columns = ["opening_range_pos_30", "overnight_range_pos", "prev_day_high_dist", "session_range_ratio"]

    matrix = rows(make(instrument, ES, columns)[0], ts, walk(len(ts), 3))

    second, third = ES.opens_ns[1], ES.opens_ns[2]
    first = [int(ts[np.argmax(np.isfinite(column))]) for column in matrix.T]
    assert first == [second + 30 * MINUTE, second + 23 * HOUR - 450 * MINUTE, third + 5 * MINUTE, third + 5 * MINUTE]
    opened = np.isfinite(matrix[:, 0])
    assert not opened[(ts > third) & (ts < third + 30 * MINUTE)].any()
    assert opened[(ts >= third + 30 * MINUTE) & (ts <= third + 23 * HOUR)].all()


def test_days_missing_from_the_data_are_not_taken_for_the_session_before(instrument: Instrument) -> None:
    ts = np.concatenate(
        [np.arange(SUNDAY + MINUTE, SUNDAY + 3 * DAY, MINUTE), np.arange(SUNDAY + 9 * DAY + HOUR, SUNDAY + 10 * DAY, MINUTE)]
    )

    known = np.isfinite(rows(make(instrument, columns=["prev_day_close_dist"])[0], ts, walk(len(ts), 3))[:, 0])

    assert known[ts == SUNDAY + 3 * DAY - MINUTE].all()
    assert not known[ts > SUNDAY + 4 * DAY].any()


def test_a_flat_market_gives_finite_values(instrument: Instrument) -> None:
    ts = times("utc")
    bars = np.zeros((len(ts), 11))
    bars[:, :4] = 60_000.0

    matrix = rows(make(instrument)[0], ts, bars)

    waits = {"swing_high_dist", "swing_low_dist", "hh_hl_score", "touch_count_20", "resistance_near", "support_near"}
    assert {name for name, x in zip(NAMES, matrix[-1], strict=True) if np.isnan(x)} == waits


WILD = Instrument(
    venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
)  # fmt: skip
wild_bar = st.tuples(
    st.integers(0, 3) | st.integers(0, 4 * HOUR) | st.integers(0, 9 * DAY),  # time since the bar before
    st.lists(st.integers(1, 10**12) | st.integers(1, 300), min_size=4, max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(wild=st.lists(wild_bar, min_size=5, max_size=120), which=st.sampled_from(sorted(TABLES)))
def test_wild_bars_stay_finite_and_inside_the_ranges(wild: list[Any], which: str) -> None:
    ts = SUNDAY + 13 * HOUR + np.cumsum([w[0] for w in wild]).astype(np.int64)
    prices = np.array([w[1] for w in wild], dtype=float)
    bars = bars_from_ohlcv(prices[:, 0], prices.max(axis=1), prices.min(axis=1), prices[:, 1], np.ones(len(ts)))

    matrix = rows(make(WILD, TABLES[which])[0], ts, bars)

    for name, column in zip(NAMES, matrix.T, strict=True):
        known = column[~np.isnan(column)]
        lowest, highest = shipped_catalogue().get(name).range
        assert ((known >= lowest) & (known <= highest)).all(), name


@pytest.mark.data
def test_recorded_spy_sessions_give_the_levels_of_the_day_before(market_data: Path, instrument: Instrument) -> None:
    pl = pytest.importorskip("polars")
    table = pl.read_parquet(market_data / "spy_1m_2014-11_2015-07.parquet").head(12_000)
    chicago = table["ts_chicago"].dt.replace_time_zone("America/Chicago")
    ts = chicago.dt.epoch("ns").to_numpy() + MINUTE
    day = chicago.dt.date()
    days = day.unique().sort()
    opens = [int(x) for x in days.to_frame("d").select(
        pl.col("d").dt.combine(pl.time(8, 30)).dt.replace_time_zone("America/Chicago").dt.epoch("ns"))["d"]]  # fmt: skip
    calendar = Calendar(opens_ns=tuple(opens), closes_ns=tuple(o + 390 * MINUTE for o in opens))
    o, h, low, c, v = (table[n].to_numpy().astype(float) for n in ("open", "high", "low", "close", "volume"))
    bars = bars_from_ohlcv(*(np.round(x * 100) for x in (o, h, low, c)), v)
    columns = ["prev_day_high_dist", "prev_day_low_dist", "prev_day_close_dist", "opening_range_pos_30"]

    matrix = rows(make(instrument, calendar, columns)[0], ts, bars)

    frame = pl.DataFrame({"day": day, "h": bars[:, 1], "l": bars[:, 2], "c": bars[:, 3]})
    daily = frame.group_by("day", maintain_order=True).agg(pl.col("h").max(), pl.col("l").min(), pl.col("c").last())
    joined = frame.select("day").join(daily.with_columns(pl.col("day").shift(-1)), on="day", how="left")
    for row in range(900, len(ts), 631):
        atr = wilder(bars[: row + 1])
        expected = [(bars[row, 3] - joined[n][row]) / atr for n in ("h", "l", "c")]
        assert matrix[row, :3] == pytest.approx(np.clip(expected, -200, 200), rel=1e-7, abs=1e-9), row
    assert np.isfinite(matrix[900:, :3]).all()
    assert 0.9 < np.isfinite(matrix[900:, 3]).mean() < 0.94  # 30 of 390 minutes have none
