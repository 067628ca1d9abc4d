"""The catalogue: bars, trades, quotes, depth and funding of instruments as Parquet files, a month each, in the data home.

`catalogue/<venue>/<instrument>/<kind>/<yyyy-mm>.parquet`; each file says what it is of, what it was made of and what it holds.
"""

from __future__ import annotations

from mia.backtest.catalogue.assets import stored_instrument
from mia.backtest.catalogue.bars import BarReader
from mia.backtest.catalogue.events import event_history

__all__ = ("BarReader", "event_history", "stored_instrument")
