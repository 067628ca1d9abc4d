"""Signals of a file: what a run may know of them and when, and what is refused by row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mia.backtest.run import fused
from mia.backtest.run.collect import Collector
from mia.backtest.run.prepare import Prepared, Request, execute, prepare
from mia.backtest.run.result import Result
from mia.backtest.run.signals import read_signals
from mia.domain.effects import RecordDecision
from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import Instrument
from mia.execution.attribution import Moments
from mia.settings import Settings, load_settings
from mia.shipped import config_file

MINUTE_NS = 60 * 10**9
T0_NS = 1_709_251_200_000_000_000  # 2024-03-01 00:00 UTC
BARS = 400
NAME = "binance_usdm:BTCUSDT"


@pytest.fixture(scope="module")
def settings() -> Settings:
    shipped = load_settings(config_file("miad.toml"), environ={"HOME": "/nonexistent"}).settings
    return msgspec.structs.replace(shipped, risk=msgspec.structs.replace(shipped.risk, drawdown_max=1.0, daily_loss_max=1.0))


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One-minute bars of a random walk on a grid of 0.10."""
    path = tmp_path_factory.mktemp("candles") / "bars.csv"
    draw = np.random.default_rng(5)
    close = np.rint(600_000 * np.exp(np.cumsum(draw.normal(0, 0.002, BARS)))).astype(int)
    opens = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opens, close) + draw.integers(0, 300, BARS), np.minimum(opens, close) - draw.integers(0, 300, BARS)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["ts_ms", "open", "high", "low", "close", "volume"])
        for k in range(BARS):
            prices = (f"{x / 10:.1f}" for x in (opens[k], high[k], low[k], close[k]))
            out.writerow([(T0_NS + k * MINUTE_NS) // 10**6, *prices, 10])
    return path


def written(folder: Path, head: str, rows: Sequence[str]) -> Path:
    path = folder / "signals.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def request_of(settings: Settings, candles: Path, **options: Any) -> Request:
    return Request(settings=settings, data=(candles,), instruments=(NAME,), **options)


class Wishes(Collector):
    """Keeps every decision as it was."""

    def __init__(self) -> None:
        super().__init__(lambda *_: Moments())
        self.said: list[RecordDecision] = []

    def take(self, event: Any, effects: Any, engine: Any) -> None:
        self.said += [e for e in effects if isinstance(e, RecordDecision)]
        super().take(event, effects, engine)


def wishes(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> tuple[Result, list[RecordDecision]]:
    """The run by the event engine, and each of its decisions."""
    collector = Wishes()
    monkeypatch.setattr("mia.backtest.run.prepare.Collector", lambda moments: collector)
    result = execute(prepared, compiled=False)
    monkeypatch.undo()
    return result, collector.said


def fills(result: Result) -> list[tuple[int, ...]]:
    return [(f.ts_recv_ns, f.side, f.price_ticks, f.qty_lots, f.fee_e8) for f in result.gathered.fills]


def as_rows(said: Sequence[RecordDecision]) -> list[str]:
    return [f"{d.ts_ns},{d.signal!r}" for d in said if d.signal == d.signal]


@pytest.mark.parametrize("fill_at", ["next_open", "close"])
def test_the_signals_of_a_rule_give_the_fills_and_the_equity_of_the_rule(
    fill_at: Any, settings: Settings, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"fast_period": 3, "slow_period": 10, "size": 0.5}
    rule, said = wishes(prepare(request_of(settings, candles, strategy="rule:ema_cross", params=params, fill_at=fill_at)), monkeypatch)
    path = written(tmp_path, "ts_ns,signal", as_rows(said))

    outside = execute(prepare(request_of(settings, candles, strategy="rule:signals", signals=path, fill_at=fill_at)))

    assert len(fills(rule)) > 20
    assert fills(outside) == fills(rule)
    assert np.array_equal(outside.gathered.marks.equity_e8, rule.gathered.marks.equity_e8)
    assert outside.id != rule.id


def test_the_signals_of_a_rule_give_its_fills_on_ticks_too(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {"fast_period": 2, "slow_period": 5}
    request = Request(settings=settings, strategy="rule:ema_cross", params=params, duration_s=300.0, timeframe="time:5s")
    rule, said = wishes(prepare(request), monkeypatch)
    path = written(tmp_path, "ts_ns,signal", as_rows(said))

    outside = execute(prepare(msgspec.structs.replace(request, strategy="rule:signals", params={}, signals=path)))

    assert len(fills(rule)) > 4
    assert fills(outside) == fills(rule)


@pytest.mark.parametrize(("late_ns", "bar"), [(0, 20), (1, 21)])
def test_a_signal_is_seen_by_the_close_that_it_is_not_later_than(
    late_ns: int, bar: int, settings: Settings, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar that ends 20 minutes after the first one began is number 19, counted from 0."""
    path = written(tmp_path, "ts_ns,signal", [f"{T0_NS + 20 * MINUTE_NS + late_ns},1"])

    _, said = wishes(prepare(request_of(settings, candles, strategy="rule:signals", signals=path)), monkeypatch)

    first = next(d for d in said if d.signal == 1.0)
    assert first.ts_ns == T0_NS + bar * MINUTE_NS


def test_a_signal_known_before_the_run_holds_in_it(
    settings: Settings, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{T0_NS - 50 * MINUTE_NS},-1,{T0_NS + 10 * MINUTE_NS}"]
    path = written(tmp_path, "ts_ns,signal,valid_until_ns", rows)

    _, said = wishes(prepare(request_of(settings, candles, strategy="rule:signals", signals=path)), monkeypatch)

    assert [d.signal for d in said[:12]] == [-1.0] * 10 + [0.0] * 2


@pytest.mark.parametrize(
    ("age_ns", "until", "closes"),
    [(0, "", 6), (2 * MINUTE_NS, "", 3), (2 * MINUTE_NS, "2024-03-01T00:28:00Z", 9)],  # 5 minutes, since 3 bars of a minute are less
)
def test_a_signal_holds_until_its_own_end_or_for_the_age_that_is_stated(
    age_ns: int, until: str, closes: int, settings: Settings, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "ts,signal,valid_until", [f"2024-03-01T00:20:00Z,0.5,{until}"])
    prepared = prepare(request_of(settings, candles, strategy="rule:signals", signals=path, signal_age_ns=age_ns))

    result, said = wishes(prepared, monkeypatch)

    assert [d.ts_ns for d in said if d.signal == 0.5] == [T0_NS + (20 + k) * MINUTE_NS for k in range(closes)]
    assert {d.signal for d in said} == {0.0, 0.5}
    assert result.gathered.marks.lots[-1, 0] == 0
    assert f"no signal holds at {BARS - closes} of {BARS} closes" in " ".join(result.notes)


def test_without_going_flat_a_stale_signal_leaves_no_decision_and_the_position(
    settings: Settings, candles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = msgspec.structs.replace(settings, execution=msgspec.structs.replace(settings.execution, stop_share=0.9, take_share=0.9))
    path = written(tmp_path, "ts_ns,signal", [f"{T0_NS + 20 * MINUTE_NS},1"])
    request = request_of(wide, candles, strategy="rule:signals", signals=path, params={"flat_when_stale": False})

    result, said = wishes(prepare(request), monkeypatch)

    assert said[0].code == said[-1].code == "feature_missing"
    assert result.gathered.marks.lots[-1, 0] > 0


def test_a_signal_for_another_instrument_of_the_file_is_not_traded(settings: Settings, candles: Path, tmp_path: Path) -> None:
    at = [T0_NS + k * MINUTE_NS for k in (20, 21)]
    path = written(tmp_path, "ts_ns,signal,instrument", [f"{at[0]},1,{NAME}", f"{at[0]},-1,sim:SIMUSD", f"{at[1]},-1,sim:SIMUSD"])

    result = execute(prepare(request_of(settings, candles, strategy="rule:signals", signals=path)))

    assert [f[1] for f in fills(result)] == [1, -1]  # opened long, gone flat when it was over
    assert "1 signals" in " ".join(result.notes)


def test_another_file_or_age_is_another_run(settings: Settings, candles: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "ts_ns,signal", [f"{T0_NS + 20 * MINUTE_NS},1"])
    request = request_of(settings, candles, strategy="rule:signals", signals=path)
    first = execute(prepare(request)).id
    older = execute(prepare(msgspec.structs.replace(request, signal_age_ns=MINUTE_NS))).id
    written(tmp_path, "ts_ns,signal", [f"{T0_NS + 20 * MINUTE_NS},0.9"])

    assert len({first, older, execute(prepare(request)).id}) == 3


AT = "2024-03-01T00:20:00Z"


@pytest.mark.parametrize(
    ("head", "rows", "words"),
    [
        ("ts,signal", [f"{AT},1", "2024-03-01T00:19:00Z,1"], "row 2 .* earlier than that of row 1"),
        ("ts,signal", [f"{AT},1", "2024-03-01T00:21:00Z,1", "2024-03-01T00:21:00Z,0"], "row 3 .* repeats the time of row 2"),
        ("ts,signal", [f"{AT},1", "2024-03-01T00:21:00Z,nan"], "row 2: signal is .*not a finite number"),
        ("ts,signal", [f"{AT},1", "2024-03-01T00:21:00Z,"], "row 2: signal is empty"),
        ("ts,signal", [f"{AT},1", "2024-03-01T00:21:00Z,-1.01"], "row 2 .*signal is -1.01: it must lie in -1 .. 1"),
        ("ts,signal", [f"{AT},1", "2024-03-01T02:21:00+02:00,1"], r"row 2: ts '2024-03-01T02:21:00\+02:00' is not in UTC"),
        ("ts,signal", ["2024-03-01T02:21:00-0530,1"], "row 1: ts .* is not in UTC"),
        ("ts,signal", [f"{AT},1", ",1"], "row 2: ts is missing"),
        ("ts,signal", ["yesterday,1"], "row 1: ts 'yesterday' is not a time"),
        ("ts,signal", ["1709251200,1"], "column 'ts' must hold times"),
        ("ts_ns,signal", [f"{T0_NS},1", "1709251200000,1"], "row 2: ts_ns is 1709251200000: these are no nanoseconds"),
        ("ts_ns,signal", ["1.5,1"], "whole nanoseconds"),
        ("ts,signal,valid_until", [f"{AT},1,2024-03-01T00:10:00Z"], "row 1 .*valid_until .* is before ts"),
        ("ts,signal,valid_until", [f"{AT},1,2024-03-01T01:10:00+01:00"], "row 1: valid_until .* is not in UTC"),
        ("ts,signal,instrument", [f"{AT},1,{NAME}", f"{AT},1,BTCUSDT"], "row 2 .*write venue:symbol"),
        ("when,signal", [f"{AT},1"], r"column 'ts' \(or 'ts_ns'\) is missing"),
        ("ts,wish", [f"{AT},1"], "column 'signal' is missing"),
        ("ts,signal", [], "holds no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_named_with_its_row(
    head: str, rows: list[str], words: str, settings: Settings, candles: Path, tmp_path: Path
) -> None:
    path = written(tmp_path, head, rows)

    with pytest.raises(DataError, match=words):
        prepare(request_of(settings, candles, strategy="rule:signals", signals=path))


def test_local_times_need_their_zone_and_one_that_happens_twice_is_named(instrument: Instrument, tmp_path: Path) -> None:
    path = written(tmp_path, "ts,signal", ["2024-11-03 00:30:00,1", "2024-11-03 01:30:00,1"])

    with pytest.raises(DataError, match=r"row 2: ts 2024-11-03 01:30:00 is twice or never in America/Chicago"):
        read_signals(path, [instrument], age_max_ns=1, tz="America/Chicago")
    assert read_signals(path, [instrument], age_max_ns=1, tz="America/Caracas").ts_ns[0] == 1_730_608_200 * 10**9  # 04:30 UTC
    assert read_signals(path, [instrument], age_max_ns=1).ts_ns[0] == 1_730_593_800 * 10**9  # 00:30 UTC


@pytest.fixture
def instrument(settings: Settings) -> Instrument:
    return next(i for i in settings.instruments if f"{i.venue}:{i.symbol}" == NAME)


@pytest.mark.parametrize(
    ("rows", "words"),
    [(["2023-03-01T00:20:00Z,1"], "its signals are of 2023.* the run is not"), (["2024-04-01T00:20:00Z,1"], "its signals are of 2024-04")],
)
def test_signals_of_another_time_are_refused(rows: list[str], words: str, settings: Settings, candles: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "ts,signal", rows)

    with pytest.raises(ConfigError, match=words):
        prepare(request_of(settings, candles, strategy="rule:signals", signals=path))


def test_the_rule_and_the_file_need_each_other(settings: Settings, candles: Path, tmp_path: Path) -> None:
    path = written(tmp_path, "ts,signal", [f"{AT},1"])

    with pytest.raises(ConfigError, match="--signals FILE"):
        prepare(request_of(settings, candles, strategy="rule:signals"))
    with pytest.raises(ConfigError, match="--signals FILE"):
        prepare(request_of(settings, candles, strategy="rule:flat", signals=path))


@pytest.mark.parametrize("seed", range(8))
def test_the_compiled_path_trades_signals_as_the_event_engine_does(seed: int, settings: Settings, candles: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    count = int(draw.integers(3, 150))
    known = np.sort(draw.choice(np.arange(-20 * 60, BARS * 60), count, replace=False))
    values = draw.choice([1.0, -1.0, 0.0, 0.123456789, -0.6], count)
    ends = [f"{T0_NS + int(k) * 10**9 + int(draw.integers(0, 10**12))}" if draw.random() < 0.7 else "" for k in known]
    names = draw.choice([NAME, NAME, "sim:SIMUSD"], count)
    rows = [f"{T0_NS + int(k) * 10**9},{v},{end},{name}" for k, v, end, name in zip(known, values, ends, names, strict=True)]
    path = written(tmp_path, "ts_ns,signal,valid_until_ns,instrument", rows)
    changes = {"from_ns": T0_NS + 30 * MINUTE_NS, "warm_up": 25} if seed % 2 else {}
    request = request_of(settings, candles, strategy="rule:signals", signals=path, signal_age_ns=30 * MINUTE_NS, **changes)
    prepared = prepare(request)

    assert fused.gather(prepared.spec, prepared.bars[0], prepared.signals) is not None
    one, other = (execute(prepared, compiled=compiled) for compiled in (True, False))

    assert fills(one) == fills(other)
    assert one.facts() == other.facts()
    for name in ("orders", "decisions", "trades", "moments"):
        assert getattr(one.gathered, name) == getattr(other.gathered, name), name
    assert all(np.array_equal(a, b) for a, b in zip(one.gathered.marks, other.gathered.marks, strict=True))


def test_a_run_that_decides_nothing_without_a_signal_asks_the_event_engine(settings: Settings, candles: Path, tmp_path: Path) -> None:
    rows = [f"{T0_NS + k * MINUTE_NS},1" for k in range(BARS + 1)]
    made = []
    for some in (rows, rows[:50]):
        path = written(tmp_path, "ts_ns,signal", some)
        params = {"flat_when_stale": False}
        prepared = prepare(request_of(settings, candles, strategy="rule:signals", params=params, signals=path, signal_age_ns=MINUTE_NS))
        made.append(fused.gather(prepared.spec, prepared.bars[0], prepared.signals) is not None)
        one, other = (execute(prepared, compiled=compiled) for compiled in (True, False))
        assert one.facts() == other.facts()

    assert made == [True, False]
