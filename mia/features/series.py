"""Names and numbers of what enters from outside of the market: reference series, sources of news, predictions.

The place in the tuple is the number that kernels know; new names go to the end.
"""

from __future__ import annotations

from typing import Final

# Levels as published, but for `ref`, `ref2`, `spot` and `perp`, which are prices, and funding_rate, a rate per interval.
REFERENCES: Final = (
    "vix", "vix3m", "us2y", "us10y", "dollar_index", "high_yield_spread", "fed_funds", "ref", "ref2", "spot", "perp",
    "funding_rate", "nyse_tick", "trin",
)  # fmt: skip
NEWS_SOURCES: Final = ("news", "social")
PREDICTIONS: Final = ("vix", "short", "medium", "long", "signal")  # signal: a wanted position in [-1, 1], for the rule `signals`
REFERENCE_NUMBER: Final = {name: number for number, name in enumerate(REFERENCES)}
NEWS_NUMBER: Final = {name: number for number, name in enumerate(NEWS_SOURCES)}
PREDICTION_NUMBER: Final = {name: number for number, name in enumerate(PREDICTIONS)}
