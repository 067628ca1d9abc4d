"""How fast history is searched: bars a second of one run, bar-configurations a second of a grid; made prices, no files."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np

from mia.backtest.grid.cells import Cells
from mia.backtest.grid.space import space_of
from mia.backtest.run.prepare import Prepared, execute
from mia.backtest.run.sources import BarHistory
from mia.backtest.run.spec import DataFacts, RunSpec
from mia.domain.instruments import Instrument
from mia.engine.settings import LaneSettings
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.plan import BAR_FIELDS
from mia.settings import Settings, load_settings
from mia.shipped import config_file
from mia.sim.cost_settings import Costs, FeeCosts, FundingCosts, ImpactCosts, LatencyCosts, ParticipationCosts, SpreadCosts

_VOLUME: Final = BAR_FIELDS.index("volume")
_MINUTE_NS: Final = 60_000_000_000
_START_NS: Final = 1_709_251_200_000_000_000


def unlimited(settings: Settings) -> Settings:
    """With limits so wide, and protection so far, that a strategy trades to the end."""
    risk = msgspec.structs.replace(
        settings.risk, position_lots_max=10**8, position_lots_max_by_symbol={}, order_lots_max=10**8, order_notional_max=1e7,
        exposure_notional_max=1e7, daily_loss_max=0.9, drawdown_max=0.9,
    )  # fmt: skip
    execution = msgspec.structs.replace(settings.execution, stop_share=0.3, take_share=0.5)
    return msgspec.structs.replace(settings, risk=risk, execution=execution)


def market_of(bars: int, *, minutes: int = 5, seed: int = 1) -> Prepared:
    """A run of the shipped ema_cross on a seeded random walk, with limits so wide that it trades to the end."""
    draw = np.random.default_rng(seed)
    close = np.rint(np.exp(np.cumsum(draw.normal(0.0, 0.0015, bars))) * 6e6)
    close = np.maximum(close, 1e5)
    opens = np.concatenate([close[:1], close[:-1]])
    wick = np.rint(abs(draw.normal(0.0, 3000.0, bars)))
    rows = batch.bars_from_ohlcv(opens, np.maximum(opens, close) + wick, np.minimum(opens, close) - np.minimum(wick, 5e4), close, wick)
    open_ns = _START_NS + np.arange(bars) * minutes * _MINUTE_NS
    kind = BarSpec(kind="time", size=Decimal(minutes * _MINUTE_NS))
    instrument = Instrument(
        venue="bench", symbol="BENCH", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.01"),
        lot_size=Decimal("0.001"), maker_fee=Decimal("0.0001"), taker_fee=Decimal("0.0001"), min_notional=Decimal(0),
    )  # fmt: skip
    facts = DataFacts(
        instrument="bench:BENCH", kind="bars", files=("made",), sha256=("0" * 64,), rows=bars, first_ns=int(open_ns[0]),
        last_ns=int(open_ns[-1]) + minutes * _MINUTE_NS, bars=kind.text,
    )  # fmt: skip
    spec = RunSpec(
        settings=unlimited(load_settings(config_file("miad.toml")).settings),
        instruments=(instrument,),
        lanes=(LaneSettings(instrument="bench:BENCH", strategy="rule:ema_cross", bars=kind.text, min_interval_ms=0),),
        data=(facts,),
        costs=Costs(spread=SpreadCosts(kind="off")),
    )
    history = BarHistory(instrument, kind, open_ns, open_ns + minutes * _MINUTE_NS, rows, facts, ())
    return Prepared(spec=spec, bars=(history,))


def with_costs(prepared: Prepared, seed: int = 2) -> Prepared:
    """The same run at a venue of fee tiers, with latency, impact, funding and so little volume that some orders take several bars."""
    draw = np.random.default_rng(seed)
    history, spec = prepared.bars[0], prepared.spec
    rows = history.rows.copy()
    rows[:, _VOLUME] = np.rint(np.exp(draw.normal(9.0, 1.0, len(rows))))
    instrument = msgspec.structs.replace(history.instrument, venue="binance_usdm")
    costs = Costs(
        fees=FeeCosts(kind="table"), spread=SpreadCosts(kind="bps", half=Decimal("0.5")), latency=LatencyCosts(kind="fixed"),
        participation=ParticipationCosts(share_max=Decimal("0.003")), impact=ImpactCosts(kind="square_root"),
        funding=FundingCosts(kind="fixed", rate=Decimal("0.0001")),
    )  # fmt: skip
    lane = msgspec.structs.replace(spec.lanes[0], instrument=f"{instrument.venue}:{instrument.symbol}")
    spec = msgspec.structs.replace(spec, instruments=(instrument,), lanes=(lane,), costs=costs)
    return msgspec.structs.replace(prepared, spec=spec, bars=(history._replace(instrument=instrument, rows=rows),))


def two_markets(bars: int) -> Prepared:
    """A run of ema_cross on two random walks of so many bars each, on one account."""
    one, other = market_of(bars), market_of(bars, seed=2)
    instrument = msgspec.structs.replace(other.bars[0].instrument, symbol="SECOND")
    name = f"{instrument.venue}:{instrument.symbol}"
    facts = msgspec.structs.replace(other.spec.data[0], instrument=name)
    spec = msgspec.structs.replace(
        one.spec, instruments=(*one.spec.instruments, instrument), data=(*one.spec.data, facts),
        lanes=(*one.spec.lanes, msgspec.structs.replace(one.spec.lanes[0], instrument=name)),
    )  # fmt: skip
    second = other.bars[0]._replace(instrument=instrument, facts=facts)
    return msgspec.structs.replace(one, spec=spec, bars=(*one.bars, second))


def bench_events(prepared: Prepared) -> dict[str, Any]:
    """One run on the event engine, on one core: bars a second, those of each instrument counted."""
    bars = sum(len(history.close_ns) for history in prepared.bars)
    result, wall_s, core_s = _timed(lambda: execute(prepared, compiled=False))
    return {"bars": bars, "trades": len(result.trips), "bars_per_s": bars / wall_s, "bars_per_core_s": bars / core_s}


def bench_run(bars: int = 300_000) -> dict[str, Any]:
    """One run to its result (fills, trades, attribution, marks), on one core: bars a second by the clock and by the core's time."""
    prepared = market_of(bars)
    result, wall_s, core_s = _timed(lambda: execute(prepared))
    return {"bars": bars, "trades": len(result.trips), "bars_per_s": bars / wall_s, "bars_per_core_s": bars / core_s, "load": _load()}


def bench_grid(bars: int = 100_000, configurations: int = 600) -> dict[str, Any]:
    """A grid of ema_cross on one core, columns, signals, accounts and scores included."""
    space = space_of("ema_cross", ["fast_period=5:100:5", "slow_period=110:400:10"])
    configs = [values for point in space.full()[:configurations] if (values := space.config(point)) is not None]
    prepared = market_of(bars)
    rows, wall_s, core_s = _timed(lambda: Cells(prepared).evaluate(configs))
    done = bars * len(configs)
    return {
        "bars": bars, "configurations": len(configs), "trades": int(sum(row.trades for row in rows)),
        "bar_configurations_per_s": done / wall_s,
        "bar_configurations_per_core_s": done / core_s, "load": _load(),
    }  # fmt: skip


def _timed(work: Any, times: int = 3) -> tuple[Any, float, float]:
    """(what it gave, best seconds by the clock, best seconds of the core)."""
    walls, cores = [], []
    for _ in range(times):
        wall, core = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cores.append(time.process_time() - core)
    return result, min(walls), min(cores)


def _load() -> float:
    return os.getloadavg()[0]
