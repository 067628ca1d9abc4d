"""Configurations of a grid against single runs of the event engine: the same money, whatever was evaluated before."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest

from mia.backtest.grid.bench import market_of
from mia.backtest.grid.cells import Cells, Row
from mia.backtest.grid.space import Values, space_of
from mia.backtest.run.prepare import Prepared, execute
from mia.domain.errors import ConfigError
from mia.kernels.marks import deepest_fall

BARS = 1500
AXES = {
    "ema_cross": ["fast_period=5,12", "slow_period=20:60:20"],
    "macd": ["fast_period=6,12", "signal_period=5,9", "size=0.5"],
    "donchian": ["entry_period=20,40", "exit_period=10"],
    "rsi_reversion": ["period=7,14", "oversold=20,30"],
    "bollinger_atr": ["period=20", "band_stds=1.5,2"],
    "ts_momentum": ["lookback=60,120"],
    "vol_target": ["target_volatility=0.2,0.5"],
    "opening_range": ["size=0.5,1", "range_minutes=120"],
    "vwap_reversion": ["size=0.5,1"],
    "random": ["seed=1:3", "turnover=0.02"],
    "buy_and_hold": ["size=0.5,1"],
}


def prepared_of(rule: str, *, minutes: int = 60) -> Prepared:
    made = market_of(BARS, minutes=minutes, seed=3)
    lane = msgspec.structs.replace(made.spec.lanes[0], strategy=f"rule:{rule}")
    return msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, lanes=(lane,)))


def plain_row(prepared: Prepared, values: Values) -> dict[str, float]:
    """The event engine's run, and plain formulas over its marks and fills."""
    lane = msgspec.structs.replace(prepared.spec.lanes[0], params=values)
    spec = msgspec.structs.replace(prepared.spec, lanes=(lane,))
    result = execute(msgspec.structs.replace(prepared, spec=spec), compiled=False)
    equity = [int(e) for e in result.gathered.marks.equity_e8]
    ts = [int(t) for t in result.gathered.marks.ts_ns]
    ends = [equity[0]]
    for k in range(1, len(ts)):  # the last mark of each day (midnight belongs to the day before it)
        if k == len(ts) - 1 or (ts[k + 1] - 1) // 86_400_000_000_000 != (ts[k] - 1) // 86_400_000_000_000:
            ends.append(equity[k])
    r = [b / a - 1 for a, b in itertools.pairwise(ends)]
    mean = math.fsum(r) / len(r)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in r) / (len(r) - 1))
    peak, worst = equity[0], 0.0
    for e in equity:
        peak = max(peak, e)
        worst = max(worst, 1 - e / peak)
    instrument = spec.instruments[0]
    fills = result.gathered.fills
    notional = sum(f.qty_lots * f.price_ticks for f in fills) * float(instrument.lot_size * instrument.tick_size)
    years = (ts[-1] - ts[0]) / (365.25 * 86_400e9)
    return {
        "net_return": equity[-1] / equity[0] - 1, "sharpe": mean / deviation if deviation else math.nan, "max_drawdown": worst,
        "trades": result.gathered.counters["trades"], "fees": sum(f.fee_e8 for f in fills) / 1e8, "periods": len(r),
        "turnover": notional / (equity[0] / 1e8) / years,
    }  # fmt: skip


@pytest.mark.parametrize("rule", list(AXES))
def test_each_configuration_has_the_numbers_of_a_single_run_of_the_event_engine(rule: str) -> None:
    prepared = prepared_of(rule)
    space = space_of(rule, AXES[rule])
    configs = [values for point in space.full() if (values := space.config(point)) is not None]
    rows = Cells(prepared).evaluate(configs)
    wanted = plain_row(prepared, configs[-1])
    assert wanted["fees"] > 0.0
    for name, value in wanted.items():
        assert getattr(rows[-1], name) == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def test_crosses_take_the_compiled_path() -> None:
    (row,) = Cells(prepared_of("ema_cross")).evaluate([space_of("ema_cross", []).config(0) or {}])
    assert row.by_engine == 0.0


def test_a_configuration_is_the_same_alone_in_any_order_and_with_few_columns_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_of("ema_cross")
    space = space_of("ema_cross", ["fast_period=2:40:2", "slow_period=50:80:3"])
    configs = [values for point in space.full() if (values := space.config(point)) is not None]
    whole = Cells(prepared).evaluate(configs)
    assert Cells(prepared).evaluate(configs[::-1])[::-1] == whole
    monkeypatch.setattr("mia.backtest.grid.cells._COLUMNS_BYTES", 1)
    monkeypatch.setattr("mia.backtest.grid.cells._TOGETHER", 3)
    small = Cells(prepared)
    assert [small.evaluate([values])[0] for values in configs[::7]] == whole[::7]
    assert len(small._columns) <= 3


def test_what_the_kernel_cannot_do_is_asked_of_the_event_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_of("ema_cross")
    values = space_of("ema_cross", []).config(0) or {}
    (fast,) = Cells(prepared).evaluate([values])
    monkeypatch.setattr("mia.backtest.run.fused.why_not", lambda *_: "for once")
    (slow,) = Cells(prepared).evaluate([values])
    assert slow.by_engine == 1.0
    for name in set(Row._fields) - {"by_engine"}:
        assert getattr(slow, name) == pytest.approx(getattr(fast, name), rel=1e-12), name


def test_a_model_or_events_are_no_grid() -> None:
    prepared = prepared_of("ema_cross")
    lane = msgspec.structs.replace(prepared.spec.lanes[0], strategy="demo", min_interval_ms=None, bars=None)
    with pytest.raises(ConfigError, match="grid: needs a strategy"):
        Cells(msgspec.structs.replace(prepared, spec=msgspec.structs.replace(prepared.spec, lanes=(lane,))))


def test_the_deepest_fall_is_that_of_a_plain_loop() -> None:
    draw = np.random.default_rng(5)
    for _ in range(200):
        equity = 10_000 + np.cumsum(draw.integers(-900, 900, draw.integers(0, 60)))
        peak, worst = 10_000, 0.0
        for e in equity.tolist():
            peak = max(peak, e)
            worst = max(worst, 1.0 - e / peak)
        assert deepest_fall(10_000, equity.astype(np.int64)) == worst
