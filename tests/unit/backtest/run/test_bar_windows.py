"""Trade windows that want positions flat, in runs on bars: closed as the window begins, at a price that is worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.result import Result
from mia.backtest.run.sources import BarHistory
from mia.backtest.run.spec import DataFacts, RunSpec
from mia.domain.instruments import Instrument
from mia.engine.settings import LaneSettings
from mia.features import batch
from mia.features.bars import BarSpec
from mia.risk.windows import Blackout, Family, Windows
from mia.settings import load_settings
from mia.shipped import config_file
from mia.sim.cost_settings import Costs, FeeCosts, SpreadCosts

HOUR_NS = 3_600_000_000_000
START_NS = int(datetime(2024, 3, 4, tzinfo=UTC).timestamp()) * 10**9
STEADY = (10_000, 10_000, 10_000, 10_000)
FALLS = (10_000, 10_000, 9_900, 9_900)
both = pytest.mark.parametrize("compiled", [True, False])


def at(hours: float) -> int:
    return START_NS + int(hours * HOUR_NS)


def blackout(begin: float, end: float) -> Windows:
    """Wants positions flat from `begin` until `end`, in hours."""
    times = {k: datetime.fromtimestamp(at(h) / 1e9, UTC).isoformat() for k, h in (("start", begin), ("end", end))}
    family = Family(
        time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2099-01-01T00:00:00Z",
        blackouts=[Blackout(position="flatten", **times)],
    )  # fmt: skip
    return Windows({"crypto": family}, ())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Holds one lot worth a fifth of the account from the second bar's open on; runs bars (open, high, low, close) under windows."""

    def make(
        prices: list[tuple[int, int, int, int]], windows: Windows, compiled: bool, *, ends: list[float] | None = None,
        opens: list[float] | None = None, **changes: Any,
    ) -> Result:  # fmt: skip
        n = len(prices)
        close_ns = np.array([at(h) for h in ends or range(1, n + 1)])
        open_ns = np.array([at(h) for h in opens]) if opens else np.concatenate([[START_NS], close_ns[:-1]])
        for place in ("spec", "fused"):
            monkeypatch.setattr(f"mia.backtest.run.{place}.load_windows", lambda *_: windows)
        instrument = Instrument(
            venue="file", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
            lot_size=Decimal(1), maker_fee=Decimal(0), taker_fee=Decimal("0.00001"),
        )  # fmt: skip
        bars = BarSpec(kind="time", size=Decimal(HOUR_NS))
        span = {"first_ns": int(open_ns[0]), "last_ns": int(close_ns[-1])}
        facts = DataFacts(instrument="file:X", kind="bars", files=("x",), sha256=(), rows=n, bars=bars.text, **span)
        columns = np.array(prices, float).T
        history = BarHistory(instrument, bars, open_ns, close_ns, batch.bars_from_ohlcv(*columns, np.full(n, 1000.0)), facts, ())
        settings = load_settings(config_file("miad.toml")).settings
        risk = msgspec.structs.replace(settings.risk, equity_share_max=0.2, drawdown_max=0.9, daily_loss_max=0.9)
        settings = msgspec.structs.replace(settings, risk=risk, paper=msgspec.structs.replace(settings.paper, cash=Decimal(10_000)))
        lane = LaneSettings(instrument="file:X", strategy="rule:buy_and_hold", bars=bars.text, min_interval_ms=0)
        costs = Costs(spread=SpreadCosts(half=Decimal(changes.pop("half", 0))), fees=FeeCosts(kind="off"))
        spec = RunSpec(settings=settings, instruments=(instrument,), lanes=(lane,), data=(facts,), costs=costs, **changes)
        return execute(Prepared(spec=spec, bars=(history,)), compiled=compiled)

    return make


def exits(result: Result) -> list[tuple[float, int]]:
    """(hours, price in ticks) of each sale."""
    return [((f.ts_recv_ns - START_NS) / HOUR_NS, f.price_ticks) for f in result.gathered.fills if f.side < 0]


@both
def test_an_event_inside_an_hour_closes_on_the_line_from_open_to_close(run: Any, compiled: bool) -> None:
    result = run([STEADY, STEADY, (10_000, 10_100, 9_900, 10_050), STEADY], blackout(2.25, 9), compiled)

    assert exits(result) == [(2.25, 10_012)]  # a quarter of 50 ticks is 12.5
    order = result.gathered.orders[-1]
    assert (order.purpose, order.order_type, order.reduce_only, order.ts_ns) == ("exit", "market", True, at(2.25))


@both
def test_the_half_spread_comes_on_top_of_the_line(run: Any, compiled: bool) -> None:
    result = run([STEADY, STEADY, (10_000, 10_100, 9_900, 10_050), STEADY], blackout(2.25, 2.5), compiled, half=3)

    assert exits(result) == [(2.25, 10_009)]


@both
def test_a_stop_that_the_bar_reaches_was_reached_before_the_window_the_worse_of_the_two(run: Any, compiled: bool) -> None:
    deep = (10_000, 10_000, 9_000, 9_600)  # the stop lies at 9,800, the line at 9,900
    result = run([STEADY, STEADY, deep, STEADY], blackout(2.25, 3), compiled)

    assert exits(result) == [(2.25, 9_800)]
    assert result.gathered.orders[-1].purpose == "take"  # none but those that were sent with the entry


@both
def test_a_take_that_the_bar_reaches_is_not_met_once_the_window_began(run: Any, compiled: bool) -> None:
    high = (10_000, 11_000, 10_000, 10_100)  # the take lies at 10,300 or above
    result = run([STEADY, STEADY, high, STEADY], blackout(2.25, 3), compiled)

    assert exits(result) == [(2.25, 10_025)]


@both
def test_a_gap_through_the_stop_comes_before_the_window(run: Any, compiled: bool) -> None:
    result = run([STEADY, STEADY, (9_700, 9_700, 9_600, 9_600), STEADY], blackout(2.25, 3), compiled)

    assert exits(result) == [(2.0, 9_700)]


@both
def test_a_window_that_begins_while_nothing_trades_closes_at_the_next_open(run: Any, compiled: bool) -> None:
    prices = [STEADY, STEADY, (9_950, 9_980, 9_940, 9_960), STEADY]
    result = run(prices, blackout(3, 10), compiled, opens=[0, 1, 9, 11], ends=[1, 2, 10, 12])

    assert exits(result) == [(9.0, 9_950)]


@both
def test_a_window_that_is_over_before_the_market_trades_again_closes_nothing(run: Any, compiled: bool) -> None:
    result = run([STEADY, STEADY, FALLS, STEADY], blackout(3, 8), compiled, opens=[0, 1, 9, 11], ends=[1, 2, 10, 12])

    assert exits(result) == []


@both
def test_an_entry_that_fills_inside_a_window_is_closed_at_once(run: Any, compiled: bool) -> None:
    result = run([STEADY, (10_010, 10_020, 10_000, 10_000), STEADY], blackout(2, 4), compiled, opens=[0, 3, 5], ends=[1, 4, 6])

    assert [(f.side, f.price_ticks) for f in result.gathered.fills[:2]] == [(1, 10_010), (-1, 10_010)]


@both
def test_a_window_that_begins_at_a_bars_end_is_left_to_its_decision(run: Any, compiled: bool) -> None:
    result = run([STEADY, STEADY, FALLS, STEADY], blackout(2, 4), compiled)

    assert exits(result) == [(2.0, 10_000)]
    assert result.gathered.counters["codes"]["session_exit"] == 1
    assert [o.purpose for o in result.gathered.orders if o.side < 0 and o.order_type == "market"] == ["entry"]


@both
def test_how_the_bar_ends_does_not_change_what_is_decided_inside_it(run: Any, compiled: bool) -> None:
    ends = [
        run([STEADY, STEADY, last], blackout(2.25, 2.5), compiled)
        for last in ((10_000, 10_000, 10_000, 10_000), (10_000, 20_000, 9_900, 9_900))
    ]

    sent = [[o for o in result.gathered.orders if o.ts_ns < at(3)] for result in ends]
    assert sent[0] == sent[1]


def test_both_paths_write_the_same_of_windows_inside_bars(run: Any) -> None:
    prices = [STEADY, STEADY, (10_000, 10_100, 9_900, 10_051), STEADY, FALLS, STEADY]
    one, other = (run(prices, blackout(2.3, 2.6), compiled) for compiled in (True, False))

    fills = [[msgspec.structs.replace(f, seq=0, client_order_id="") for f in result.gathered.fills] for result in (one, other)]
    assert fills[0] == fills[1]
    for name in ("orders", "fill_orders", "moments", "decisions", "trades", "counters"):
        assert getattr(one.gathered, name) == getattr(other.gathered, name), name
    assert one.gathered.counters["alerts"] == {"session_exit": 1}
