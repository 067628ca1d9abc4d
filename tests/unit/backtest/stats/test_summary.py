"""The whole of a track's figures: against plain formulas, and at the edges where no number may be printed."""

from __future__ import annotations

import itertools
import math

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mia.backtest.stats.catalogue import BY_GROUP, STATISTICS
from mia.backtest.stats.inputs import Track, Trials, Trips, no_trips, track_of
from mia.backtest.stats.periods import DAY_NS, Periods
from mia.backtest.stats.registry import interval_text, text, value_text
from mia.backtest.stats.summary import Summary, headline, summarize
from mia.domain.errors import ConfigError, DataError

START = 19_000 * DAY_NS  # 2022-01-08, a Saturday
HOUR_NS = DAY_NS // 24
TRADES = [30.0, -10.0, 20.0, -5.0, -5.0, 0.0, 40.0, 10.0, -20.0, 5.0, 8.0, -3.0]


def daily(equity: np.ndarray | list[float]) -> Track:
    return track_of(START + np.arange(len(equity)) * DAY_NS, equity)


def trips(profit: list[float]) -> Trips:
    m = len(profit)
    e8 = np.rint(np.array(profit) * 1e8).astype(np.int64)
    opened = START + np.arange(m, dtype=np.int64) * DAY_NS + 9 * HOUR_NS
    fives = np.full(m, 5.0)
    return Trips(
        np.zeros(m, np.int64), np.ones(m, np.int8), opened, opened + 2 * HOUR_NS, fives, fives * 2, np.ones(m), e8, np.full(m, 10**8),
        np.minimum(e8, -(10**8)), np.maximum(e8, 2 * 10**8), np.full(m, 4), np.full(m, 1, np.int8),
    )  # fmt: skip


def random_track(n: int, seed: int = 1, drift: float = 0.0005) -> Track:
    r = np.random.default_rng(seed).normal(drift, 0.02, n)
    return daily(1e4 * np.concatenate([[1.0], np.cumprod(1.0 + r)]))


def summary(track: Track, closed: Trips | None = None, **options: object) -> Summary:
    return summarize(track, no_trips() if closed is None else closed, **{"samples": 200, **options})  # type: ignore[arg-type]


def test_figures_of_returns_equal_plain_formulas() -> None:
    track = random_track(800)
    e = track.equity_e8 / 1e8
    r = [b / a - 1.0 for a, b in itertools.pairwise(e)]
    n, mean = len(r), sum(r) / len(r)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in r) / (n - 1))
    rf = 0.02 / 365.25
    downside = math.sqrt(sum(min(x - rf, 0.0) ** 2 for x in r) / n)
    tops = [max(e[: i + 1]) for i in range(n + 1)]
    lost = [1.0 - a / b for a, b in zip(e, tops, strict=True)]
    ordered = sorted(r)
    cagr = (e[-1] / e[0]) ** (365.25 / n) - 1.0

    found = summary(track, risk_free=0.02)

    expected = {
        "return": e[-1] / e[0] - 1.0,
        "cagr": cagr,
        "volatility": deviation * math.sqrt(365.25),
        "sharpe": (mean - rf) / deviation * math.sqrt(365.25),
        "sortino": (mean - rf) / downside * math.sqrt(365.25),
        "omega": sum(max(x - rf, 0.0) for x in r) / sum(max(rf - x, 0.0) for x in r),
        "max_drawdown": max(lost),
        "max_drawdown_close": max(lost),
        "ulcer": math.sqrt(sum(x * x for x in lost[1:]) / n),
        "calmar": cagr / max(lost),
        "var_95": -ordered[39],
        "cvar_95": -sum(ordered[:40]) / 40,
        "var_99": -ordered[7],
        "cvar_99": -sum(ordered[:8]) / 8,
        "tail_ratio": abs(ordered[759]) / abs(ordered[39]),
        "skew": sum((x - mean) ** 3 for x in r) / n / (sum((x - mean) ** 2 for x in r) / n) ** 1.5,
        "kurtosis": sum((x - mean) ** 4 for x in r) / n / (sum((x - mean) ** 2 for x in r) / n) ** 2,
        "drawdown_trough": track.ts_ns[lost.index(max(lost))],
    }
    assert {name: found.value(name) for name in expected} == pytest.approx(expected, rel=1e-7)


def test_figures_of_trades_equal_plain_formulas() -> None:
    found = summary(random_track(60), trips(TRADES))

    deviation = math.sqrt(sum((x - 70 / 12) ** 2 for x in TRADES) / 11)
    expected = {
        "trades": 12, "profit": 70.0, "hit_rate": 6 / 12, "profit_factor": 113 / 43, "payoff": (113 / 6) / (43 / 5), "expectancy": 70 / 12,
        "mean_win": 113 / 6, "mean_loss": -43 / 5, "best_trade": 40.0, "worst_trade": -20.0, "win_streak": 2, "loss_streak": 2,
        "holding": 2 * HOUR_NS, "holding_median": 2 * HOUR_NS, "holding_bars": 4.0, "costs": 12.0, "cost_share": 12 / 82,
        "mae": -(10 + 5 + 5 + 20 + 3 + 7) / 12, "mfe": (30 + 20 + 40 + 10 + 5 + 8 + 12) / 12,
    }  # fmt: skip
    assert {name: found.value(name) for name in expected} == pytest.approx(expected)
    assert text(found.figure("sqn")) == "n/a, 12 trades"
    long = summary(random_track(60), trips(TRADES * 3))
    many = TRADES * 3
    deviation = float(np.std(many, ddof=1))
    assert long.value("sqn") == pytest.approx(math.sqrt(36) * 70 / 12 / deviation)


def test_every_interval_holds_its_figure_where_resamples_are_of_many_rows() -> None:
    found = summary(random_track(600), trips(TRADES * 20), samples=1000, benchmark=random_track(600, 2))

    known = [f for f in found.figures if f.interval is not None]
    with_draws = {s.name for s in STATISTICS if s.draws is not None}
    assert {f.name for f in known} == with_draws
    for f in known:
        assert f.interval is not None
        assert f.value is not None
        low = -math.inf if f.interval.low is None else f.interval.low
        high = math.inf if f.interval.high is None else f.interval.high
        assert low < high or f.name in ("holding", "costs")  # the same for every trade here
        assert low - (high - low) <= f.value <= high + (high - low)


def test_resampling_each_row_once_gives_the_figure_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interval of a figure is of the same formula as the figure: with resamples that are the rows as they are, both are equal."""
    from mia.backtest.stats import resample

    def as_it_is(words: object, sample: int, restart: int, index: np.ndarray) -> None:
        index[:] = np.arange(len(index))

    def sums(words: np.ndarray, restart: int, rows: np.ndarray, index: np.ndarray, out: np.ndarray) -> None:
        out[:] = rows.sum(axis=0)

    def figures(words: np.ndarray, restart: int, r, ordered, rank, centre, target, index, counts, out) -> None:
        index[:] = np.arange(len(index))
        for row in out:
            resample.kernel.measure(r, ordered, rank, index, centre, target, counts, row)

    monkeypatch.setattr(resample.kernel, "resample_sums", sums)
    monkeypatch.setattr(resample.kernel, "resample_returns", figures)

    found = summary(random_track(400), trips(TRADES * 5), benchmark=random_track(400, 3), risk_free=0.03)

    for f in found.figures:
        if f.interval is not None:
            assert f.interval.low == pytest.approx(f.value, rel=1e-6), f.name
            assert f.interval.high == pytest.approx(f.value, rel=1e-6), f.name


def test_alpha_and_beta_of_a_track_made_from_its_benchmark() -> None:
    random = np.random.default_rng(5)
    x = random.normal(0.0, 0.02, 1000)
    y = 0.001 + 0.5 * x + random.normal(0.0, 0.001, 1000)

    found = summary(daily(1e6 * np.cumprod(np.append(1.0, 1 + y))), benchmark=daily(1e6 * np.cumprod(np.append(1.0, 1 + x))))

    assert found.value("beta") == pytest.approx(float(np.cov(y, x)[0, 1] / x.var(ddof=1)), rel=1e-6)
    assert found.value("beta") == pytest.approx(0.5, abs=0.01)
    assert found.value("alpha") == pytest.approx(0.36525, abs=0.03)
    assert found.value("tracking_error") == pytest.approx((y - x).std(ddof=1) * math.sqrt(365.25), rel=1e-6)


def test_same_seed_same_bytes() -> None:
    encoded = [msgspec.json.encode(summary(random_track(200), trips(TRADES), seed=seed)) for seed in (3, 3, 4)]

    assert encoded[0] == encoded[1]
    assert encoded[0] != encoded[2]


def test_intervals_and_groups_may_be_left_out_without_changing_a_figure() -> None:
    full = summary(random_track(200), trips(TRADES * 3))
    short = summary(random_track(200), trips(TRADES * 3), samples=0, has_groups=False)

    assert [(f.name, f.value, f.why) for f in short.figures] == [(f.name, f.value, f.why) for f in full.figures]
    assert all(f.interval is None for f in short.figures)
    assert short.trade_order_why == "no samples asked for"
    assert short.by_hour.why == "not asked for"


def test_seven_trades_are_too_few_for_a_rate() -> None:
    found = summary(random_track(100), trips(TRADES[:7]))

    assert text(found.figure("hit_rate")) == "n/a, 7 trades"
    assert found.trade_order_why == "7 trades"
    assert found.figure("profit").interval is None


@pytest.mark.parametrize(("rows", "why"), [(1, "0 days"), (2, "1 day"), (8, "7 days")])
def test_few_days_are_too_few_for_a_ratio(rows: int, why: str) -> None:
    found = summary(daily([1000.0 + k % 3 for k in range(rows)]))

    assert text(found.figure("sharpe")) == f"n/a, {why}"
    assert text(found.figure("cagr")) == f"n/a, {why}"
    assert all(f.interval is None for f in found.figures)


def test_a_constant_track_has_no_ratio_and_no_drawdown() -> None:
    found = summary(daily([1000.0] * 100), benchmark=daily([7.0] * 100), trials=Trials(10, 0.5))

    assert (found.value("return"), found.value("volatility"), found.value("max_drawdown")) == (0.0, 0.0, 0.0)
    for name in ("sharpe", "skew", "kurtosis", "probabilistic_sharpe", "deflated_sharpe", "sharpe_lo", "minimum_length", "beta"):
        assert text(found.figure(name)) == "n/a, zero variance"
    assert text(found.figure("sortino")) == "n/a, no losing day"
    assert text(found.figure("calmar")) == "n/a, no drawdown"
    assert text(found.figure("drawdown_length")) == "n/a, no drawdown"


def test_a_track_of_equal_gains_has_zero_variance_too() -> None:
    found = summary(daily([0.01 * 2.0**k for k in range(31)]), periods=Periods("day", 365.25))

    assert found.value("volatility") == 0.0
    assert text(found.figure("sharpe")) == "n/a, zero variance"


def test_only_losses_have_a_hit_rate_of_zero_and_no_payoff() -> None:
    found = summary(random_track(100), trips([-1.0] * 30))

    assert (found.value("hit_rate"), found.value("profit_factor"), found.value("loss_streak")) == (0.0, 0.0, 30)
    assert text(found.figure("payoff")) == "n/a, no winning trade"
    assert text(found.figure("sqn")) == "n/a, zero variance"
    assert text(summary(random_track(100), trips([1.0] * 30)).figure("profit_factor")) == "n/a, no losing trade"
    assert text(found.figure("cost_share")) == "n/a, no profit before costs"


def test_ruin_is_told_and_leaves_no_flattering_figure() -> None:
    equity = [1000.0] * 40 + [1500.0] * 40 + [-200.0] + [3000.0] * 40

    found = summary(daily(equity), trips(TRADES))

    assert found.ruined_ns == START + 80 * DAY_NS
    assert found.value("return") == pytest.approx(-1.2)
    assert found.value("cagr") == -1.0
    assert found.value("max_drawdown") == pytest.approx(1.0 + 200 / 1500)
    assert text(found.figure("sharpe")) == "n/a, ruined 2022-03-29T00:00:00Z"
    assert found.figure("return").interval is None
    assert found.by_hour.rows == []
    assert "ruined" in found.notes[0]
    for name in ("calmar", "sortino", "omega", "volatility", "var_95", "deflated_sharpe", "ulcer", "turnover"):
        assert found.value(name) is None, name


def test_ruin_at_once_and_a_loss_of_nearly_all_are_told() -> None:
    at_once = summary(daily([1000.0, 0.0]))
    nearly = summary(daily([9e10] * 40 + [1e-8] * 2))

    assert at_once.value("return") == -1.0
    assert text(at_once.figure("cagr")).startswith("n/a, 0 days")
    assert nearly.ruined_ns is None
    assert nearly.figure("sharpe").interval is None


def test_trials_are_asked_for_and_used() -> None:
    track = random_track(800, drift=0.002)

    uncounted, one, many = summary(track), summary(track, trials=Trials(1, 0.0)), summary(track, trials=Trials(1000, 0.5))

    assert text(uncounted.figure("deflated_sharpe")) == "n/a, trials not counted"
    assert one.value("deflated_sharpe") == one.value("probabilistic_sharpe")
    assert many.value("deflated_sharpe") < one.value("deflated_sharpe")  # type: ignore[operator]
    assert many.value("trials") == 1000


def test_options_out_of_range_are_refused() -> None:
    track = random_track(40)
    for options, name in (
        ({"samples": 10}, "samples"), ({"level": 1.0}, "level"), ({"risk_free": 2.0}, "risk_free"), ({"trials": Trials(0, 0.0)}, "trials"),
        ({"trials": Trials(5, math.nan)}, "trials"), ({"seed": -1}, "seed"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=name):
            summary(track, **options)
    with pytest.raises(DataError, match="does not cover"):
        summary(track, benchmark=daily([1.0, 2.0]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(-(10**18), 9 * 10**18), min_size=1, max_size=80),
    st.lists(st.integers(-(10**17), 10**17), max_size=40),
)
def test_any_track_gives_numbers_or_reasons(equity: list[int], profit: list[int]) -> None:
    """Huge, tiny and negative equity: every figure is a finite number or says why not, and all of it prints."""
    first = max(abs(equity[0]), 1)
    track = daily([1.0] * len(equity))._replace(equity_e8=np.array([first, *equity[1:]], np.int64))

    found = summary(track, trips([x / 1e8 for x in profit]), samples=100)

    for f in found.figures:
        assert (f.value is None) == bool(f.why)
        assert f.value is None or math.isfinite(f.value)
        assert text(f)
        interval_text(f)
    msgspec.json.decode(msgspec.json.encode(found))


def test_headlines_come_in_the_order_of_the_catalogue_with_what_trials_left_first() -> None:
    found = summary(random_track(50))

    assert [f.name for f in found.figures] == [s.name for s in STATISTICS]
    assert [f.name for f in headline(found)][:3] == ["trials", "deflated_sharpe", "probabilistic_sharpe"]
    assert len({s.name for s in STATISTICS}) == len(STATISTICS)
    assert set(BY_GROUP) <= {s.name for s in STATISTICS}


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.12345, "share", "12.35%"), (1234.5, "money", "1,234.50"), (7, "count", "7"), (5400e9, "duration", "90.0 min"),
        (START, "time", "2022-01-08T00:00:00Z"), (0.90039, "probability", "0.9004"), (1e300, "share", "1e+302%"),
    ],
)  # fmt: skip
def test_values_print_in_their_unit(value: float, unit: str, expected: str) -> None:
    assert value_text(value, unit) == expected  # type: ignore[arg-type]
