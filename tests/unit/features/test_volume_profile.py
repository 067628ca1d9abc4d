"""The volume_profile columns against plain versions of their formulas, over sessions of tables and of UTC days."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
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
MONDAY = 1_700_438_400_000_000_000  # 2023-11-20 00:00 UTC
NAMES = shipped_catalogue().category("volume_profile")
SESSION_BARS = (  # a session of 50 minutes each day
    Calendar(
        opens_ns=tuple(MONDAY + d * DAY + 14 * HOUR for d in range(40)),
        closes_ns=tuple(MONDAY + d * DAY + 14 * HOUR + 50 * MINUTE for d in range(40)),
    )
)


def make(instrument: Instrument, calendar: Calendar = UTC_DAYS, columns: Sequence[str] = NAMES) -> tuple[Plan, Arena]:
    """A plan whose holes show as NaN."""
    arena = Arena(4_000_000)
    plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), calendar, neutral=float("nan"))
    return plan, arena


def rows(plan: Plan, ts: Array, bars: Array) -> Array:
    return compute_bars(plan, ts, bars, with_cold=True)[1]


def walk(times: Array, seed: int, step: int = 40, start: float = 60_000.0) -> Array:
    """Bars of a random walk with gaps, doji bars and bars without trades; volumes that are all different, so that no two bins tie."""
    rng = np.random.default_rng(seed)
    n = len(times)
    close = start + np.cumsum(rng.integers(-step, step + 1, n)).astype(float)
    opens = np.concatenate(([start], close[:-1])) + rng.integers(-3, 4, n)
    empty = rng.random(n) < 0.08
    for i in np.flatnonzero(empty):
        close[i] = opens[i] = close[i - 1] if i else start
    high = np.maximum(opens, close) + np.where(empty, 0, rng.integers(0, step, n))
    low = np.minimum(opens, close) - np.where(empty, 0, rng.integers(0, step, n))
    volume = np.where(empty, 0, rng.integers(1, 1_000_000, n)).astype(float)
    bars = bars_from_ohlcv(opens, high, low, close, volume)
    bars[:, 7] = volume * (low + rng.random(n) * (high - low))
    return bars


def minutes_of(calendar: Calendar, days: int, extra: int = 0) -> Array:
    """Close times of 1-minute bars of the first sessions of a table, and `extra` minutes after each close."""
    spans = zip(calendar.opens_ns[:days], calendar.closes_ns[:days], strict=True)
    return np.concatenate([np.arange(o + MINUTE, c + (1 + extra) * MINUTE, MINUTE) for o, c in spans]).astype(np.int64)


def sessions_of(ts: Array, calendar: Calendar) -> Array:
    """Open of the session that the last nanosecond of each bar belongs to."""
    if not calendar.opens_ns:
        return (ts - 1) // DAY * DAY
    opens = np.array(calendar.opens_ns)
    return opens[np.searchsorted(opens, ts - 1, "right") - 1]


def div(a: float, b: float) -> float:
    return float(a) / float(b) if b > 0 else 0.0


def wilder(bars: Array, n: int = 14) -> float:
    high, low, c = bars[:, 1], bars[:, 2], bars[:, 3]
    tr = np.maximum(high[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = 0.0
    for i, x in enumerate(tr):
        atr += (x - atr) / min(i + 1, n)
    return atr


class PlainProfile:
    """A histogram of single ticks, put into bins at the end."""

    def __init__(self, bars: Array) -> None:
        traded = bars[bars[:, 4] > 0]
        low, high = int(traded[:, 2].min()), int(traded[:, 1].max())
        ticks = np.zeros(high - low + 1)
        for b in traded:
            a, z = int(b[2]) - low, int(b[1]) - low
            ticks[a : z + 1] += 0.5 * b[4] / (z - a + 1)
            ticks[int(np.floor(b[7] / b[4] + 0.5)) - low] += 0.5 * b[4]
        k = 0
        while (high >> k) - (low >> k) >= 252:
            k += 1
        self.width, self.first = 2**k, low >> k
        self.bins = np.zeros((high >> k) - self.first + 1)
        for tick, lots in enumerate(ticks):
            self.bins[(low + tick >> k) - self.first] += lots
        down = up = top = int(self.bins.argmax())
        held = self.bins[top]
        padded = [0.0, 0.0, *self.bins, 0.0, 0.0]
        while held < 0.7 * self.bins.sum():
            above = sum(padded[up + 3 : up + 5]) if up < len(self.bins) - 1 else -1.0
            below = sum(padded[max(down, 0) : down + 2]) if down > 0 else -1.0
            up += 2 * (above >= below)
            down -= 2 * (below >= above)
            held += max(above, below) if above != below else above + below
        self.poc = (self.first + top + 0.5) * self.width - 0.5
        self.val = (self.first + max(down, 0)) * self.width
        self.vah = (self.first + min(up, len(self.bins) - 1) + 1) * self.width - 1

    def at(self, price: float) -> int:
        return int(price) // self.width - self.first


def oracle(ts: Array, bars: Array, calendar: Calendar) -> dict[str, float]:
    """All columns after the last bar; NaN where there is none."""
    opens = sessions_of(ts, calendar)
    starts = sorted(set(opens.tolist()))
    of = [bars[opens == s] for s in starts]
    now, c, atr = of[-1], bars[-1, 3], wilder(bars)
    out = dict.fromkeys(NAMES, np.nan)

    def atrs(x: float, bound: float = 200.0) -> float:
        return float(np.clip(div(x, atr), -bound, bound))

    def vwap(b: Array) -> float:
        return b[:, 7].sum() / b[:, 4].sum()

    if now[:, 4].sum() > 0:
        t = now[now[:, 4] > 0]
        spread = np.sqrt((t[:, 4] * (t[:, 7] / t[:, 4] - vwap(t)) ** 2).sum() / t[:, 4].sum())
        p = PlainProfile(now)
        q = p.at(c)
        inside = 0 <= q < len(p.bins)
        out |= {
            "vwap_distance": atrs(c - vwap(now)), "vwap_band_z": np.clip(div(c - vwap(now), spread), -10, 10),
            "poc_distance": atrs(c - p.poc), "vah_distance": atrs(c - p.vah), "val_distance": atrs(c - p.val),
            "in_value_area": float(p.val <= c <= p.vah), "value_width": atrs(p.vah - p.val),
            "volume_at_price_pct": p.bins[q] / p.bins.max() if inside else 0.0,
            "value_area_skew": div(2 * p.poc - p.vah - p.val, p.vah - p.val),
            "volume_above_share": (p.bins[max(q + 1, 0) :].sum() + (p.bins[q] / 2 if inside else 0.0)) / p.bins.sum(),
        }  # fmt: skip
    profiles = [PlainProfile(b) for b in of[1:-1]]  # the first session may have been entered half way
    if profiles:
        p = profiles[-1]
        out |= {"prev_poc_distance": atrs(c - p.poc), "prev_vah_distance": atrs(c - p.vah), "prev_val_distance": atrs(c - p.val)}
        out["avwap_prev_session_gap"] = atrs(c - vwap(np.concatenate(of[-2:])))
        if now[:, 4].sum() > 0:
            x = PlainProfile(now)
            common = min(x.vah, p.vah) - max(x.val, p.val) + 1
            out["value_overlap_prev"] = max(common, 0) / (max(x.vah, p.vah) - min(x.val, p.val) + 1)
        naked = []
        for session, p in zip(starts[1:-1][-10:], profiles[-10:], strict=True):
            after = np.flatnonzero(opens > session)
            low = np.minimum(bars[after, 2], bars[after - 1, 3])
            high = np.maximum(bars[after, 1], bars[after - 1, 3])
            if not ((low <= p.poc) & (p.poc <= high)).any():
                naked.append(p.poc - c)
        d = min(naked, key=abs, default=0.0)
        out["naked_poc_pull"] = np.sign(d) * div(atr, atr + abs(d))
    out |= minute_volumes(ts, bars, opens)
    v, moves = bars[-20:, 4], np.sign(np.diff(bars[:, 3]))[-19:]
    obv = np.concatenate(([0.0], np.cumsum(moves * v[1:])))
    out["obv_slope_20"] = np.clip(div(np.polyfit(np.arange(20.0), obv, 1)[0], v.mean()), -2, 2)
    swing = last_swing(bars)
    if swing is not None:
        since = bars[swing:]
        out["avwap_swing_gap"] = atrs(c - (vwap(since) if since[:, 4].sum() > 0 else bars[swing, 3]), 50.0)
    r = np.diff(np.log(bars[-31:, 3]))
    out["price_volume_corr_30"] = np.corrcoef(r, bars[-30:, 4])[0, 1]
    m10, m60 = bars[-10:, 4].mean(), bars[-60:, 4].mean()
    out["volume_trend_10_60"] = div(m10 - m60, m10 + m60)
    return out


def minute_volumes(ts: Array, bars: Array, opens: Array) -> dict[str, float]:
    """rel_volume_20 and volume_pace_20 from a table of whole minutes."""
    minutes: dict[tuple[int, int], float] = defaultdict(float)
    for t, o, v in zip(ts.tolist(), opens.tolist(), bars[:, 4], strict=True):
        minutes[o, (t - 1 - o) // MINUTE] += v
    last = max(minutes)
    if ts[-1] < last[0] + (last[1] + 1) * MINUTE:
        del minutes[last]
    past: dict[int, list[float]] = defaultdict(list)
    relative = pace = np.nan
    lots = usual = 0.0
    session = 0
    for (o, m), v in sorted(minutes.items()):
        if o != session:
            session, lots, usual, pace = o, 0.0, 0.0, np.nan
        relative = np.nan
        if len(past[m]) >= 20:
            mean = float(np.mean(past[m][-20:]))
            relative = min(div(v, mean), 20.0)
            lots, usual = lots + v, usual + mean
            pace = min(div(lots, usual), 20.0)
        past[m].append(v)
    if session != opens[-1]:
        pace = np.nan
    return {"rel_volume_20": relative, "volume_pace_20": pace}


def last_swing(bars: Array) -> int | None:
    for j in range(len(bars) - 3, 1, -1):
        others = [j - 2, j - 1, j + 1, j + 2]
        if (bars[j, 1] > bars[others, 1]).all() or (bars[j, 2] < bars[others, 2]).all():
            return j
    return None


def compare(got: Array, expected: dict[str, float], row: object) -> None:
    for name, value in zip(NAMES, got, strict=True):
        assert value == pytest.approx(expected[name], rel=1e-7, abs=1e-9, nan_ok=True), (name, row)


def test_every_column_matches_its_formula_over_sessions_of_a_table(instrument: Instrument) -> None:
    ts = minutes_of(SESSION_BARS, 30, extra=3)
    bars = walk(ts, 5)

    matrix = rows(make(instrument, SESSION_BARS)[0], ts, bars)

    for row in (*range(75, 130, 7), 159, 165, 530, 900, 1049, 1099, 1150, 1339, len(ts) - 1):
        compare(matrix[row], oracle(ts[: row + 1], bars[: row + 1], SESSION_BARS), row)
    assert np.isfinite(matrix[-1]).all()
    assert np.nanstd(matrix, axis=0).min() > 0.0


@pytest.mark.parametrize("step", [1, 3000])
def test_every_column_matches_its_formula_over_utc_days(step: int, instrument: Instrument) -> None:
    ts = np.arange(MONDAY + 17 * HOUR, MONDAY + 6 * DAY, 7 * MINUTE)
    bars = walk(ts, 8, step, 1e6)

    matrix = rows(make(instrument)[0], ts, bars)

    for row in (70, 200, 411, 600, 907, len(ts) - 1):
        compare(matrix[row], oracle(ts[: row + 1], bars[: row + 1], UTC_DAYS), row)


def test_bars_shorter_than_a_minute_add_up_to_their_minute(instrument: Instrument) -> None:
    ts = np.concatenate([np.arange(o + 10_000_000_000, o + 5 * MINUTE + 1, 10_000_000_000) for o in SESSION_BARS.opens_ns[:24]])
    bars = walk(ts, 2)
    columns = ["rel_volume_20", "volume_pace_20"]

    matrix = rows(make(instrument, SESSION_BARS, columns)[0], ts, bars)

    for row in range(len(ts)):
        expected = minute_volumes(ts[: row + 1], bars[: row + 1], sessions_of(ts[: row + 1], SESSION_BARS))
        assert matrix[row] == pytest.approx([expected[c] for c in columns], rel=1e-12, nan_ok=True), row
    assert np.isfinite(matrix).sum() > 200


@pytest.mark.parametrize("name", NAMES)
def test_columns_are_cold_as_long_as_the_catalogue_says(name: str, instrument: Instrument) -> None:
    ts = minutes_of(SESSION_BARS, 40)
    needed = shipped_catalogue().get(name).warm_up.bars
    first = {"prev": 2 * 50 + 1, "naked": 2 * 50 + 1, "value_overlap": 2 * 50 + 1, "avwap_prev": 2 * 50 + 1, "rel_volume": 1001}
    first["volume_pace"] = 1001
    first["avwap_swing"] = 15
    waits = [n for start, n in first.items() if name.startswith(start)]

    known = np.isfinite(rows(make(instrument, SESSION_BARS, [name])[0], ts, walk(ts, 4))[:, 0])

    assert int(np.argmax(known)) + 1 == max([needed, *waits])


def test_a_profile_does_not_depend_on_when_its_bins_were_merged(instrument: Instrument) -> None:
    ts = np.arange(MONDAY + MINUTE, MONDAY + 300 * MINUTE, MINUTE)
    bars = walk(ts, 6, 200)
    columns = ["poc_distance", "vah_distance", "val_distance", "volume_at_price_pct"]
    other = bars.copy()
    other[:-1] = bars[np.argsort(-bars[:-1, 1])]  # the widest range first; the last bar stays

    ours = oracle(ts, bars, UTC_DAYS)
    theirs = oracle(ts, other, UTC_DAYS)
    a = rows(make(instrument, columns=columns)[0], ts, bars)[-1] * wilder(bars)
    b = rows(make(instrument, columns=columns)[0], ts, other)[-1] * wilder(other)

    assert a[:3] == pytest.approx(b[:3], rel=1e-9)
    assert a[3] / wilder(bars) == pytest.approx(b[3] / wilder(other), rel=1e-9)
    assert ours["volume_at_price_pct"] == pytest.approx(theirs["volume_at_price_pct"], rel=1e-9)


def test_an_hour_long_gap_of_ticks_up_to_1e12_and_back_is_survived(instrument: Instrument) -> None:
    ts = np.arange(MONDAY + MINUTE, MONDAY + 60 * MINUTE, MINUTE)
    bars = walk(ts, 1, start=500.0, step=3)
    bars[30, [1, 7]] = 1e12, bars[30, 4] * 1e12
    columns = ["poc_distance", "vah_distance", "val_distance", "value_width", "volume_at_price_pct", "volume_above_share"]

    matrix = rows(make(instrument, columns=columns)[0], ts, bars)

    assert np.isfinite(matrix[15:]).all()


def test_nothing_known_later_changes_a_row(instrument: Instrument) -> None:
    ts = minutes_of(SESSION_BARS, 25)
    bars = walk(ts, 12)
    whole = rows(make(instrument, SESSION_BARS)[0], ts, bars)

    for stop in (55, 333, 700, 1201):
        part = rows(make(instrument, SESSION_BARS)[0], ts[:stop], bars[:stop])
        assert part.tobytes() == whole[:stop].tobytes()


def test_a_restored_snapshot_goes_on_with_the_same_bits(instrument: Instrument) -> None:
    ts = minutes_of(SESSION_BARS, 25)
    bars = walk(ts, 13)
    whole = rows(make(instrument, SESSION_BARS)[0], ts, bars)
    plan, arena = make(instrument, SESSION_BARS)
    rows(plan, ts[:777], bars[:777])

    again, other = make(instrument, SESSION_BARS)
    other.restore(arena.snapshot())

    assert rows(again, ts[777:], bars[777:]).tobytes() == whole[777:].tobytes()


_INTERPRETED = """
import pickle, sys
from mia.features.bars import BarSpec
from mia.features.batch import compute_bars
from mia.features.plan import build_plan
from mia.kernels import profile
from mia.kernels.arena import Arena
from mia.kernels.book import Book
assert profile.__file__.endswith(".py")
columns, instrument, calendar, ts, bars = pickle.load(sys.stdin.buffer)
arena = Arena(4_000_000)
plan = build_plan(columns, instrument, BarSpec.parse("time:1m"), arena, Book(arena), calendar, neutral=float("nan"))
pickle.dump((compute_bars(plan, ts, bars, with_cold=True)[1], arena.snapshot()), sys.stdout.buffer)
"""


def test_interpreted_kernels_give_the_same_bits_over_sessions(instrument: Instrument) -> None:
    both = (*NAMES, *shipped_catalogue().category("structure"))
    ts = minutes_of(SESSION_BARS, 24, extra=2)
    bars = walk(ts, 14, 300)
    bars[400:420, 1] *= 40.0  # bins are merged several times
    env = dict(os.environ, MIA_KERNELS="interpreted", PYTHONPATH=str(Path(__file__).resolve().parents[3]))
    job = pickle.dumps((both, instrument, SESSION_BARS, ts, bars))
    done = subprocess.run([sys.executable, "-c", _INTERPRETED], input=job, capture_output=True, env=env, check=True)

    plan, arena = make(instrument, SESSION_BARS, both)
    matrix = rows(plan, ts, bars)

    other, state = pickle.loads(done.stdout)
    assert matrix.tobytes() == other.tobytes()
    assert arena.snapshot() == state


def test_a_flat_market_without_volume_has_no_profile_and_no_vwap(instrument: Instrument) -> None:
    ts = np.arange(MONDAY + MINUTE, MONDAY + 3 * DAY, MINUTE)
    bars = np.zeros((len(ts), 11))
    bars[:, :4] = 60_000.0

    matrix = rows(make(instrument)[0], ts, bars)

    known = [name for name, column in zip(NAMES, matrix.T, strict=True) if np.isfinite(column).any()]
    assert known == ["obv_slope_20", "price_volume_corr_30", "volume_trend_10_60"]


wild_bar = st.tuples(
    st.integers(0, 3) | st.integers(0, 4 * HOUR) | st.integers(0, 9 * DAY),  # time since the bar before
    st.lists(st.integers(1, 10**12) | st.integers(1, 300), min_size=4, max_size=4),
    st.just(0) | st.integers(0, 10**9),
    st.floats(0.0, 1.0),
)


@settings(max_examples=60, deadline=None)
@given(wild=st.lists(wild_bar, min_size=5, max_size=120), with_table=st.booleans())
def test_wild_bars_stay_finite_and_inside_the_ranges(wild: list[Any], with_table: bool) -> None:
    ts = MONDAY + 13 * HOUR + np.cumsum([w[0] for w in wild]).astype(np.int64)
    prices = np.array([w[1] for w in wild], dtype=float)
    high, low = prices.max(axis=1), prices.min(axis=1)
    volume = np.array([w[2] for w in wild], dtype=float)
    bars = bars_from_ohlcv(prices[:, 0], high, low, prices[:, 1], volume)
    bars[:, 7] = volume * (low + np.array([w[3] for w in wild]) * (high - low))

    matrix = rows(make(WILD, SESSION_BARS if with_table else UTC_DAYS)[0], ts, bars)

    for name, column in zip(NAMES, matrix.T, strict=True):
        known = column[~np.isnan(column)]
        lowest, highest = shipped_catalogue().get(name).range
        assert ((known >= lowest) & (known <= highest)).all(), name


def _wild() -> Instrument:
    from decimal import Decimal

    return Instrument(
        venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
    )  # fmt: skip


WILD = _wild()  # hypothesis takes no fixtures of a narrower scope


@pytest.mark.data
def test_session_vwap_of_recorded_es_is_that_of_a_plain_sum(market_data: Path, instrument: Instrument) -> None:
    pl = pytest.importorskip("polars")
    table = pl.read_parquet(market_data / "es_1m_trade_2013-10_lean.parquet").filter(pl.col("contract") == "201312")
    o, h, low, c, v = (table[n].to_numpy().astype(float) for n in ("open", "high", "low", "close", "volume"))
    day = table["date"].str.to_date("%Y%m%d").to_numpy().astype("datetime64[ns]").astype(np.int64)
    ts = day + table["ms_of_day"].to_numpy().astype(np.int64) * 1_000_000 + MINUTE
    sunday = int(np.datetime64("2013-10-06T22:00", "ns").astype(np.int64))  # 17:00 Chicago
    opens = tuple(sunday + d * DAY for d in (0, 1, 2, 3, 4, 7, 8))
    calendar = Calendar(opens_ns=opens, closes_ns=tuple(t + 23 * HOUR for t in opens))
    bars = bars_from_ohlcv(o * 4, h * 4, low * 4, c * 4, v)
    columns = ["vwap_distance", "vwap_band_z"]

    matrix = rows(make(instrument, calendar, columns)[0], ts, bars)

    session = np.searchsorted(opens, ts - 1, "right")
    frame = pl.DataFrame({"s": session, "pv": bars[:, 7], "v": v}).with_columns(
        (pl.col("pv").cum_sum().over("s") / pl.col("v").cum_sum().over("s")).alias("vwap")
    )
    for row in range(20, len(ts), 173):
        expected = (bars[row, 3] - frame["vwap"][row]) / wilder(bars[: row + 1])
        assert matrix[row, 0] == pytest.approx(expected, rel=1e-7, abs=1e-7), row
    assert len(set(session.tolist())) >= 6
    assert np.isfinite(matrix[20:]).all()


@pytest.mark.data
def test_recorded_minutes_are_inside_the_ranges_and_no_two_columns_are_the_same(market_data: Path, instrument: Instrument) -> None:
    pl = pytest.importorskip("polars")
    table = pl.read_parquet(market_data / "bitfinex_btcusd_1m_2017-2018.parquet").slice(400_000, 60_000)
    o, h, low, c, v = (table[n].to_numpy().astype(float) for n in ("open", "high", "low", "close", "volume"))
    bars = bars_from_ohlcv(*(np.round(x * 100) for x in (o, h, low, c)), np.round(v * 1e6))
    ts = table["ts_ms"].to_numpy().astype(np.int64) * 1_000_000 + MINUTE
    columns = (*NAMES, *shipped_catalogue().category("structure"), "sma_gap_20", "aroon_osc_20", "dist_high_60", "rel_bar_volume_20")

    matrix = rows(make(instrument, columns=columns)[0], ts, bars)

    for name, column in zip(columns, matrix.T, strict=True):
        known = column[np.isfinite(column)]
        lowest, highest = shipped_catalogue().get(name).range
        assert len(known) > 25_000, name
        assert ((known >= lowest) & (known <= highest)).all(), name
        assert known.std() > 0.001, name
    whole = matrix[np.isfinite(matrix).all(axis=1)]
    correlation = np.corrcoef(whole.T) - np.eye(len(columns))
    assert [(columns[i], columns[j]) for i, j in np.argwhere(np.abs(correlation) > 0.999) if i < j] == []
