"""Runs are counted before they score, say how often their data was asked, and stop at sealed spans."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pytest

from mia.backtest.readers import file_sha256, read_for_seal
from mia.backtest.recordings import open_recording
from mia.backtest.run import counting
from mia.backtest.run.counting import deflating
from mia.backtest.trials import Count, Registry
from mia.backtest.validation.seal import SealLog
from mia.cli.main import main
from mia.domain.errors import SealedError
from mia.domain.instruments import InstrumentId
from mia.train.settings import recorded_instruments

HOUR: Final = 3_600_000_000_000
DAY: Final = 24 * HOUR
START: Final = 1_700_006_400_000_000_000  # 2023-11-15 00:00 UTC
RUN: Final = ("backtest", "run", "--strategy", "ema_cross", "--fee", "0.0005", "--json")
Verb = Callable[..., Any]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Ten days of hours."""
    rng = np.random.default_rng(1)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0, 0.005, 240))), 2)
    opens = np.concatenate([[100.0], close[:-1]])
    path = tmp_path / "hours.csv"
    columns = {"open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close), "close": close, "volume": np.ones(240)}
    pl.DataFrame({"ts_ms": (START + np.arange(240) * HOUR) // 1_000_000, **columns}).write_csv(path)
    return path


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Verb:
    """(facts, or the exit code and what was said) of a run with more options."""

    def verb(*options: str) -> Any:
        code = main([*RUN, "--data", str(file), *options])
        out, err = capsys.readouterr()
        return (code, err) if code else json.loads(out)[0]

    return verb


def seal(file: Path, first_day: int, stop_day: int) -> str:
    marks = read_for_seal([file]).reading
    return SealLog().seal(START + first_day * DAY, START + stop_day * DAY, files={file_sha256(file): file.name}, bars=marks).id


def test_each_configuration_counts_once_and_each_look_is_told(run: Verb, file: Path) -> None:
    told = [run(*more)["trials"] for more in ((), ("--param", "fast_period=5"), (), ("--param", "fast_period=20"))]

    assert [(t["trials"], t["evaluations"]) for t in told] == [(1, 1), (2, 2), (2, 3), (2, 4)]  # 20 is the default
    with Registry() as registry:
        newest, other = registry.trials("ema_cross", [file_sha256(file)])
    assert (newest.by, newest.evaluations, newest.params["fast_period"], newest.params["bars"]) == (("user",), 3, 20, "time:1h")
    assert (newest.first_ns, newest.last_ns) == (START, START + 10 * DAY)
    assert other.params["fast_period"] == 5


@pytest.mark.parametrize("more", [("--cash", "5000"), ("--half-spread-ticks", "3"), ("--fill", "close"), ("--to", "2023-11-20")])
def test_other_money_costs_or_spans_are_other_trials(run: Verb, more: tuple[str, ...]) -> None:
    run()

    assert run(*more)["trials"]["trials"] == 2


def test_the_score_is_the_sharpe_ratio_that_the_summary_states(run: Verb) -> None:
    facts = run()

    equity = pl.read_parquet(Path(facts["folder"]) / "equity.parquet")["equity_e8"].to_list()
    returns = [b / a - 1.0 for a, b in itertools.pairwise(equity)]  # ten days are measured in hours
    mean = sum(returns) / len(returns)
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / (len(returns) - 1))
    with Registry() as registry:
        score = registry.trials()[0].score
    assert score is not None
    assert (score.metric, score.periods, len(equity)) == ("sharpe", 240, 241)
    assert score.sharpe == pytest.approx(mean / spread)
    assert score.periods_per_year == pytest.approx(365.25 * 24, rel=1e-3)
    (stated,) = [f["value"] for f in facts["summary"]["figures"] if f["name"] == "sharpe"]
    assert score.value == stated


def test_the_deflated_figures_read_the_trials_that_were_counted(run: Verb) -> None:
    def figure(facts: Any, name: str) -> Any:
        return next(f["value"] for f in facts["summary"]["figures"] if f["name"] == name)

    first = run()
    second = run("--param", "fast_period=5")

    sharpes = [figure(facts, "sharpe") for facts in (first, second)]
    assert [figure(facts, "trials") for facts in (first, second)] == [1, 2]
    assert second["trials"]["variance_per_year"] == pytest.approx((sharpes[0] - sharpes[1]) ** 2 / 2)
    assert figure(first, "expected_max_sharpe") == 0.0
    assert figure(second, "expected_max_sharpe") > 0.0


@pytest.mark.parametrize(
    ("count", "read"),
    [
        (Count(1, 3, 0, 1, None), (1, 0.0)),
        (Count(1, 1, 0, 0, None), (1, 0.0)),
        (Count(5, 5, 4, 1, None), (5, None)),
        (Count(5, 5, 0, 5, 2.0), (5, 2.0)),
    ],
)
def test_trials_without_a_variance_yet_deflate_nothing_silently(count: Count, read: tuple[int, float | None]) -> None:
    trials = deflating(count)

    assert (trials.count, trials.variance) == read


def test_nothing_is_evaluated_when_the_registry_cannot_be_written(run: Verb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[object] = []
    monkeypatch.setattr(counting, "execute", lambda *a, **k: evaluated.append(a))
    (tmp_path / "home" / "mia" / "trials.db").mkdir(parents=True)  # in the way

    code, said = run()

    assert (code, evaluated) == (1, [])
    assert "trials.db: cannot be opened for writing" in said


def test_a_run_that_dies_was_counted(run: Verb, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object, **__: object) -> None:
        raise SealedError("in the middle")

    monkeypatch.setattr(counting, "execute", dies)

    assert run()[0] == 6
    with Registry() as registry:
        assert registry.count("ema_cross")[:3] == (1, 1, 1)


def test_a_sealed_tail_is_refused_left_alone_before_it_or_left_out(run: Verb, file: Path) -> None:
    made = seal(file, 7, 10)

    code, said = run()
    before, around = run("--to", "2023-11-22"), run("--exclude-sealed")

    assert code == 6
    assert made in said
    for facts in (before, around):
        assert facts["data"][0]["last_ns"] == START + 7 * DAY
        assert any(f"holdout {made}" in note and "no row of it" in note for note in facts["notes"])
    assert any("72 rows left out" in note for note in around["notes"])
    with Registry() as registry:
        assert registry.count("ema_cross").trials == 1  # the same rows; what was refused has asked nothing


def test_rows_that_only_warm_up_are_read_too_and_no_more_than_those(run: Verb, file: Path) -> None:
    seal(file, 0, 3)

    code, said = run("--from", "2023-11-19", "--warm-up", "40")  # day 4: 40 hours before it lie in day 2
    read = run("--from", "2023-11-19", "--warm-up", "24")
    longer = run("--from", "2023-11-20", "--warm-up", "5", "--timeframe", "4h")

    assert code == 6
    assert "16 rows" in said
    assert read["data"][0]["rows"] == 24 + 6 * 24
    assert longer["data"][0]["rows"] == 5 + 5 * 6


def test_an_opened_holdout_is_told_in_run_json_and_the_bytes_stay_the_same(run: Verb, file: Path) -> None:
    SealLog().unseal(seal(file, 7, 10), "final test")

    first = run()
    kept = (Path(first["folder"]) / "run.json").read_bytes()
    again = run()

    assert any("final test; 72 rows of this data" in note for note in first["notes"])
    assert (Path(again["folder"]) / "run.json").read_bytes() == kept


def test_looks_through_a_copy_that_mia_data_made_count(run: Verb, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    assert main(["data", "resample", str(file), "--to", "4h", "--out", str(tmp_path / "longer.parquet")]) == 0
    capsys.readouterr()

    assert main([*RUN, "--data", str(tmp_path / "longer.parquet")]) == 0

    assert json.loads(capsys.readouterr().out)[0]["trials"]["trials"] == 2


@pytest.mark.data
def test_a_recording_before_its_sealed_frames_can_be_run(market_data: Path) -> None:
    path = market_data / "binance_spot_btcusdt_ws_20240808.gz"
    numbered = [(InstrumentId(k), instrument) for k, instrument in enumerate(recorded_instruments())]
    whole = [ts for ts, _ in open_recording([path], numbered).frames()]
    at = whole[2_000]
    SealLog().seal(at, whole[-1] + 1, instruments=["BTCUSDT"])

    with pytest.raises(SealedError):
        list(open_recording([path], numbered).frames())
    frames = list(open_recording([path], numbered, to_ns=at - 1).frames())

    assert [ts for ts, _ in frames] == [ts for ts in whole if ts < at]
