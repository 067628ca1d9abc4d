"""`lookahead` lets honest runs pass and catches planted cheats, with the column that they cheat with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mia.backtest.leaks.lookahead import cuts_of, lookahead
from mia.backtest.leaks.poison import other_rows, poisoned
from mia.backtest.leaks.strategies import Around
from mia.backtest.run import fused
from mia.backtest.run.prepare import Prepared, Request, prepare
from mia.domain.errors import DataError
from mia.domain.events import BookDelta, BookSnapshot, Quote, Trade
from mia.features import batch
from mia.policy.rules import make_rule
from mia.policy.strategy import Strategy, Target
from mia.settings import load_settings
from mia.shipped import config_file

Make = Callable[..., Prepared]
FAST = {"fast_period": 3, "slow_period": 8}


def walk(n: int = 600, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(0.0, 0.002, n)


class Cheat(Around):
    """Knows the history that it trades: `see` gives what it puts in its first column, by the number of the bar."""

    def __init__(self, prepared: Prepared, inner: Strategy, see: Callable[[Any, int], float]) -> None:
        super().__init__(inner)
        history = prepared.bars[0]
        self._close = history.rows[:, 3]
        self._number = {int(ns): i for i, ns in enumerate(history.close_ns)}
        self._see = see

    def evaluate(self, obs: memoryview, regime_probs: Sequence[float]) -> Target:
        obs[0] = self._see(self._close, self._number[self.now_ns])
        return self.inner.evaluate(obs, regime_probs)


def next_return(close: Any, i: int) -> float:
    return float(np.log(close[min(i + 1, len(close) - 1)] / close[i]))


def whole_span(close: Any, i: int) -> float:
    return float((close[i] - close.mean()) / close.std())


@pytest.mark.parametrize("strategy", ["ema_cross", "donchian", "rsi_reversion", "macd"])
def test_a_rule_knows_nothing_of_the_future(make: Make, strategy: str) -> None:
    found = lookahead(make(walk(), strategy), 4, 1)

    assert found.differences == []
    assert min(found.decisions, found.orders, found.fills, found.observations) > 10


def test_a_column_of_the_next_bar_is_caught_and_named(make: Make) -> None:
    prepared = make(walk(), "ema_cross", FAST)
    name = make_rule("ema_cross", FAST, trigger="bar", min_interval_ms=0, bar="time:1m").columns[0]

    found = lookahead(prepared, 3, 1, plant=lambda p, s: Cheat(p, s, next_return))  # type: ignore[arg-type,return-value]

    assert len(found.differences) == 3
    for difference in found.differences:
        assert difference.ts_ns == difference.cut_ns  # the first decision that is one bar from another future
        assert [(c.column, c.ts_ns) for c in difference.columns] == [(name, difference.cut_ns)]


def test_a_column_normalised_over_the_whole_span_is_caught_at_its_first_row(make: Make) -> None:
    found = lookahead(make(walk(), "ema_cross", FAST), 3, 1, plant=lambda p, s: Cheat(p, s, whole_span))  # type: ignore[arg-type,return-value]

    assert len(found.differences) == 3
    firsts = {difference.columns[0].ts_ns for difference in found.differences}
    assert len(firsts) == 1  # every row knows the end, so the first one does
    assert firsts.pop() < min(found.cuts_ns)


def test_the_compiled_path_is_looked_at_as_well(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fused.signals_of

    def shifted(*arguments: Any) -> Any:
        signals = honest(*arguments)
        return None if signals is None else np.concatenate([signals[1:], signals[-1:]])

    monkeypatch.setattr(fused, "signals_of", shifted)

    found = lookahead(make(walk(), "ema_cross", FAST), 8, 1)

    assert found.differences  # where the signal changes at the cut
    assert all(difference.columns == [] for difference in found.differences)


def test_a_feature_that_is_computed_with_hindsight_is_caught(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = batch.compute_bars

    def early(*arguments: Any, **names: Any) -> Any:
        ts, matrix = honest(*arguments, **names)
        return ts, np.concatenate([matrix[1:], matrix[-1:]])

    monkeypatch.setattr(batch, "compute_bars", early)

    assert lookahead(make(walk(), "ema_cross", FAST), 8, 1).differences


def test_the_simulated_market_is_poisoned_in_every_event_and_rules_do_not_mind() -> None:
    settings = load_settings(config_file("miad.toml"), environ={}).settings
    request = Request(settings=settings, strategy="rule:ema_cross", params=FAST, timeframe="time:1s", duration_s=20.0)
    prepared = prepare(request)
    cut = cuts_of(prepared, 1)[0]

    assert prepared.events is not None
    other = poisoned(prepared, cut, 1).events
    assert other is not None
    pairs = list(zip(prepared.events.events(), other.events(), strict=True))
    found = lookahead(prepared, 1, 1)

    assert all(a == b for a, b in pairs if a.ts_recv_ns <= cut)
    changed = [(a, b) for a, b in pairs if a.ts_recv_ns > cut and isinstance(a, Quote | Trade | BookDelta | BookSnapshot)]
    assert len(changed) > 500
    assert all(a != b and a.ts_recv_ns == b.ts_recv_ns for a, b in changed)
    assert found.differences == []
    assert found.decisions > 0


def test_the_same_seed_is_the_same_other_future(make: Make) -> None:
    prepared = make(walk())
    cut = cuts_of(prepared, 1)[0]

    rows = [poisoned(prepared, cut, seed).bars[0].rows for seed in (1, 1, 2)]

    kept = int(np.searchsorted(prepared.bars[0].close_ns, cut, side="right"))
    assert (rows[0] == rows[1]).all()
    assert (rows[0][:kept] == prepared.bars[0].rows[:kept]).all()
    assert (rows[0][kept:, :5] != prepared.bars[0].rows[kept:, :5]).any(axis=1).all()
    assert (rows[0][kept:] != rows[2][kept:]).any()


def test_other_calendar_rows_are_those_after_the_time_alone() -> None:
    head = "start_time,type,impact,minutes_before,minutes_after,source,valid_until\n"
    early = "2026-01-28T19:00:00Z,fomc,1.0,30,60,x,2026-01-29T19:00:00Z\n"
    late = "2026-03-18T18:00:00Z,fomc,1.0,30,60,x,2026-03-19T18:00:00Z\n"

    other = other_rows(head + early + late, 1_772_000_000_000_000_000)  # 2026-02-25

    assert other == head + early + "2026-03-18T21:00:00Z,fomc,0.0,30,60,x,2026-03-19T21:00:00Z\n"


def test_a_history_too_short_to_be_cut_is_an_error(make: Make) -> None:
    prepared = make(walk(1))

    with pytest.raises(DataError, match="too short"):
        cuts_of(prepared, 3)
