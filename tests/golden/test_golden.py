"""Every classic strategy on every bar set comes to what the golden file says, else `make golden REASON='...'` says why not."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from mia.backtest.readers import is_candle_file
from mia.policy.rules import RULES
from tests.golden.lines import FILE, KEYS, REASONS, Line, differences, lines_of, parse, render, text_digest
from tests.golden.sets import LEFT_OUT, SETS, BarSet

RECORDED = [s for s in SETS if s.files]
SIMULATED = [s for s in SETS if not s.files]


@pytest.fixture(scope="module")
def golden() -> dict[tuple[str, str], Line]:
    return parse(FILE.read_text(encoding="utf-8"))


def slice_of(bar_set: BarSet) -> list[str]:
    """A third of the strategies, another third for each set: the quick tests' share."""
    return [rule for rule in RULES if zlib.crc32(f"{bar_set.name} {rule}".encode()) % 3 == 0]


def compare(golden: dict[tuple[str, str], Line], bar_set: BarSet, rules: list[str], folder: Path) -> None:
    came = {line.key: line for line in lines_of(bar_set, rules, folder)}
    expected = {key: golden[key] for key in came if key in golden}
    said = differences(expected, came)
    assert not said, "\n".join([*said, "if that is meant: make golden REASON='why results change', and look at the diff"])


@pytest.mark.data
@pytest.mark.parametrize("bar_set", RECORDED, ids=lambda s: s.name)
def test_a_third_of_the_strategies_come_to_what_is_expected_on_a_recorded_market(
    golden: dict[tuple[str, str], Line], bar_set: BarSet, market_data: Path
) -> None:
    compare(golden, bar_set, slice_of(bar_set), market_data)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("bar_set", RECORDED, ids=lambda s: s.name)
def test_all_strategies_come_to_what_is_expected_on_a_recorded_market(
    golden: dict[tuple[str, str], Line], bar_set: BarSet, market_data: Path
) -> None:
    compare(golden, bar_set, list(RULES), market_data)


@pytest.mark.parametrize("bar_set", SIMULATED, ids=lambda s: s.name)
def test_a_third_of_the_strategies_come_to_what_is_expected_on_the_simulated_market(
    golden: dict[tuple[str, str], Line], bar_set: BarSet, tmp_path: Path
) -> None:
    compare(golden, bar_set, slice_of(bar_set), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("bar_set", SIMULATED, ids=lambda s: s.name)
def test_all_strategies_come_to_what_is_expected_on_the_simulated_market(
    golden: dict[tuple[str, str], Line], bar_set: BarSet, tmp_path: Path
) -> None:
    compare(golden, bar_set, list(RULES), tmp_path)


def test_the_file_has_a_line_for_each_strategy_on_each_bar_set_and_no_other(golden: dict[tuple[str, str], Line]) -> None:
    missing = [" ".join(key) for key in KEYS if key not in golden]
    too_many = [" ".join(key) for key in golden if key not in KEYS]

    assert not missing, f"not in {FILE.name}: {', '.join(missing)}: make golden REASON='...'"
    assert not too_many, f"in {FILE.name}, but no bar set and strategy: {', '.join(too_many)}: make golden REASON='...'"


def test_the_file_is_sorted_and_written_as_the_command_writes_it(golden: dict[tuple[str, str], Line]) -> None:
    assert FILE.read_text(encoding="utf-8") == render(golden.values())


def test_the_last_reason_is_that_of_the_file_as_it_is() -> None:
    last = REASONS.read_text(encoding="utf-8").splitlines()[-1]

    assert last.startswith(f"- {text_digest(FILE.read_text(encoding='utf-8'))} "), "changed without a reason: make golden REASON='...'"


def test_each_set_is_traded_by_all_strategies_but_those_that_cannot(golden: dict[tuple[str, str], Line]) -> None:
    """A line of zeros guards nothing: each of them has its reason here."""
    idle = {key for key, line in golden.items() if line.orders == "0"}

    never = {(s.name, "flat") for s in SETS}
    one_bar_a_day = {("goog_1d", "opening_range"), ("goog_1d", "vwap_reversion")}  # the session's first bar is its last
    begins_within_the_day = {("simulated", "opening_range")}  # whose open it did not see
    assert idle == never | one_bar_a_day | begins_within_the_day


@pytest.mark.data
def test_each_candle_file_of_the_recordings_is_run_or_left_out_with_a_reason(market_data: Path) -> None:
    present = {str(p.relative_to(market_data)) for p in market_data.rglob("*") if p.is_file() and is_candle_file(p)}
    used = {file for s in SETS for file in s.files}

    assert present - used - LEFT_OUT.keys() == set()
    assert not used & LEFT_OUT.keys()


def test_runs_read_no_settings_of_the_user_and_leave_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, home = tmp_path / "config" / "mia", tmp_path / "home"
    config.mkdir(parents=True)
    home.mkdir()
    for name in ("miad.toml", "trade_windows.toml", "macro_events.csv"):
        (config / name).write_text("not what anybody can read")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config.parent))
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setenv("MIA__RISK__DRAWDOWN_MAX", "0.0001")

    (line,) = lines_of(SIMULATED[0]._replace(duration_s=5.0), ["flat"], tmp_path)

    assert (line.orders, line.net) == ("0", "0.00")
    assert list(home.iterdir()) == []


def test_a_difference_names_the_line_and_the_old_and_the_new_values() -> None:
    old = Line("es_1m", "macd", "10", "4", "5.00", "1.00", "0.00", "4.00", "1.000", "0.01000", "n/a", "00ff")
    new = old._replace(net="3.00", orders_sha256="11aa")
    gone, extra = old._replace(strategy="flat"), old._replace(strategy="random")

    said = differences({old.key: old, gone.key: gone}, {new.key: new, extra.key: extra})

    assert said[0] == "es_1m flat: is in the file, but there is no such bar set or strategy"
    assert said[1] == "es_1m macd: net 4.00 -> 3.00, orders_sha256 00ff -> 11aa"
    assert said[2].startswith("es_1m random: is missing; it came to orders 10, trades 4, ")


def test_a_line_that_is_there_twice_is_named() -> None:
    line = Line("es_1m", "macd", *["0"] * 10)

    with pytest.raises(ValueError, match="line 3: es_1m macd is there twice"):
        parse(render([line, line]))
