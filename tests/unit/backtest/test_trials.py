"""The trial registry: what counts, what counts once, and what a killed process leaves behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from mia.backtest.trials import DataRef, Registry, Score, Trial, canonical
from mia.domain.errors import ConfigError, DataError

ROOT: Final = Path(__file__).resolve().parents[3]
FILE: Final = DataRef("btc.csv", "aa" * 32)


def trial(fast: float = 10, *, family: str = "ema_cross", data: tuple[DataRef, ...] = (FILE,), span: tuple[int, int] = (0, 100)) -> Trial:
    return Trial(family=family, params={"fast": fast, "slow": 50}, data=data, first_ns=span[0], last_ns=span[1], costs_sha256="c")


def score(sharpe: float | None, per_year: float = 252.0) -> Score:
    return Score(metric="sharpe", value=sharpe, sharpe=sharpe, periods=500, periods_per_year=per_year, skew=-0.5, kurtosis=4.0)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "trials.db")


def test_a_trial_that_was_opened_and_never_closed_counts(registry: Registry) -> None:
    registry.open([trial()], "user")

    assert registry.count() == (1, 1, 1, 0, None)


def test_the_same_configuration_again_is_one_trial_with_two_evaluations(registry: Registry) -> None:
    first, second = registry.open([trial(), trial()], "user")
    registry.close([(first, score(0.1))])
    registry.close([(second, score(0.2))])

    (row,) = registry.trials()
    assert (row.evaluations, row.score) == (2, score(0.2))
    assert registry.count().trials == 1


def test_whole_floats_and_names_of_files_make_no_other_trial() -> None:
    renamed = (DataRef("copy of btc.csv", FILE.sha256),)

    assert trial(10).key == trial(10.0).key == trial(10, data=renamed).key


@pytest.mark.parametrize(
    "other",
    [trial(11), trial(family="rsi"), trial(data=(DataRef("btc.csv", "bb" * 32),)), trial(span=(0, 101)), trial(span=(1, 100))],
)
def test_parameters_family_data_and_span_make_another_trial(other: Trial) -> None:
    assert other.key != trial().key


def test_true_is_not_the_number_one() -> None:
    assert canonical({"a": True}) != canonical({"a": 1})


def test_a_parameter_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="trial parameters"):
        _ = trial(math.nan).key


def test_counts_are_of_the_family_the_data_and_the_span_that_were_asked_for(registry: Registry) -> None:
    eth = (DataRef("eth.csv", "ee" * 32),)
    registry.open([trial(1), trial(2), trial(1, family="rsi"), trial(1, data=eth), trial(1, span=(200, 300))], "strategist")

    assert registry.count().trials == 5
    assert registry.count("ema_cross").trials == 4
    assert registry.count("ema_cross", [FILE.sha256]).trials == 3
    assert registry.count(data=[FILE.sha256, eth[0].sha256], span=(100, 199)).trials == 4
    assert registry.count(data=["00" * 32]).trials == 0


def test_variance_of_sharpe_ratios_is_annual_so_that_timeframes_can_be_mixed(registry: Registry) -> None:
    tickets = registry.open([trial(k) for k in range(4)], "user")
    registry.close(zip(tickets, [score(0.1, 100.0), score(0.02, 2500.0), score(None), score(math.inf)], strict=True))

    found = registry.count()
    assert (found.trials, found.scored) == (4, 2)
    assert found.variance_per_year == pytest.approx(0.0, abs=1e-12)  # both are 1.0 a year

    registry.close([(registry.open([trial(0)], "user")[0], score(0.3, 100.0))])  # 3.0 a year now
    assert registry.count().variance_per_year == pytest.approx(2.0)
    assert registry.count().variance(100.0) == pytest.approx(0.02)


def test_an_evaluation_is_closed_once(registry: Registry) -> None:
    (ticket,) = registry.open([trial()], "user")
    registry.close([(ticket, score(0.1))])

    for wrong in (ticket, ticket + 1):
        with pytest.raises(DataError, match="unknown or closed already"):
            registry.close([(wrong, score(0.9))])
    assert registry.trials()[0].score == score(0.1)


def test_one_wrong_ticket_leaves_the_others_of_its_batch_unclosed(registry: Registry) -> None:
    (ticket,) = registry.open([trial()], "user")

    with pytest.raises(DataError):
        registry.close([(ticket, score(0.1)), (99, score(0.2))])

    assert registry.count().unclosed == 1


def test_an_exception_in_the_evaluation_leaves_the_trial_counted(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.counted(trial(), "user"):
        _ = 1 / 0
    with registry.counted(trial(2), "user") as scores:
        scores.append(score(0.5))

    assert registry.count()[:4] == (2, 2, 1, 1)


def test_scores_of_closed_trials_are_known_to_a_search_that_goes_on(registry: Registry) -> None:
    done, _ = registry.open([trial(1), trial(2)], "user")
    registry.close([(done, score(0.1))])

    assert registry.scores([trial(1).key, trial(2).key, trial(3).key]) == {trial(1).key: score(0.1)}


def test_a_trial_is_shown_by_the_first_digits_of_its_key(registry: Registry) -> None:
    registry.open([trial(1), trial(2)], "user")

    row, evaluations = registry.show(trial(2).key[:10])

    assert row.params == {"fast": 2, "slow": 50}
    assert [e["by"] for e in evaluations] == ["user"]
    with pytest.raises(DataError, match="no such trial"):
        registry.show("zz")
    with pytest.raises(DataError, match="more than one"):
        registry.show("")


def test_a_damaged_registry_is_named_and_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_bytes(b"no database at all" * 1000)

    with pytest.raises(DataError, match=r"trials\.db: damaged"):
        Registry(path)
    assert path.read_bytes().startswith(b"no database")


# Writes trial after trial, and a line into its own file once one is known to be open, once it is known to be closed.
_WRITER: Final = """
import os, sys
from pathlib import Path
from mia.backtest.trials import DataRef, Registry, Score, Trial
path, log, first = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
registry = Registry(path)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for k in range(first, first + 100_000, 3):
    batch = [Trial(family="f", params={"k": i // 2}, data=(DataRef("x", "xx"),), first_ns=0, last_ns=1) for i in range(k, k + 3)]
    tickets = registry.open(batch, "user")
    os.write(out, "".join(f"open {i // 2}\\n" for i in range(k, k + 3)).encode())
    registry.close([(t, Score(metric="m", value=float(t))) for t in tickets])
    os.write(out, "".join(f"closed {i // 2}\\n" for i in range(k, k + 3)).encode())
"""


def test_killed_writers_lose_nothing_that_they_were_told_is_there_and_count_nothing_twice(tmp_path: Path) -> None:
    """Four processes at once on overlapping configurations, ended by kill -9 in the middle, started again, killed again."""
    path = tmp_path / "trials.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "daemon")])}
    logs = []
    for attempt in range(2):
        running = []
        for number in range(4):
            logs.append(tmp_path / f"log{attempt}{number}")
            command = [sys.executable, "-c", _WRITER, str(path), str(logs[-1]), str(number * 10)]
            running.append(subprocess.Popen(command, env=environment))
        deadline = time.monotonic() + 60
        while not all(log.exists() and log.stat().st_size > 200 for log in logs) and time.monotonic() < deadline:
            time.sleep(0.01)
        for process in running:
            process.send_signal(signal.SIGKILL)
        for process in running:
            assert process.wait() == -signal.SIGKILL

    told = [line.split() for log in logs for line in log.read_text().splitlines()]
    opened = [int(k) for word, k in told if word == "open"]
    closed = [int(k) for word, k in told if word == "closed"]
    assert len(opened) > len(set(opened)) > 10  # processes met on the same configurations
    with Registry(path) as registry:
        (ok,) = next(iter(registry.connection.execute("PRAGMA integrity_check")))
        rows = {row.params["k"]: row for row in registry.trials()}
        count = registry.count()
    assert ok == "ok"
    assert set(opened) <= rows.keys()
    assert count.trials == len(rows)
    assert count.evaluations == sum(row.evaluations for row in rows.values())
    assert len(opened) <= count.evaluations <= len(opened) + 3 * len(logs)  # a batch each may be there untold
    for k, row in rows.items():
        assert opened.count(k) <= row.evaluations
    assert all(rows[k].score is not None for k in closed)
