"""Settings: what is refused and how it is named, which source wins, and that every value knows where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from mia.assemble import instruments_of, lane_specs
from mia.domain.errors import ConfigError
from mia.features.series import REFERENCE_NUMBER
from mia.settings import Loaded, load_settings, settings_from_json

ROOT = Path(__file__).resolve().parents[2]
Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the shipped settings after a change: (pattern, replacement), overrides=..., **environment."""

    def loader(pattern: str = "", replacement: str = "", *, overrides: dict[str, str] | None = None, **environment: str) -> Loaded:
        text = (ROOT / "config" / "miad.toml").read_text()
        if pattern:
            text, n = re.subn(pattern, replacement, text, count=1, flags=re.MULTILINE)
            assert n == 1, pattern
        path = tmp_path / "miad.toml"
        path.write_text(text)
        return load_settings(path, overrides, {"HOME": str(tmp_path), **environment})

    return loader


TWO = """[[instruments]]
venue = "binance_spot"
symbol = "ETHUSDT"
kind = "spot"
family = "crypto"
quote_currency = "USDT"
tick_size = "0.01"
lot_size = "0.0001"
maker_fee = "0.001"
taker_fee = "0.001"

[[instruments]]
venue = "binance_usdm"
"""


def with_reference(load: Load, series: str, other: str, files: str = "") -> Loaded:
    """The shipped settings with ETHUSDT on binance_spot, as a reference of the lane on BTCUSDT."""
    path = load(r'^\[\[instruments\]\]\nvenue = "binance_usdm"\n', TWO).path
    lane = 'instrument = "binance_spot:BTCUSDT"\n'
    text = path.read_text().replace(lane, f'{lane}references = {{ {series} = "{other}" }}\n') + files
    path.write_text(text)
    return load_settings(path, None, {})


def test_a_lane_may_name_another_instrument_of_its_venue_as_a_reference(load: Load) -> None:
    loaded = with_reference(load, "ref", "binance_spot:ETHUSDT")

    specs = lane_specs(loaded.settings, instruments_of(loaded.settings, "binance_spot"))

    assert [spec.references for spec in specs] == [((REFERENCE_NUMBER["ref"], 1),)]


@pytest.mark.parametrize(
    ("series", "other", "files", "wrong"),
    [
        ("ref", "binance_usdm:BTCUSDT", "", "is not among the .* of its venue: binance_spot:BTCUSDT, binance_spot:ETHUSDT"),
        ("ref", "binance_spot:BTCUSDT", "", "references.ref is the instrument itself"),
        ("vix", "binance_spot:ETHUSDT", "", "references.vix is no price: use ref, ref2, spot, perp"),
        ("ref", "binance_spot:ETHUSDT", '[references]\nref = "/data/eth.csv"\n', r"\[references\] ref is a file"),
    ],
)
def test_a_reference_that_cannot_be_heard_is_refused(load: Load, series: str, other: str, files: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        with_reference(load, series, other, files)


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("pattern", "replacement", "key", "marker"),
    [
        (r"^drawdown_max = .*", "drawdown_maximum = 0.1", "drawdown_maximum", "drawdown_maximum"),
        (r"^drawdown_max = .*", "drawdown_max = nan", "risk.drawdown_max", "drawdown_max = nan"),
        (r"^drawdown_max = .*", "drawdown_max = -inf", "risk.drawdown_max", "drawdown_max = -inf"),
        (r"^drawdown_max = .*", 'drawdown_max = "NaN"', "risk.drawdown_max", 'drawdown_max = "NaN"'),
        (r"^drawdown_max = .*", "drawdown_max = 1.5", "risk.drawdown_max", "drawdown_max = 1.5"),
        (r"^drawdown_max = .*", "drawdown_max = 0", "risk.drawdown_max", "drawdown_max = 0"),
        (r"^drawdown_max = .*", "drawdown_max = []", "risk.drawdown_max", "drawdown_max = []"),
        (r"^orders_per_minute_max = .*", "orders_per_minute_max = 1.5", "risk.orders_per_minute_max", "orders_per_minute_max = 1.5"),
        (r"^drawdown_max = .*", "", "drawdown_max", "[risk]"),
        (r'^cash = .*', 'cash = "-1"', "cash", 'cash = "-1"'),
        (r'^entry = .*', 'entry = "wild"', "execution.entry", 'entry = "wild"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_file_line_and_key(
    load: Load, tmp_path: Path, pattern: str, replacement: str, key: str, marker: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(pattern, replacement)

    text = str(caught.value)
    path = tmp_path / "miad.toml"
    assert text.startswith(f"{path}:{line_of(path, marker)}: ")
    assert key in text
    assert "\n" not in text


def test_every_limit_is_mandatory(load: Load) -> None:
    from mia.risk.limits import RiskSettings

    optional = set(RiskSettings.__struct_fields__[-len(RiskSettings.__struct_defaults__) :]) if RiskSettings.__struct_defaults__ else set()
    limits = [name for name in RiskSettings.__struct_fields__ if name not in optional]
    assert len(limits) >= 12
    for name in limits:
        with pytest.raises(ConfigError, match=name):
            load(rf"^{name} = .*", "")


def test_the_command_line_wins_over_the_environment_over_the_file_over_defaults(load: Load) -> None:
    plain = load()
    by_environment = load(MIA__INSTANCE__VENUE="binance_spot")
    by_command = load(overrides={"instance.venue": "binance_usdm"}, MIA__INSTANCE__VENUE="binance_spot")

    values = [x.settings.instance.venue for x in (plain, by_environment, by_command)]
    assert values == ["demo", "binance_spot", "binance_usdm"]
    sources = [x.sources["instance.venue"] for x in (plain, by_environment, by_command)]
    assert sources == [f"file {plain.path}", "environment MIA__INSTANCE__VENUE", "command line"]
    assert plain.sources["paper.slip_ticks"] == "default"


def test_numbers_from_the_environment_are_numbers(load: Load) -> None:
    loaded = load(MIA__RISK__DRAWDOWN_MAX="0.25", MIA__RISK__POSITION_LOTS_MAX="7", MIA__PAPER__CASH="123.45")

    assert loaded.settings.risk.drawdown_max == 0.25
    assert loaded.settings.risk.position_lots_max == 7
    assert loaded.settings.paper.cash == Decimal("123.45")


@pytest.mark.parametrize(
    ("name", "value"),
    [("MIA__RISK__DRAWDOWN_MAX", "inf"), ("MIA__RISK__DRAWDOWN_MAX", "2"), ("MIA__RISK__NONSENSE", "1"), ("MIA__NONSENSE", "1"),
     ("MIA__LANES__STRATEGY", "x"), ("MIA__RISK__POSITION_LOTS_MAX", "many")],
)  # fmt: skip
def test_a_wrong_variable_is_named_and_not_the_file(load: Load, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**{name: value})

    assert str(caught.value).startswith(f"environment {name}: ")


def test_a_wrong_value_of_the_command_line_is_named_as_such(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"^command line: "):
        load(overrides={"risk.drawdown_max": "nan"})


def test_every_value_knows_where_it_came_from(load: Load) -> None:
    loaded = load(MIA__STORE__SEGMENT_MB="8")

    assert loaded.sources["store.segment_mb"] == "environment MIA__STORE__SEGMENT_MB"
    assert all(source == "default" or source.startswith(("file ", "environment ")) for source in loaded.sources.values())
    assert loaded.sources["lanes[0].strategy"].startswith("file ")
    assert loaded.sources["lanes[0].min_interval_ms"] == "default"


def test_the_recorded_settings_read_back_as_the_same(load: Load) -> None:
    loaded = load()

    assert settings_from_json(loaded.canonical_json()) == loaded.settings
    assert loaded.hash() == load().hash()
    assert loaded.hash() != load(MIA__RISK__DRAWDOWN_MAX="0.2").hash()


def test_a_rule_takes_flags_and_whole_numbers(load: Load) -> None:
    from mia.assemble import load_strategy

    loaded = load(
        r'^strategy = "demo"', 'strategy = "rule:ema_cross"\nparams = { fast_period = 3, slow_period = 9.0, long_only = true, size = 0.5 }'
    )

    assert load_strategy(loaded.settings.lanes[0], "crypto").name == "ema_cross(fast_period=3,slow_period=9,size=0.5,long_only=true)"


@pytest.mark.parametrize("params", ["{ fast_period = 3.5 }", "{ slow_period = true }", "{ speed = 1 }", "{ size = 2.0 }"])
def test_a_wrong_parameter_names_its_lane(load: Load, params: str) -> None:
    from mia.assemble import load_strategy

    loaded = load(r'^strategy = "demo"', f'strategy = "rule:ema_cross"\nparams = {params}')

    with pytest.raises(ConfigError, match=r"^\[\[lanes\]\] sim:SIMUSD: rule ema_cross: "):
        load_strategy(loaded.settings.lanes[0], "crypto")


@pytest.mark.parametrize("text", ["", "[instance", "\x00", "name = 1"])
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "miad.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_settings(path, environ={})


def test_two_instruments_of_one_name_are_refused(load: Load) -> None:
    with pytest.raises(ConfigError, match="binance_spot:BTCUSDT is defined twice"):
        load(r'^venue = "sim"\nsymbol = "SIMUSD"', 'venue = "binance_spot"\nsymbol = "BTCUSDT"')


def test_a_section_that_only_the_environment_names_is_blamed_on_the_environment(load: Load) -> None:
    with pytest.raises(ConfigError, match="environment MIA__FOO__BAR: unknown field `foo`"):
        load(MIA__FOO__BAR="1")
