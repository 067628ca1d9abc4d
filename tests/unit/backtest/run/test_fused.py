"""The compiled account against the event engine: fills, marks, verdicts and codes of random markets, settings and instruments."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from mia.backtest.run import fused
from mia.backtest.run.collect import Collector
from mia.backtest.run.prepare import bar_venue
from mia.backtest.run.runner import Runner, merged
from mia.backtest.run.sources import BarHistory
from mia.backtest.run.spec import DataFacts, RunSpec, build
from mia.domain.instruments import Instrument
from mia.engine.engine import Engine
from mia.engine.settings import LaneSettings
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.bar_account import BarAccount
from mia.kernels.bar_books import EXIT_ORDER, PARAMETERS
from mia.kernels.book import Book
from mia.policy.rules import Rule, rule_spec, rule_values
from mia.policy.strategy import Target
from mia.risk.windows import Blackout, Family, Windows
from mia.settings import Settings, load_settings
from mia.shipped import config_file
from mia.sim.cost_settings import Costs, FeeCosts, SpreadCosts

N = 500
MINUTE_NS = 60_000_000_000


def made_history(rng: random.Random, instrument: Instrument, n: int = N) -> BarHistory:
    """A random walk with gaps and wicks, whole ticks."""
    draw = np.random.default_rng(rng.randrange(1 << 30))
    vol = rng.choice([0.0005, 0.003, 0.02])
    close = np.exp(np.cumsum(draw.normal(0, vol, n))) * rng.choice([100, 1_000, 60_000])
    opens = np.concatenate([[close[0]], close[:-1]]) * np.exp(draw.normal(0, vol * rng.choice([0, 0.3, 2]), n))
    high = np.maximum(opens, close) * np.exp(abs(draw.normal(0, vol, n)))
    low = np.minimum(opens, close) * np.exp(-abs(draw.normal(0, vol, n)))
    ticks = [np.maximum(1, np.rint(x / float(instrument.tick_size))) for x in (opens, high, low, close)]
    rows = batch.bars_from_ohlcv(ticks[0], np.maximum.reduce(ticks), np.minimum.reduce(ticks), ticks[3], np.rint(draw.exponential(1000, n)))
    interval = rng.choice([MINUTE_NS // 6, MINUTE_NS, 5 * MINUTE_NS, 60 * MINUTE_NS])
    open_ns = 1_709_251_200_000_000_000 + np.arange(n) * interval
    bars = BarSpec(kind="time", size=Decimal(interval))
    span = {"first_ns": int(open_ns[0]), "last_ns": int(open_ns[-1])}
    facts = DataFacts(instrument="file:X", kind="bars", files=("x",), sha256=(), rows=n, bars=bars.text, **span)
    return BarHistory(instrument, bars, open_ns, open_ns + interval, rows, facts, ())


def made_instrument(rng: random.Random) -> Instrument:
    """Spot or perpetual, with and without fees, a rebate too."""
    kind = rng.choice(["spot", "perpetual"])
    return Instrument(
        venue="file", symbol="X", kind=kind, family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal(rng.choice(["0.001", "0.01"])), maker_fee=Decimal("0.0002"),
        taker_fee=Decimal(rng.choice(["0", "0.0005", "0.00075", "-0.0001"])),
        initial_margin=Decimal(rng.choice(["1", "0.1"])) if kind != "spot" else Decimal(1),
        min_notional=Decimal(rng.choice(["0", "5", "100"])),
    )  # fmt: skip


def made_settings(rng: random.Random, shipped: Settings) -> Settings:
    """Limits wide and narrow, so that each rule has its say."""
    risk = msgspec.structs.replace(
        shipped.risk,
        position_lots_max=rng.choice([100, 5_000, 10**6]),
        position_lots_max_by_symbol={},
        equity_share_max=rng.choice([0.05, 0.2, 0.5, 1.0]),
        order_lots_max=rng.choice([50, 5_000, 10**6]),
        order_notional_max=rng.choice([1_000.0, 10_000.0, 1e7]),
        exposure_notional_max=rng.choice([2_000.0, 20_000.0, 1e8]),
        orders_per_minute_max=rng.choice([2, 3, 60]),
        daily_loss_max=rng.choice([0.01, 0.05, 0.5]),
        drawdown_max=rng.choice([0.05, 0.1, 0.9]),
        cool_down_s=rng.choice([5.0, 600.0, 3600.0]),
    )
    execution = msgspec.structs.replace(
        shipped.execution,
        dead_band_share=rng.choice([0.0, 0.05, 0.25]),
        stop_share=rng.choice([0.005, 0.02, 0.3]),
        take_share=rng.choice([0.01, 0.05, 0.5]),
    )
    return msgspec.structs.replace(shipped, risk=risk, execution=execution)


@pytest.mark.parametrize("seed", range(24))
def test_the_compiled_account_fills_marks_and_refuses_as_the_event_engine(seed: int) -> None:
    rng = random.Random(seed)
    instrument = made_instrument(rng)
    settings = made_settings(rng, load_settings(config_file("miad.toml")).settings)
    history = made_history(rng, instrument)
    params = {"fast_period": rng.choice([2, 5]), "slow_period": rng.choice([8, 20]), "size": rng.choice([1.0, 0.5, 0.07])}
    spec = made_spec(rng, instrument, settings, history, "ema_cross", params)
    engine = build(spec)
    assert not fused.why_not(spec)
    rule = engine.lanes[0].strategy
    arena = Arena(64 << 20)
    ts, matrix = batch.compute_bars(
        build_plan(rule.columns, instrument, history.bars, arena, Book(arena, 64)), history.close_ns, history.rows
    )
    signals = np.full(N, np.nan)
    for at, row in zip(np.searchsorted(history.close_ns, ts), matrix.astype(np.float32), strict=True):
        signals[at] = rule.evaluate(memoryview(row), (1 / 3, 1 / 3, 1 / 3)).signal
    assert_same(engine, spec, history, signals)


def made_spec(
    rng: random.Random, instrument: Instrument, settings: Settings, history: BarHistory, rule: str, params: dict[str, float]
) -> RunSpec:
    lane = LaneSettings(instrument="file:X", strategy=f"rule:{rule}", params=params, bars=history.bars.text, min_interval_ms=0)
    return RunSpec(
        settings=settings,
        instruments=(instrument,),
        lanes=(lane,),
        data=(history.facts,),
        fill_at=rng.choice(["next_open", "close"]),
        costs=Costs(spread=SpreadCosts(half=Decimal(rng.choice([0, 1, 7]))), fees=FeeCosts(kind=rng.choice(["instrument", "off"]))),
        from_ns=rng.choice([0, int(history.close_ns[50])]),
    )


def assert_same(engine: Engine, spec: RunSpec, history: BarHistory, signals: NDArray[np.float64]) -> fused.Fused | None:
    """The event engine's fills, marks, verdicts, orders and counts, and the kernel's."""
    venue = bar_venue(spec)
    collector = Collector(venue.moments)
    calendar = fused.calendar(engine.config.windows, "crypto", history.open_ns, history.close_ns)

    Runner(engine, venue, collector, spec).bars(merged([history.iterate(0)]))
    account = fused.parameters(spec)
    result = fused.run(account, spec.cash_e8, history, signals, calendar)

    known = dict(zip(PARAMETERS, account, strict=True))
    if 5 * spec.cash_e8 * known["share_num"] > known["share_den"] * known["money_max"] and result is None:
        return None  # a position that large is left to the engine
    assert result is not None
    counters = engine.state.counters
    fills = [(f.ts_recv_ns, f.side, f.qty_lots, f.price_ticks, f.fee_e8) for f in collector.fills]
    assert [tuple(row) for row in result.fills[:, [1, 2, 3, 4, 7]].tolist()] == fills
    marks = collector.table(1)[1:]
    assert result.equity_e8.tolist() == marks[:, 1].tolist()
    assert result.cash_e8.tolist() == marks[:, 2].tolist()
    assert result.verbs() == counters.verbs
    assert result.codes() == {str(code): n for code, n in counters.codes.items()}
    assert result.trades == counters.trades
    orders = [(o.ts_ns, o.side, o.qty_lots, o.stop_ticks, o.reduce_only) for o in collector.orders]
    assert [(ts, side, lots, stop, bool(reduces)) for _, ts, side, lots, stop, reduces, _ in result.orders.tolist()] == orders
    return result


class Scripted(Rule):
    """Gives a list's signals, one at each decision."""

    signals: Iterator[float]

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        signal = next(self.signals)
        return Target(signal, 1.0, (signal, signal, signal))


def scripted_run(
    seed: int, monkeypatch: pytest.MonkeyPatch, change_bars: Callable[[BarHistory], BarHistory] = lambda history: history
) -> tuple[RunSpec, BarHistory, NDArray[np.float64]]:
    """Signals that are held for long, of all sizes, on accounts small and large."""
    rng = random.Random(seed)
    instrument = made_instrument(rng)
    settings = made_settings(rng, load_settings(config_file("miad.toml")).settings)
    cash = Decimal(rng.choice(["10", "1000", "10000", "100000", "1000000"]))
    settings = msgspec.structs.replace(settings, paper=msgspec.structs.replace(settings.paper, cash=cash))
    history = made_history(rng, instrument)
    if rng.random() < 0.3:  # a day turns on every bar
        open_ns = history.open_ns[0] + np.arange(N) * 1440 * MINUTE_NS
        history = history._replace(
            bars=BarSpec(kind="time", size=Decimal(1440 * MINUTE_NS)), open_ns=open_ns, close_ns=open_ns + 1440 * MINUTE_NS
        )
    history = change_bars(history)
    levels = rng.choice([[1.0, -1.0], [1.0, 0.0], [0.3, -0.3, 0.0, 1.0], [rng.uniform(-1, 1) for _ in range(6)], [0.04, 0.3, -0.02]])
    change = rng.choice([0.003, 0.02, 0.1, 0.5])
    signals = np.zeros(N)
    for k in range(1, N):
        signals[k] = rng.choice(levels) if rng.random() < change else signals[k - 1]
    spec = made_spec(rng, instrument, settings, history, "random", {})
    rule = Scripted(rule_spec("random"), rule_values("random"), "bar", 0, history.bars.text)
    rule.signals = iter(signals.tolist())
    monkeypatch.setattr("mia.backtest.run.spec.load_strategy", lambda *_: rule)
    return spec, history, signals


@pytest.mark.parametrize("seed", range(100, 112))
def test_long_holds_of_any_size_on_any_account_are_the_event_engines(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, history, signals = scripted_run(seed, monkeypatch)
    assert_same(build(spec), spec, history, signals)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_more_long_holds_are_the_event_engines(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, history, signals = scripted_run(seed, monkeypatch)
    assert_same(build(spec), spec, history, signals)


@pytest.mark.parametrize("seed", range(100, 130))
def test_marks_that_are_not_asked_for_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, history, signals = scripted_run(seed, monkeypatch)
    prices = np.ascontiguousarray(history.rows[:, :4]).astype(np.int64)
    calendar = fused.calendar(made_windows(random.Random(seed), history), "crypto", history.open_ns, history.close_ns)
    ends = []
    for size in (N, 0):
        logs = np.zeros((size, 10), np.int64), np.zeros((size, 7), np.int64)
        account = BarAccount(memoryview(fused.parameters(spec)), spec.cash_e8, *(log.data for log in logs))
        marks = [np.zeros(size, np.int64) for _ in range(4)]
        account.run(history.open_ns, history.close_ns, prices, signals, *calendar.for_kernel(history.close_ns), 0, N, *marks)
        ends.append((account.cash, account.lots, account.equity, account.peak, account.fees, account.trades, account.turnover, account.bad))
    assert ends[0] == ends[1]


def made_windows(rng: random.Random, history: BarHistory) -> Windows:
    """Blackouts that begin and end anywhere in the history, sessions with a break of each day, some of which want positions flat."""
    first, last = int(history.open_ns[0]), int(history.close_ns[-1])
    blackouts = []
    for _ in range(rng.choice([4, 30, 60])):
        bar = rng.randrange(N)
        closed, opened = int(history.close_ns[bar]), int(history.open_ns[min(bar + 1, N - 1)])
        begin = rng.choice([rng.randrange(first, last), closed, closed, (closed + opened) // 2, opened, closed - 1000])
        end = begin + rng.choice([2_000_000_000, 90_000_000_000, rng.randrange(1, (last - first) // 10)])
        times = {"start": begin // 1000 * 1000, "end": end // 1000 * 1000}
        iso = {k: str(np.datetime64(v, "ns").astype("datetime64[us]")) + "Z" for k, v in times.items()}
        if iso["start"] < iso["end"]:
            blackouts.append(Blackout(**iso, position=rng.choice(["flatten", "flatten", "hold"])))
    family = Family(
        time_zone="UTC", sessions=[rng.choice(["mon-sun 00:00-24:00", "mon-sun 17:30-16:05", "mon-fri 08:00-21:00"])],
        valid_until="2099-01-01T00:00:00Z", outside=rng.choice(["hold", "flatten"]), blackouts=blackouts,
    )  # fmt: skip
    return Windows({"crypto": family}, ())


def open_always(history: BarHistory) -> fused.Calendar:
    windows = Windows({"x": Family(time_zone="UTC", sessions=["mon-sun 00:00-24:00"], valid_until="2261-01-01T00:00:00Z")}, ())
    return fused.calendar(windows, "x", history.open_ns, history.close_ns)


def with_gaps(rng: random.Random, history: BarHistory) -> BarHistory:
    """Bars of uneven length, some of them after a pause, as of ticks or of a market that closes."""
    lengths = np.array([rng.choice([1, 60, 900, 7200]) * rng.randrange(1, 10**6) * 1000 for _ in range(N)])
    pauses = np.array([rng.choice([0, 0, 60, 40_000]) * rng.randrange(1, 10**6) * 1000 for _ in range(N)])
    close_ns = int(history.open_ns[0]) + np.cumsum(lengths + pauses)
    return history._replace(open_ns=close_ns - lengths, close_ns=close_ns)


def windowed_run(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[RunSpec, BarHistory, NDArray[np.float64]]:
    """As `scripted_run`, under windows that want positions flat, with fine fees and accounts of up to a milliard."""
    rng = random.Random(seed)
    spec, history, signals = scripted_run(seed, monkeypatch)
    if rng.random() < 0.5:
        spec, history, signals = scripted_run(seed, monkeypatch, lambda h: with_gaps(rng, h))
    fee = Decimal(rng.choice(["0.00001", "0.000123457", "-0.00002", "0.0000000001234567"]))
    cash = Decimal(rng.choice(["1000", "100000", "10000000", "1000000000"]))
    limits = {"position_lots_max": 10**9, "order_lots_max": 10**9, "order_notional_max": 1e10, "exposure_notional_max": 1e10}
    settings = spec.settings
    risk = msgspec.structs.replace(settings.risk, **limits) if rng.random() < 0.6 else settings.risk
    settings = msgspec.structs.replace(settings, risk=risk, paper=msgspec.structs.replace(settings.paper, cash=cash))
    instrument = msgspec.structs.replace(spec.instruments[0], taker_fee=fee)
    history = history._replace(instrument=instrument)
    windows = made_windows(rng, history)
    monkeypatch.setattr("mia.backtest.run.spec.load_windows", lambda *_: windows)
    return msgspec.structs.replace(spec, settings=settings, instruments=(instrument,)), history, signals


@pytest.mark.parametrize("seed", range(200, 224))
def test_windows_that_want_flat_fine_fees_and_large_accounts_are_the_event_engines(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, history, signals = windowed_run(seed, monkeypatch)
    assert_same(build(spec), spec, history, signals)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2200))
def test_many_more_windows_and_accounts_are_the_event_engines(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, history, signals = windowed_run(seed, monkeypatch)
    assert_same(build(spec), spec, history, signals)


def test_the_random_windows_close_positions_at_opens_within_bars_and_by_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    at_open = within = decided = 0
    for seed in range(200, 224):
        spec, history, signals = windowed_run(seed, monkeypatch)
        windows = build(spec).config.windows
        calendar = fused.calendar(windows, "crypto", history.open_ns, history.close_ns)
        result = fused.run(fused.parameters(spec), spec.cash_e8, history, signals, calendar)
        assert result is not None
        exits = result.orders[result.orders[:, 6] == EXIT_ORDER]
        is_at_open = exits[:, 1] == history.open_ns[exits[:, 0]]
        at_open += int(np.count_nonzero(is_at_open))
        within += int(np.count_nonzero(~is_at_open))
        decided += result.codes().get("session_exit", 0)
    assert min(at_open, within, decided) >= 5


def test_a_position_whose_cost_times_its_lots_is_beyond_a_word_closes_exactly() -> None:
    rng = random.Random(2)
    shipped = load_settings(config_file("miad.toml")).settings
    risk = msgspec.structs.replace(
        shipped.risk, position_lots_max=10**6, position_lots_max_by_symbol={}, equity_share_max=1.0, order_lots_max=10**6,
        order_notional_max=1e7, exposure_notional_max=1e8,
    )  # fmt: skip
    settings = msgspec.structs.replace(shipped, risk=risk, paper=msgspec.structs.replace(shipped.paper, cash=Decimal(1_000_000)))
    instrument = msgspec.structs.replace(made_instrument(rng), kind="perpetual", lot_size=Decimal("0.01"), initial_margin=Decimal(1))
    history = made_history(rng, instrument)
    ticks = np.full(N, 100_000.0)
    ticks[5:] = 101_000.0
    history = history._replace(rows=batch.bars_from_ohlcv(ticks, ticks, ticks, ticks, np.ones(N)))
    lane = LaneSettings(instrument="file:X", strategy="rule:ema_cross", bars=history.bars.text)
    spec = RunSpec(
        settings=settings, instruments=(instrument,), lanes=(lane,), data=(history.facts,), costs=Costs(spread=SpreadCosts(kind="off"))
    )
    signals = np.where(np.arange(N) < 8, 1.0, np.where(np.arange(N) < 20, 0.5, 0.0))
    result = fused.run(fused.parameters(spec), spec.cash_e8, history, signals, open_always(history))
    assert result is not None
    bought, sold, rest = result.fills.tolist()
    assert bought[3] ** 2 * bought[4] * 10_000 > 2**63
    assert 0 < sold[3] < bought[3] == sold[3] + rest[3]
    assert result.cash_e8[-1] == spec.cash_e8 + bought[3] * 1_000 * 10_000 - bought[7] - sold[7] - rest[7]


def test_the_random_markets_reach_every_code_of_a_limit() -> None:
    reached: set[str] = set()
    for seed in range(24):
        rng = random.Random(seed)
        instrument = made_instrument(rng)
        settings = made_settings(rng, load_settings(config_file("miad.toml")).settings)
        history = made_history(rng, instrument)
        lane = LaneSettings(instrument="file:X", strategy="rule:ema_cross", bars=history.bars.text)
        spec = RunSpec(settings=settings, instruments=(instrument,), lanes=(lane,), data=(history.facts,))
        signals = np.array([rng.choice([-1.0, 0.0, 0.4, 1.0]) for _ in range(N)])
        result = fused.run(fused.parameters(spec), spec.cash_e8, history, signals, open_always(history))
        assert result is not None
        reached |= result.codes().keys()
    limits = {"daily_loss", "drawdown_stop", "cool_down", "order_rate", "position_max", "equity_share", "order_notional_max"}
    assert limits | {"order_lots_max", "exposure_max", "spot_no_short", "dead_band"} <= reached
