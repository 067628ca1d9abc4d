"""One backtest: history through the engine that trades live, at a simulated venue, into a run directory."""
