"""Symbols of files that no instrument of the settings fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from mia.backtest.run.naming import symbol_of


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("btcusdt_5m.csv", "BTCUSDT"),
        ("BTCUSDT-5m-2024-03.parquet", "BTCUSDT"),
        ("binance_ethusdt_5m_2024-01_2024-06.feather", "ETHUSDT.BINANCE"),
        ("binance_usdm_eth-usdt_1h.csv", "ETHUSDT.BINANCEUSDM"),
        ("bitfinex_btcusd_1m_2016.csv.gz", "BTCUSD.BITFINEX"),
        ("bitstamp_btcusd_l3_20150501.csv", "BTCUSD.BITSTAMPL3"),
        ("SOL_USDC.csv", "SOLUSDC"),
        ("ethbtc.csv", "ETHBTC"),
        ("1000pepeusdt.csv", "1000PEPEUSDT"),
        ("es_5m_2026-02_2026-04_yfinance.csv.gz", "ES.YFINANCE"),
        ("es_esh4_1m.csv", "ESH4.ES"),
        ("es_esm4_1m.csv", "ESM4.ES"),
        ("es_h4.csv", "ES.H4"),
        ("my_ESH4_1m.csv", "ESH4.MY"),
        ("walk.csv", "WALK"),
        ("data_1.csv", "DATA1"),
        ("data_2.csv", "DATA2"),
        ("my_usd_bars.csv", "MYUSD.BARS"),
        ("___.csv", "FILE"),
    ],
)
def test_a_symbol_is_read_from_the_name(name: str, symbol: str) -> None:
    assert symbol_of(Path("/somewhere") / name) == symbol
