"""Names of folders and months."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from mia.backtest.catalogue.layout import Asset, bars_kind, bars_of, folder_name, missing_months, ranges
from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC/USDT", "XBT/USD:XBT-240628", "..", ".hidden", "ES H4", "ÄÖ%2F", "a_b-c.d~"])
def test_a_symbol_is_one_folder_and_comes_back(symbol: str) -> None:
    name = folder_name(symbol)

    assert "/" not in name
    assert not name.startswith(".")
    assert unquote(name) == symbol


def test_symbols_that_differ_have_folders_that_differ() -> None:
    assert len({folder_name(s) for s in ("BTC/USDT", "BTC%2FUSDT", "BTC_USDT", "BTCUSDT", "..", "%2E.")}) == 6


@pytest.mark.parametrize(("bars", "kind"), [("time:5m", "bars_5m"), ("time:250ms", "bars_250ms"), ("tick:2800", "bars_tick_2800"),
                                            ("volume:0.5", "bars_volume_0.5"), ("dollar:70000000", "bars_dollar_70000000")])  # fmt: skip
def test_bars_are_a_kind_each_and_come_back(bars: str, kind: str) -> None:
    assert bars_kind(BarSpec.parse(bars)) == kind
    assert bars_of(kind) == BarSpec.parse(bars)


def test_what_is_no_kind_of_bars_is_none() -> None:
    assert bars_of("trades") is None
    assert bars_of("funding") is None


def test_months_without_a_file_are_named() -> None:
    first, last = 1_709_078_400_000_000_000, 1_717_200_000_000_000_000  # 2024-02-28, 2024-06-01

    assert missing_months(["2024-02", "2024-05"], first, last) == ["2024-03", "2024-04", "2024-06"]
    assert ranges(["2023-11", "2023-12", "2024-01", "2024-05"]) == "2023-11 to 2024-01, 2024-05"


@pytest.mark.parametrize("text", ["BTCUSDT", ":BTCUSDT", "binance_spot:", ""])
def test_an_asset_names_venue_and_symbol(text: str) -> None:
    with pytest.raises(ConfigError, match="VENUE:SYMBOL"):
        Asset.parse(text)


def test_only_the_catalogue_opens_its_files_so_that_nobody_goes_around_the_seal() -> None:
    source = Path(__file__).resolve().parents[4] / "mia"

    users = {str(p.relative_to(source)) for p in source.rglob("*.py") if "catalogue.months" in p.read_text(encoding="utf-8")}

    reading = {"backtest/catalogue/bars.py", "backtest/catalogue/events.py"}  # these ask the seal
    assert users - reading == {f"backtest/catalogue/{name}.py" for name in ("assets", "funding", "importing", "merging")}
    for name in reading:
        assert "SealLog()" in (source / name).read_text(encoding="utf-8")
