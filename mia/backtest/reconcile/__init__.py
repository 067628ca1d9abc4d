"""Live against backtest: a traded period once more from its journal, matched trade by trade, each difference with its class."""
