"""Whole runs on made candles: what never trades, what is refused by name, what is stated, and that the same run is the same bytes."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.assemble import calendar_files
from mia.backtest.report.file import write_page
from mia.backtest.run import artifacts
from mia.backtest.run.assumptions import assumptions
from mia.backtest.run.collect import Collector
from mia.backtest.run.figures import summary_of
from mia.backtest.run.prepare import Request, bar_venue, execute, prepare
from mia.backtest.run.result import Result
from mia.backtest.run.runner import BarRow, Runner, StrategyFailed, merged
from mia.backtest.run.spec import build
from mia.domain.errors import ConfigError, DataError
from mia.domain.events import Bar
from mia.policy.rules.base import Rule
from mia.policy.strategy import Target
from mia.risk.windows import load_windows
from mia.settings import Settings, load_settings
from mia.shipped import config_file
from mia.sim.bar_desk import BarPrices
from mia.sim.cost_settings import BorrowCosts, Costs, FundingCosts, ImpactCosts, LatencyCosts, MarginCosts, ParticipationCosts

START = datetime(2024, 3, 1, tzinfo=UTC)
BARS = 400
Asked = Callable[..., Request]


def write_candles(path: Path, *, bars: int = BARS, price: float = 50_000.0, period: float = 60.0, jump: float = 0.0) -> Path:
    """5-minute candles on a wave of 3 %; a jump by that share in the middle."""
    rows, last = ["date,open,high,low,close,volume"], price
    for k in range(bars):
        close = price * (1 + 0.03 * math.sin(2 * math.pi * k / period)) * (1 + (jump if k >= bars // 2 else 0.0))
        opened = last if k != bars // 2 else close
        high, low = max(opened, close) * 1.0005, min(opened, close) * 0.9995
        rows.append(f"{(START + timedelta(minutes=5 * k)).isoformat()},{opened:.1f},{high:.1f},{low:.1f},{close:.1f},{100 + k % 7}")
        last = close
    path.write_text("\n".join(rows) + "\n")
    return path


def write_walk(path: Path, *, bars: int) -> Path:
    """5-minute candles whose closes are a random walk of 0.2 % a bar."""
    closes = 50_000.0 * np.exp(np.cumsum(np.random.default_rng(2).normal(0.0, 0.002, bars)))
    rows, last = ["date,open,high,low,close,volume"], 50_000.0
    for k, close in enumerate(closes.tolist()):
        rows.append(
            f"{(START + timedelta(minutes=5 * k)).isoformat()},{last:.1f},{max(last, close):.1f},{min(last, close):.1f},{close:.1f},100"
        )
        last = close
    path.write_text("\n".join(rows) + "\n")
    return path


def settings_of(**risk: Any) -> Settings:
    shipped = load_settings(config_file("miad.toml")).settings
    wide = {"drawdown_max": 1.0, "daily_loss_max": 1.0, "order_notional_max": 1e9, "exposure_notional_max": 1e9}
    return msgspec.structs.replace(shipped, risk=msgspec.structs.replace(shipped.risk, **(wide | risk)))


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """A request for ema_cross(5, 20) on made candles of BTCUSDT."""

    def make(**changed: Any) -> Request:
        fields: dict[str, Any] = {
            "settings": settings_of(), "strategy": "rule:ema_cross", "params": {"fast_period": 5, "slow_period": 20},
            "instruments": ("binance_usdm:BTCUSDT",),
        } | changed  # fmt: skip
        fields.setdefault("data", (write_candles(tmp_path / "btc.csv"),))
        return Request(**fields)

    return make


def digest(result: Result, folder: Path) -> dict[str, str]:
    artifacts.write(result, folder)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


DEAR = Costs(
    latency=LatencyCosts(kind="fixed", submit_ms=Decimal(2_000), report_ms=Decimal(10)),
    participation=ParticipationCosts(share_max=Decimal("0.0002")),
    impact=ImpactCosts(kind="square_root"),
    funding=FundingCosts(kind="fixed", rate=Decimal("0.0001")),
)


@pytest.mark.parametrize("costs", [Costs(), DEAR])
def test_the_same_run_twice_writes_the_same_bytes(asked: Asked, tmp_path: Path, costs: Costs) -> None:
    first = digest(execute(prepare(asked(costs=costs))), tmp_path / "a")
    second = digest(execute(prepare(asked(costs=costs))), tmp_path / "b")

    assert first == second
    assert set(first) == {"run.json", "equity.parquet", "orders.parquet", "fills.parquet", "decisions.parquet", "trades.csv"}


def test_the_default_costs_are_counted_by_the_compiled_path_and_come_to_the_same(asked: Asked, tmp_path: Path) -> None:
    prepared = prepare(asked())

    assert digest(execute(prepared), tmp_path / "a") == digest(execute(prepared, compiled=False), tmp_path / "b")


def test_every_part_of_dear_costs_takes_its_share_and_the_rest_is_net(asked: Asked) -> None:
    result = execute(prepare(asked(costs=DEAR)))

    p = result.parts
    assert min(p.fees_e8, p.spread_e8, p.impact_e8) > 0
    assert p.funding_e8 != 0
    equity = result.gathered.marks.equity_e8
    assert p.gross_e8 - p.fees_e8 - p.spread_e8 - p.slippage_e8 - p.impact_e8 - p.funding_e8 == equity[-1] - equity[0]
    assert result.facts()["costs"].funding.rate == Decimal("0.0001")
    partial = [f for f in result.gathered.fills if f.qty_lots <= 24]  # a 5,000th of the bars' volume of 100 coins of 1,000 lots
    assert len(partial) > len(result.trips)


def test_bars_before_the_span_never_trade(asked: Asked) -> None:
    from_ns = int((START + timedelta(minutes=5 * 200)).timestamp()) * 10**9

    result = execute(prepare(asked(from_ns=from_ns, warm_up=150)))

    assert result.gathered.counters["decisions"] == 350
    assert result.gathered.counters["codes"]["trading_disabled"] > 0
    assert result.gathered.orders
    assert min(order.ts_ns for order in result.gathered.orders) > from_ns


def test_a_span_without_a_bar_is_refused_with_what_the_file_holds(asked: Asked) -> None:
    with pytest.raises(DataError, match=r"btc\.csv: no bar lies in 2030-01-01 00:00:00 to the end: it holds 2024-03-01"):
        prepare(asked(from_ns=1_893_456_000 * 10**9))


def test_a_strategy_that_raises_is_named_with_the_time(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(1, 10_000))

    def evaluate(*_: Any) -> Target:
        if next(calls) == 100:  # the close of bar 119: the slow mean is there at the 20th
            raise ZeroDivisionError("no spread left")
        return Target(1.0, 1.0, (1.0, 1.0, 1.0))

    monkeypatch.setattr(Rule, "evaluate", evaluate)
    prepared = prepare(asked())

    with pytest.raises(StrategyFailed, match=r"ema_cross.* failed at 1709286900000000000 ns \(Bar\): ZeroDivisionError: no spread left"):
        execute(prepared, compiled=False)


def test_a_clock_that_goes_back_ends_the_run(asked: Asked) -> None:
    spec = prepare(asked()).spec
    engine, venue = build(spec), bar_venue(spec)

    def row(end: int) -> list[BarRow]:
        return [BarRow(BarPrices(0, end - 10, end, 9, 9, 9, 9, 1), Bar(0, end, end, 0, 9, 9, 9, 9, 1, 0, 0, 9.0, 1, 0, 0))]

    with pytest.raises(DataError, match="the clock goes back: a bar that ends at 1010 ns after one that ends at 1020 ns"):
        Runner(engine, venue, Collector(venue.moments), spec).bars([row(1020), row(1010), row(1030)])


def test_two_bars_of_one_market_that_end_at_one_time_end_the_run(asked: Asked) -> None:
    spec = prepare(asked()).spec
    engine, venue = build(spec), bar_venue(spec)
    rows = [BarRow(BarPrices(0, 10, 20, 9, 9, 9, 9, 1), Bar(0, 20, 20, 0, 9, 9, 9, 9, 1, 0, 0, 9.0, 1, 0, 0))] * 2

    for markets in ([iter(rows)], [iter(rows), iter(())]):
        with pytest.raises(DataError, match="the clock goes back: a bar that ends at 20 ns after one that ends at 20 ns"):
            Runner(engine, venue, Collector(venue.moments), spec).bars(merged(markets))
        engine, venue = build(spec), bar_venue(spec)


def test_two_instruments_trade_on_one_account(asked: Asked, tmp_path: Path) -> None:
    btc, eth = write_candles(tmp_path / "b.csv"), write_candles(tmp_path / "e.csv", price=3_000.0, period=45.0)
    eth_usdt = msgspec.structs.replace(settings_of().instruments[-1], symbol="ETHUSDT", tick_size=Decimal("0.01"))
    settings = msgspec.structs.replace(settings_of(), instruments=(*settings_of().instruments, eth_usdt))
    names = ("binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT")

    both = execute(prepare(asked(settings=settings, data=(btc, eth), instruments=names)))

    assert {trip.instrument for trip in both.trips} == {0, 1}
    assert both.gathered.marks.lots.shape == (BARS + 1, 2)
    assert sum(trip.profit_e8 for trip in both.trips) != 0
    assert any(row[0] and row[1] for row in both.gathered.marks.lots.tolist())  # both are held at once


def test_equity_below_zero_is_stated_and_nothing_is_opened_on_it(asked: Asked, tmp_path: Path) -> None:
    data = (write_candles(tmp_path / "crash.csv", jump=-0.6),)
    settings = settings_of(equity_share_max=1.0, position_lots_max=10**9, position_lots_max_by_symbol={}, order_lots_max=10**9)

    result = execute(prepare(asked(settings=settings, data=data, strategy="rule:buy_and_hold", params={"size": 1.0})))

    equity = result.gathered.marks.equity_e8
    assert equity[-1] < 0  # ten times its equity fell by more than half
    assert any("equity was gone at 2024-03-01 16:" in note for note in result.notes)
    at = int(result.gathered.marks.ts_ns[(equity < 0).argmax()])
    assert not [order for order in result.gathered.orders if order.ts_ns >= at and order.purpose == "entry"]


def test_the_accounts_own_margin_sizes_the_engines_orders(asked: Asked) -> None:
    wide = settings_of(position_lots_max=10**9, position_lots_max_by_symbol={}, order_lots_max=10**9)
    half, tenth = (
        execute(prepare(asked(settings=wide, costs=Costs(margin=MarginCosts(initial=Decimal(share)))))) for share in ("0.5", "0.1")
    )

    assert tenth.gathered.orders[0].qty_lots == pytest.approx(5 * half.gathered.orders[0].qty_lots, abs=5)


def test_limit_entries_rest_at_the_close_and_earn_the_makers_fee(asked: Asked) -> None:
    settings = settings_of()
    settings = msgspec.structs.replace(settings, execution=msgspec.structs.replace(settings.execution, entry="limit"))

    result = execute(prepare(asked(settings=settings)))

    entries = [f for f in result.gathered.fills if f.is_maker]
    assert entries
    assert result.gathered.counters["alerts"] == {}


def test_what_was_assumed_is_said_a_line_for_each_active_part(asked: Asked) -> None:
    lines = assumptions(prepare(asked(costs=Costs(borrow=BorrowCosts(kind="annual", annual_rate=Decimal("0.1"))))).spec)

    assert [line.partition(":")[0] for line in lines] == ["fills", "fees", "spread", "borrow", "not charged"]
    assert lines[-1] == "not charged: latency, participation, impact, funding, commission, liquidation, roll"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"costs": msgspec.convert({"spread": {"kind": "column"}}, Costs)}, "candle files carry no spreads"),
        ({"costs": Costs(latency=LatencyCosts(kind="fixed")), "fill_at": "close"}, "filled at the close it was decided on has none"),
        ({"data": (), "instruments": (), "protects": False}, "presets of other libraries are for bars"),
    ],
)
def test_costs_that_bars_cannot_have_are_refused(asked: Asked, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare(asked(**changed))


def test_files_of_costs_are_in_the_run_by_name_and_digest(asked: Asked, tmp_path: Path) -> None:
    rates = tmp_path / "rates.csv"
    rates.write_text(f"ts_ns,rate\n{int(START.timestamp()) * 10**9 + 10**9},0.0001\n")
    costs = Costs(funding=FundingCosts(kind="file", file=str(rates)))

    facts = prepare(asked(costs=costs)).spec.facts()

    assert facts["costs"].funding.file == "rates.csv"
    assert [(f.file, f.sha256) for f in facts["cost_files"]] == [("rates.csv", hashlib.sha256(rates.read_bytes()).hexdigest())]


def test_an_instrument_of_unknown_fees_is_refused(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no fee table"):
        prepare(asked(data=(write_candles(tmp_path / "unknown.csv"),), instruments=()))


def test_fees_by_tier_need_a_schedule_of_the_venue(asked: Asked, tmp_path: Path) -> None:
    table = msgspec.convert({"fees": {"kind": "table"}}, Costs)

    with pytest.raises(ConfigError, match="has no schedule of file"):
        prepare(asked(costs=table, data=(write_candles(tmp_path / "unknown.csv"),), instruments=(), fee=Decimal("0.001")))


def test_ticks_pay_the_same_model_and_their_fills_know_their_touch(asked: Asked) -> None:
    costs = Costs(
        latency=LatencyCosts(kind="fixed", submit_ms=Decimal(20), report_ms=Decimal(20)),
        funding=FundingCosts(kind="fixed", rate=Decimal("0.01"), hours=(22,)),
    )
    request = asked(data=(), instruments=(), duration_s=120.0, params={"fast_period": 2, "slow_period": 5}, costs=costs)

    result = execute(prepare(request))

    p = result.parts
    equity = result.gathered.marks.equity_e8
    assert result.gathered.fills
    assert p.net_e8 == equity[-1] - equity[0]
    assert p.spread_e8 > 0
    for fill in result.gathered.fills:
        moments = result.gathered.moments[fill.fill_id]
        assert moments.touch_ticks > 0
        assert (2 * moments.touch_ticks - moments.arrival_mid2) * fill.side > 0


def test_a_strategy_that_never_saw_what_it_reads_is_told_so(asked: Asked, tmp_path: Path) -> None:
    """An opening range of 30 minutes holds no bar of an hour; two hours hold two."""
    fields: dict[str, Any] = {"strategy": "rule:opening_range", "timeframe": "time:1h"}

    blind = execute(prepare(asked(params={}, **fields)))
    sees = execute(prepare(asked(params={"range_minutes": 120}, **fields)))

    assert any("nothing was ever decided" in note and "(warm_up 33)" in note for note in blind.notes)
    assert not any("nothing was ever decided" in note for note in sees.notes)
    artifacts.write(blind, tmp_path / "blind")
    _, word, sentence = write_page(tmp_path / "blind", tmp_path / "blind.html", [], 100)
    assert word == "not shown"
    assert sentence.startswith("It decided nothing: what it reads was missing each time")


def test_a_history_shorter_than_the_warm_up_is_told_so_by_both_paths(asked: Asked) -> None:
    prepared = prepare(asked(params={"fast_period": 5, "slow_period": 5_000}))

    told = [execute(prepared, compiled=compiled).notes for compiled in (True, False)]

    assert told[0] == told[1]
    assert f"(warm_up {BARS})" in told[0][-1]


def irregular(path: Path) -> Path:
    """Bars that end whenever 2,800 trades are full; the file has the times of their ends alone."""
    rows, at, last = ["date_time,open,high,low,close,cum_vol,cum_dollar,cum_ticks"], START, 50_000.0
    for k in range(BARS):
        at += timedelta(seconds=60 + 47 * (k % 11))
        close = 50_000.0 + round(1_500 * math.sin(2 * math.pi * k / 60))
        rows.append(f"{at:%Y-%m-%d %H:%M:%S},{last},{max(last, close) + 5},{min(last, close) - 5},{close},100,{100 * close},2800")
        last = close
    path.write_text("\n".join(rows) + "\n")
    return path


def test_bars_of_irregular_length_are_run_by_their_name_and_alike_on_both_paths(asked: Asked, tmp_path: Path) -> None:
    prepared = prepare(asked(data=(irregular(tmp_path / "ticks.csv"),), timeframe="tick:2800"))

    compiled, stepped = (execute(prepared, compiled=compiled) for compiled in (True, False))

    assert prepared.spec.data[0].bars == "tick:2800"
    assert len(compiled.gathered.fills) > 5
    assert digest(compiled, tmp_path / "a") == digest(stepped, tmp_path / "b")


def test_bars_of_irregular_length_have_to_be_named(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say which they are, such as tick:2800"):
        prepare(asked(data=(irregular(tmp_path / "ticks.csv"),)))


def test_time_bars_are_not_taken_for_bars_of_trades(asked: Asked) -> None:
    with pytest.raises(ConfigError, match="holds time bars, not tick:2800"):
        prepare(asked(timeframe="tick:2800"))


def test_a_model_of_quotes_is_told_to_have_nothing_to_say_on_candles(asked: Asked) -> None:
    notes = prepare(asked(strategy="demo", params={})).notes

    assert any("demo was made for time:1s bars" in note for note in notes)
    assert any("need trades, quotes or depth" in note and "decides nothing" in note for note in notes)


def test_a_rule_of_closes_is_not_told_of_the_notional_that_it_does_not_read(asked: Asked) -> None:
    closes = prepare(asked(strategy="rule:ema_cross", params={})).notes
    volume = prepare(asked(strategy="rule:vwap_reversion", params={})).notes

    assert not any("quote_volume" in note for note in closes)
    assert any("quote_volume" in note for note in volume)


def test_without_what_a_run_is_written_with_nothing_is_run(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)

    with pytest.raises(ConfigError, match=r"pip install 'mia\[train\]'"):
        prepare(asked())


def entries_of(request: Request) -> tuple[float | None, str]:
    summary = summary_of(execute(prepare(request)), load_windows(*calendar_files()), samples=200)
    found = summary.random_entries
    return (None if found is None else found.p_value), summary.random_entries_why


def test_entries_on_a_wave_are_better_than_random_ones_and_those_drawn_by_lot_are_not(asked: Asked, tmp_path: Path) -> None:
    long = write_candles(tmp_path / "long.csv", bars=3_000, period=120.0)
    wide = settings_of(overtrade_trades_per_hour=1_000)

    followed, _ = entries_of(asked(data=(long,), settings=wide))
    walk = write_walk(tmp_path / "walk.csv", bars=3_000)
    by_lot = {"data": (walk,), "settings": wide, "strategy": "rule:random"}
    lots = [asked(**by_lot, params={"turnover": 0.02, "seed": k}) for k in range(1, 8)]
    drawn = [p for p, _ in map(entries_of, lots) if p is not None]

    assert followed is not None
    assert followed < 0.01
    assert len(drawn) == 7
    assert 0.2 < statistics.median(drawn) < 0.8


def test_where_random_entries_say_nothing_the_reason_is_told(asked: Asked, tmp_path: Path) -> None:
    two = (write_candles(tmp_path / "a.csv"), write_candles(tmp_path / "b.csv", price=3_000.0))

    both = entries_of(asked(data=two, instruments=("binance_usdm:BTCUSDT", "binance_spot:BTCUSDT")))
    few = entries_of(asked(data=(write_candles(tmp_path / "few.csv", bars=90),)))
    simulated = entries_of(asked(data=(), instruments=(), duration_s=60.0))

    assert both == (None, "2 instruments share the account")
    assert few[1].endswith(" trades") or few[1].endswith(" trade")
    assert simulated == (None, "quotes and trades have no bars to enter at")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to_ns": 1}, "trades from 2023-11-14 22:23:20 to 2023-11-14 23:23:20"),
        ({"from_ns": 1_800_000_000 * 10**9}, "--duration"),
        ({"days": 3}, "--days"),
    ],
)
def test_dates_that_the_simulated_market_does_not_reach_are_refused(given: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prepare(Request(settings=settings_of(), strategy="rule:flat", **given))


def test_a_part_of_the_simulated_market_is_traded_alone() -> None:
    whole = Request(settings=settings_of(), strategy="rule:ema_cross", duration_s=900.0)
    begin = 1_700_000_600 * 10**9
    part = msgspec.structs.replace(whole, from_ns=begin + 300 * 10**9, to_ns=begin + 600 * 10**9)

    marks = execute(prepare(part)).gathered.marks
    fills = execute(prepare(part)).gathered.fills

    assert marks.ts_ns[-1] <= part.to_ns
    assert fills
    assert min(fill.ts_recv_ns for fill in fills) > part.from_ns


@pytest.mark.slow
def test_interpreted_kernels_come_to_the_same_bytes_event_by_event(tmp_path: Path) -> None:
    candles = write_candles(tmp_path / "few.csv", bars=120)

    def run(kernels: str) -> dict[str, bytes]:
        command = [
            sys.executable, "-m", "mia.cli.main", "backtest", "run", "--no-report", "--strategy", "ema_cross", "--param", "fast_period=3",
            "--param", "slow_period=8", "--data", str(candles), "--instrument", "binance_usdm:BTCUSDT", "--cost", "latency.kind=fixed",
            "--out", str(tmp_path / kernels),
        ]  # fmt: skip
        environment = {**os.environ, "MIA_KERNELS": kernels, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return {path.name: path.read_bytes() for path in (tmp_path / kernels).iterdir() if path.name != "run.json"}

    found = run("interpreted")

    assert found == run("compiled")
    assert found["trades.csv"].count(b"\n") > 1
