"""Runs on perturbed bars: bars of the venue's grid, figures of the engine, and a verdict that tells luck from order."""

from __future__ import annotations

import math
import statistics

import msgspec
import numpy as np
import pytest

from mia.backtest.grid.bench import market_of
from mia.backtest.perturb import _sizes, figures_of, perturb, perturbed
from mia.backtest.run import fused
from mia.backtest.run.prepare import Prepared, execute
from mia.domain.errors import ConfigError
from tests.unit.backtest.grid.test_cells import plain_row, prepared_of


@pytest.mark.parametrize("method", ["noise", "blocks"])
def test_perturbed_bars_are_whole_ticks_that_hold_each_other_at_the_times_of_the_real_ones(method: str) -> None:
    real = market_of(800, minutes=60)

    made = perturbed(real, method, [0.002 if method == "noise" else 20.0], 1, 0)  # type: ignore[arg-type]

    (before,), (after,) = real.bars, made.bars
    opened, high, low, closed, volume, _, _, notional = after.rows[:, :8].T
    assert (after.rows[:, :4] == np.rint(after.rows[:, :4])).all()
    assert (low >= 1.0).all()
    assert (low <= np.minimum(opened, closed)).all()
    assert (high >= np.maximum(opened, closed)).all()
    assert (low * volume <= notional).all()
    assert (notional <= high * volume).all()
    assert after.close_ns is before.close_ns
    assert not np.array_equal(closed, before.rows[:, 3])
    assert set(volume) <= set(before.rows[:, 4])
    assert made.spec == real.spec


@pytest.mark.parametrize("rule", ["ema_cross", "donchian"])
def test_the_figures_of_a_run_are_the_engines_on_either_path(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepared_of(rule)
    wanted = plain_row(prepared, dict(prepared.spec.lanes[0].params))

    compiled = figures_of(prepared)
    monkeypatch.setattr(fused, "why_not", lambda *_: "a test asks")
    by_engine = figures_of(prepared)

    assert compiled == pytest.approx(by_engine)
    for name in ("net_return", "max_drawdown", "trades", "fees"):
        assert getattr(compiled, name) == pytest.approx(wanted[name])
    assert compiled.sharpe == pytest.approx(wanted["sharpe"] * 365.25**0.5)


def zigzag(bars: int = 3_000) -> Prepared:
    """A market whose price goes up and down by 2 % in 60 bars each: an order in time that trends follow."""
    made = market_of(bars, minutes=60)
    history = made.bars[0]
    wave = 5_000_000 * np.exp(0.02 * np.abs((np.arange(bars) % 120) / 60.0 - 1.0) * 4.0)
    rows = history.rows.copy()
    rows[:, 3] = np.rint(wave)
    rows[1:, 0] = rows[:-1, 3]
    rows[0, 0] = rows[0, 3]
    rows[:, 1], rows[:, 2] = np.maximum(rows[:, 0], rows[:, 3]) + 10, np.minimum(rows[:, 0], rows[:, 3]) - 10
    rows[:, 7] = rows[:, 4] * rows[:, 3]
    lane = msgspec.structs.replace(made.spec.lanes[0], params={"fast_period": 3, "slow_period": 10})
    return msgspec.structs.replace(made, bars=(history._replace(rows=rows),), spec=msgspec.structs.replace(made.spec, lanes=(lane,)))


def test_an_order_in_time_is_told_from_blocks_without_it_and_noise_leaves_it_be() -> None:
    prepared = zigzag()

    blocks = perturb(prepared, method="blocks", draws=40, block=5.0)
    noise = perturb(prepared, method="noise", draws=40, share=0.2)

    assert figures_of(prepared).net_return > 0.0
    assert blocks.p_value == pytest.approx(1 / 41)
    assert blocks.words.startswith("it found an order in time that blocks do not have")
    shown = blocks.figures[0]
    assert shown.real is not None
    assert shown.high is not None
    assert shown.high < shown.real
    assert shown.at_least == 0.0
    assert (noise.figures[0].low or 0.0) > 0.5 * shown.real


def test_noise_that_changes_nothing_is_said_to_tell_nothing() -> None:
    found = perturb(zigzag(), method="noise", draws=2, ticks=0.001)

    assert found.of_range < 1e-3
    assert found.words.startswith("nothing: the noise is")


def test_the_spread_is_that_of_the_single_runs() -> None:
    prepared = prepared_of("ema_cross")

    found = perturb(prepared, method="noise", draws=25, ticks=200.0, seed=7)

    single = [execute(perturbed(prepared, "noise", found.sizes, 7, k)).gathered.marks.equity_e8 for k in range(25)]
    totals = sorted(int(e[-1]) / int(e[0]) - 1.0 for e in single)
    shown = found.figures[0]
    assert found.sizes == pytest.approx([200.0 / float(np.median(prepared.bars[0].rows[:, 3]))])
    assert [shown.low, shown.median, shown.high] == pytest.approx([totals[1], totals[12], totals[23]])  # places ceil(q n)
    assert found.p_value == (1 + sum(t >= (shown.real or 0.0) for t in totals)) / 26
    assert found == perturb(prepared, method="noise", draws=25, ticks=200.0, seed=7)


@pytest.mark.parametrize("ticks", [None, 3.0])
def test_noise_of_several_instruments_is_of_each_ones_own_range(ticks: float | None) -> None:
    one = market_of(300, minutes=60)
    (history,) = one.bars
    rows = history.rows.copy()
    rows[:, :4] = np.rint(rows[:, :4] / 10.0)
    rows[:, 1] += np.rint(0.05 * rows[:, 3])  # a market of a tenth of the price, and of a wide range
    other = history._replace(rows=rows, instrument=msgspec.structs.replace(history.instrument, symbol="OTHER"))

    found = _sizes([history, other], "noise", 0.1, ticks, None)

    wanted = [
        0.1 * statistics.median(math.log(high / low) for high, low in zip(r[:, 1], r[:, 2], strict=True)) for r in (history.rows, rows)
    ]
    if ticks is not None:
        wanted = [ticks / statistics.median(r[:, 3]) for r in (history.rows, rows)]
    assert found == pytest.approx(wanted)
    assert found[1] > 5 * found[0]


def test_too_few_days_have_no_sharpe() -> None:
    found = perturb(market_of(200, minutes=60), method="noise", draws=20)

    sharpe = found.figures[1]
    assert (sharpe.real, sharpe.median, sharpe.why) == (None, None, "0 of 20 draws have it")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"method": "noise", "share": 0.0}, "--noise 0: give a share"),
        ({"method": "noise", "ticks": -1.0}, "--noise-ticks -1: give a number above 0"),
        ({"method": "blocks", "block": 0.5}, "--block 0.5: give 1 to 300 bars"),
    ],
)
def test_a_size_that_cannot_be_is_named(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        perturb(market_of(300), draws=20, **wrong)  # type: ignore[arg-type]


def test_events_have_no_bars_to_perturb() -> None:
    with pytest.raises(ConfigError, match="name candles with --data FILE"):
        perturb(msgspec.structs.replace(market_of(50), bars=()), method="noise", draws=20)
