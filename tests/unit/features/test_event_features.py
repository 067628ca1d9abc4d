"""Every feature of quotes, trades, book, clock and account against a plain version of its formula."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mia.domain.events import BookDelta, BookSnapshot, Event, Quote, Trade
from mia.kernels.account_block import SLOTS as ACCOUNT_SLOTS
from mia.kernels.calendar_block import SLOTS as CALENDAR_SLOTS
from mia.kernels.depth_block import SLOTS as DEPTH_SLOTS
from mia.kernels.flow_block import SLOTS as FLOW
from mia.kernels.quote_block import SLOTS as QUOTE

SEC = 1_000_000_000
DEPTH, ACCOUNT, CALENDAR = DEPTH_SLOTS[:5] + DEPTH_SLOTS[7:9], ACCOUNT_SLOTS[:12], CALENDAR_SLOTS[:8]


def z(fast: float, expected: float, variance: float) -> float:
    return float(np.clip((fast - expected) / np.sqrt(variance), -20, 20)) if variance > 0 else 0.0


def flow_oracle(trades: list[Trade], mid: float, atr: float, now: int) -> dict[str, float]:
    t = np.array([e.ts_recv_ns for e in trades])
    q = np.array([e.qty_lots for e in trades], dtype=float)
    side = np.array([e.aggressor for e in trades], dtype=float)
    price = np.array([e.price_ticks for e in trades], dtype=float)

    def w(tau: float, at: int = t[-1]) -> Any:
        return np.exp(-(at - t) / 1e9 / tau)

    slow = w(60, now).sum() / (60 * (1 - np.exp(-(now - t[0]) / 60e9)))
    fast = w(10, now).sum() / (1 - np.exp(-(now - t[0]) / 10e9))
    known = side[side != 0]
    run = 0
    for s in known[::-1]:
        if s != known[-1]:
            break
        run += 1
    return {
        "flow_imb_1s": (w(1) * side * q).sum() / (w(1) * q).sum(),
        "flow_imb_10s": (w(10) * side * q).sum() / (w(10) * q).sum(),
        "count_imb_10s": (w(10) * side).sum() / w(10).sum(),
        "trade_rate_10s": z(fast, 10 * slow, 5 * slow),
        "side_run": np.clip(known[-1] * np.log(1 + run) / 5, -1, 1),
        "trade_size_last": np.clip(np.log(q[-1] / ((w(10) * q).sum() / w(10).sum())), -10, 10),
        "time_since_trade": np.log(1 + (now - t[-1]) / 1e9),
        "vwap_gap_10s": np.clip((mid - (w(10) * q * price).sum() / (w(10) * q).sum()) / atr, -20, 20),
    }


def quote_oracle(quotes: list[Quote], close: float, atr: float, now: int) -> dict[str, float]:
    t = np.array([e.ts_recv_ns for e in quotes])
    bid, ask, qb, qa = np.array([(e.bid_ticks, e.ask_ticks, e.bid_lots, e.ask_lots) for e in quotes], dtype=float).T
    mid = (bid + ask) / 2

    def w(tau: float) -> Any:
        return np.exp(-(t[-1] - t) / 1e9 / tau)

    def mean(x: Any, tau: float) -> float:
        return float((w(tau) * x).sum() / w(tau).sum())

    flow = np.zeros(len(t))
    flow[1:] = (
        qb[1:] * (bid[1:] >= bid[:-1]) - qb[:-1] * (bid[1:] <= bid[:-1]) - qa[1:] * (ask[1:] <= ask[:-1]) + qa[:-1] * (ask[1:] >= ask[:-1])
    )
    move = np.concatenate(([0.0], np.diff(mid)))
    moved = t[1:][move[1:] != 0]
    depth = mean((qb + qa) / 2, 10)
    age = (t[-1] - t[0]) / 1e9
    slow = w(10).sum() / (10 * (1 - np.exp(-age / 10)))
    return {
        "spread_ticks": min(1000.0, ask[-1] - bid[-1]),
        "spread_ratio_10s": np.clip((ask - bid)[-1] / mean(ask - bid, 10), 0, 50),
        "microprice_dev": (bid[-1] * qa[-1] + ask[-1] * qb[-1]) / (qa[-1] + qb[-1]) - mid[-1],
        "queue_imb_1": (qb[-1] - qa[-1]) / (qb[-1] + qa[-1]),
        "queue_imb_1s": mean((qb - qa) / (qb + qa), 1),
        "ofi_score": np.clip((w(1) * flow).sum() / depth, -50, 50),
        "ofi_10s": np.clip((w(10) * flow).sum() / depth, -50, 50),
        "mid_gap_1s": np.clip((mid[-1] - mean(mid, 1)) / atr, -20, 20),
        "mid_gap_10s": np.clip((mid[-1] - mean(mid, 10)) / atr, -20, 20),
        "mid_vol_10s": np.clip(np.sqrt((w(10) * move**2).sum()) / atr, 0, 50),
        "quote_rate_1s": z(w(1).sum() / (1 - np.exp(-age)), slow, slow / 2),
        "depth_ratio_bid": np.clip(np.log(qb[-1] / mean(qb, 10)), -10, 10),
        "depth_ratio_ask": np.clip(np.log(qa[-1] / mean(qa, 10)), -10, 10),
        "mid_direction_5s": (w(5) * np.sign(move)).sum() / (1 + (w(5) * (move != 0)).sum()),
        "mid_move_age": np.log(1 + (now - moved[-1]) / 1e9),
        "mid_close_gap": np.clip((mid[-1] - close) / atr, -20, 20),
    }


@pytest.mark.parametrize("stop", [1000, 1200, 1503, 2200, 2751])
def test_flow_and_quote_features_match_their_formulas(
    stop: int, market: list[Event], bench: Callable[..., Any], bars_of: Callable[..., Any]
) -> None:
    names = [*FLOW[9:17], *QUOTE[:16]]
    b = bench([*names, "atr(14)", "close"])
    for e in market[:stop]:
        b.feed(e)
    now = market[stop - 1].ts_recv_ns + 12_345_678

    row = dict(zip(b.plan.columns, b.row(now), strict=True))

    bars, _ = bars_of(market[:stop], SEC)
    h, low, c = bars[:, 1], bars[:, 2], bars[:, 3]
    tr = np.maximum(h[1:], c[:-1]) - np.minimum(low[1:], c[:-1])
    atr = 0.0
    for i, x in enumerate(tr):
        atr += (x - atr) / min(i + 1, 14)
    quotes = [e for e in market[:stop] if isinstance(e, Quote)]
    trades = [e for e in market[:stop] if isinstance(e, Trade)]
    mid = (quotes[-1].bid_ticks + quotes[-1].ask_ticks) / 2
    expected = flow_oracle(trades, mid, atr, now) | quote_oracle(quotes, c[-1], atr, now)
    assert row.pop("atr(14)") == pytest.approx(atr)
    assert row.pop("close") == c[-1]
    assert set(row) == set(expected)
    for name, value in row.items():
        assert value == pytest.approx(expected[name], rel=1e-6, abs=1e-7), name


@pytest.mark.parametrize("stop", [200, 1100, 2700])
def test_depth_features_match_their_formulas(stop: int, market: list[Event], bench: Callable[..., Any]) -> None:
    b = bench(DEPTH)
    sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for e in market[:stop]:
        b.feed(e)
        if isinstance(e, BookSnapshot | BookDelta):
            for side, raw in zip(sides, (e.bids, e.asks), strict=True):
                for ticks, lots in np.frombuffer(raw, dtype="<i8").reshape(-1, 2).tolist():
                    side[ticks] = lots
    bids = sorted(((p, q) for p, q in sides[0].items() if q), reverse=True)
    asks = sorted((p, q) for p, q in sides[1].items() if q)

    row = dict(zip(b.plan.columns, b.row(market[stop - 1].ts_recv_ns), strict=True))

    def lots(n: int) -> tuple[int, int]:
        return sum(q for _, q in bids[:n]), sum(q for _, q in asks[:n])

    def slope(levels: list[tuple[int, int]]) -> float:
        x = np.abs(np.array([p for p, _ in levels[:10]], dtype=float) - levels[0][0])
        y = np.cumsum([q for _, q in levels[:10]])
        return float(np.polyfit(x / x[-1], y / y[-1], 1)[0])

    def impact(levels: list[tuple[int, int]]) -> float:
        left, taken = 10_000 / 0.01 / 0.00001, 0.0
        budget = left
        for p, q in levels[:50]:
            part = min(q, left / p)
            taken += part
            left -= part * p
        return 1e4 * ((budget - left) / taken / ((bids[0][0] + asks[0][0]) / 2) - 1)

    for n in (5, 10, 20):
        assert row[f"depth_imb_{n}"] == pytest.approx((lots(n)[0] - lots(n)[1]) / sum(lots(n)))
    assert row["depth_near_share"] == pytest.approx(sum(lots(5)) / sum(lots(20)))
    assert row["book_slope_bid"] == pytest.approx(slope(bids))
    assert row["book_slope_ask"] == pytest.approx(slope(asks))
    assert row["impact_bps_10k"] == pytest.approx(max(impact(asks), -impact(bids)), abs=1e-6)


def test_depth_features_are_missing_while_the_book_is_invalid(market: list[Event], bench: Callable[..., Any]) -> None:
    b = bench(DEPTH)
    for e in market[:300]:
        b.feed(e)
    before = b.row(market[299].ts_recv_ns)
    book = market[0]
    assert isinstance(book, BookSnapshot)

    b.book.invalidate()
    b.plan.on_book(market[299].ts_recv_ns)
    while_invalid = (b.row(market[299].ts_recv_ns), b.plan.first_cold(), b.plan.is_warm(0))
    b.book.load(book.bids, book.asks)
    b.plan.on_book(market[299].ts_recv_ns)

    assert any(before)
    assert while_invalid == ([0.0] * len(DEPTH), 0, True)
    assert any(b.row(market[299].ts_recv_ns))
    assert b.plan.first_cold() == -1


@pytest.mark.parametrize(
    "stamp", ["2024-08-08T23:54:13.937", "2024-08-10T00:00:00", "2024-08-12T13:30:00", "2024-08-12T19:59:59.9", "1970-01-01T07:00:01"]
)
def test_calendar_features_match_the_calendar(stamp: str, bench: Callable[..., Any]) -> None:
    when = datetime.datetime.fromisoformat(stamp).replace(tzinfo=datetime.UTC)
    day = when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6
    workday = when.weekday() < 5
    ns = int(when.timestamp()) * SEC + when.microsecond * 1000

    row = bench(CALENDAR).row(ns)

    angles = [2 * np.pi * x for x in (day / 86400, when.weekday() / 7, day % 3600 / 3600)]
    expected = [f(a) for a in angles for f in (np.sin, np.cos)]
    expected += [day % 28800 / 28800, float(not workday)]
    assert row == pytest.approx(expected, abs=1e-9)


def test_account_features_follow_the_position_and_start_anew_with_the_next(bench: Callable[..., Any], market: list[Event]) -> None:
    b = bench([*ACCOUNT, "atr(14)"])
    for e in market[:800]:
        b.feed(e)
    t = market[799].ts_recv_ns
    atr = b.row(t)[-1]
    bars = b.plan.bar_count()

    def at(seconds: float, mid: int) -> dict[str, float]:
        now = t + int(seconds * SEC)
        b.plan.on_quote(now, 0, mid - 1, mid + 1, 5, 5)
        return dict(zip(b.plan.columns, b.row(now), strict=True))

    flat = at(0.001, 6_000_000)
    b.plan.set_account(-0.5, 6_000_010.0, t, 0.1, -0.2, 0.3, -0.6, 0.05, 0.7)
    worse = at(0.002, 6_000_010 + 30)
    better = at(0.003, 6_000_010 - 20)
    later = at(3.5, 6_000_010)
    closed_meanwhile = b.plan.bar_count() - bars
    b.plan.set_account(0.25, 6_000_010.0, t + 4 * SEC, 0.1, -0.2, 0.3, 0.3, 0.05, 0.7)
    turned = at(4.5, 6_000_012)
    b.plan.set_account(0.0, 0.0, 0, 0.1, -0.2, 0.3, 0.0, 0.05, 0.7)
    closed = at(5.0, 6_000_012)

    assert [flat[n] for n in ACCOUNT] == [0.0] * len(ACCOUNT)
    given = ("position", "drawdown_ratio", "day_pnl_ratio", "trades_60m_ratio", "last_action", "policy_dispersion", "last_alpha")
    assert [worse[n] for n in given] == [
        -0.5, 0.1, -0.2, 0.3, -0.6, 0.05, 0.7,
    ]  # fmt: skip
    assert worse["unrealised_r"] == pytest.approx(-30 / atr)
    assert better["unrealised_r"] == pytest.approx(20 / atr)
    assert better["mae_r"] == pytest.approx(-30 / atr)
    assert better["mfe_r"] == pytest.approx(20 / atr)
    assert closed_meanwhile in (3, 4)
    assert later["bars_in_position"] * 240 == closed_meanwhile
    assert later["position_age"] == pytest.approx(np.log(4.5) / np.log(86401), rel=1e-6)
    assert turned["mae_r"] == 0.0
    assert turned["mfe_r"] == pytest.approx(2 / turned["atr(14)"])
    assert [closed[n] for n in ("unrealised_r", "bars_in_position", "position_age", "mae_r", "mfe_r")] == [0.0] * 5


@pytest.mark.parametrize("quote", [(0, 0, 0, 0), (0, 100, 0, 5), (100, 0, 5, 0), (100, 99, 5, 5), (100, 101, 0, 5), (-5, -3, 1, 1)])
def test_a_one_sided_or_crossed_quote_moves_time_only(quote: tuple[int, int, int, int], bench: Callable[..., Any]) -> None:
    b = bench(QUOTE)
    b.plan.on_quote(SEC, 0, 100, 102, 5, 6)
    b.plan.on_quote(SEC + 5, 0, 101, 102, 5, 6)
    before = b.row(2 * SEC)

    b.plan.on_quote(SEC + 10, 0, *quote)

    assert b.row(2 * SEC) == before
