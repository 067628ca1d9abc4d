"""What a fit enters into the trial registry: before it scores, and with what came out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia.backtest.readers import file_sha256
from mia.backtest.trials import Registry
from mia.train.counting import FAMILY, close_fit, open_fit
from mia.train.evaluate import Result
from mia.train.known import Known
from mia.train.parts import Parts
from mia.train.settings import FitSettings, perpetual
from mia.train.tapes import Course, Stretch

SHARES = (0.0, 0.5)
CHOICES = [(0.0, 1.5, 0.1, 20.0), (0.4, -2.5, 0.1, 12.0)]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


def stretch(name: str, first_ns: int) -> Stretch:
    ts, none = np.array([first_ns, first_ns + 10]), np.zeros(2, np.int64)
    return Stretch(
        name=name, instrument=perpetual(), columns=(), ts_ns=ts, features=np.zeros((2, 0)), bid_ticks=none, ask_ticks=none,
        labels=none.astype(np.int8), bar_ts_ns=ts, bar_inputs=np.zeros((2, 0)), bar_labels=none.astype(np.int8),
        course=Course(none, none, none, np.zeros(2)),
    )  # fmt: skip


def parts() -> Parts:
    return Parts(
        "time:1s", "quote", 100, [stretch("sim seed 1", 0)], [stretch("sim seed 2", 100)], [stretch("sim seed 3", 200)], [],
        None,  # type: ignore[arg-type]  # the filter is no part of what is counted
        Known(),
    )  # fmt: skip


def result(bps: float) -> Result:
    zeros = dict.fromkeys(("fees_bps", "fills_per_hour", "turnover_per_hour", "time_in_market", "drawdown_bps"), 0.0)
    return Result(tape="t", return_bps=bps, return_bps_per_hour=2 * bps, openings=0, refused=0, **zeros)


def test_a_fit_that_dies_before_it_scores_has_counted_itself_and_each_width_of_its_gate() -> None:
    open_fit(FitSettings(), [], None, parts(), SHARES)

    with Registry() as registry:
        assert registry.count(FAMILY)[:4] == (3, 3, 3, 0)


def test_a_fit_s_score_is_that_of_its_test_markets_and_the_gate_s_that_of_validation() -> None:
    tickets = open_fit(FitSettings(), [], None, parts(), SHARES)
    close_fit(tickets, CHOICES, [result(30.0), result(-10.0), result(10.0)])

    with Registry() as registry:
        rows = {row.params.get("gate_share", "fit"): row for row in registry.trials(FAMILY)}
    score = rows["fit"].score
    assert score is not None
    assert score.value == pytest.approx(20.0)
    assert score.sharpe == pytest.approx(10.0 / 20.0)  # mean 10, sample deviation 20 bps
    assert score.periods == 3
    assert score.periods_per_year == pytest.approx(365.25 * 24 * 2)  # a market lasts half an hour
    assert score.skew == pytest.approx(0.0, abs=1e-12)
    assert (rows["fit"].first_ns, rows["fit"].by) == (200, ("trainer",))
    assert [rows[share].score.value for share in SHARES] == [1.5, -2.5]  # type: ignore[union-attr]


def test_the_same_fit_again_is_the_same_trial_and_another_seed_another(tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text("x")
    for settings in (FitSettings(), FitSettings(workers=1), FitSettings(seed=2)):
        open_fit(settings, [file], None, parts(), ())

    with Registry() as registry:
        assert registry.count(FAMILY, [file_sha256(file)])[:2] == (2, 3)


def test_one_market_gives_no_sharpe_ratio() -> None:
    close_fit(open_fit(FitSettings(), [], None, parts(), ()), (), [result(30.0)])

    with Registry() as registry:
        (row,) = registry.trials()
    assert row.score is not None
    assert row.score.sharpe is None
