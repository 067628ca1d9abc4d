"""Candle files (.feather, .parquet, .csv, .csv.gz) as bars, checked row by row. What cannot be trusted is named with file, row and column.

Rows are counted from 1, the header not included. Nothing is repaired silently: what was left out or guessed is in `notes`.
"""

from __future__ import annotations

from mia.backtest.readers.candles import Candles, read_bars, read_candles, read_for_seal
from mia.backtest.readers.checks import OnDuplicate, Repeats
from mia.backtest.readers.contracts import read_contracts
from mia.backtest.readers.frames import SUFFIXES, file_sha256, is_candle_file
from mia.backtest.readers.grid import bar_rows, grid_of
from mia.backtest.readers.times import utc

__all__ = (
    "SUFFIXES", "Candles", "OnDuplicate", "Repeats", "bar_rows", "file_sha256", "grid_of", "is_candle_file", "read_bars", "read_candles",
    "read_contracts", "read_for_seal", "utc",
)  # fmt: skip
