"""Runs backtesting.py or vectorbt on one file, in an environment of its own: its trades, its last equity and its time as JSON.

Knows nothing of mia. usage: python library_peer.py backtesting.py|vectorbt CANDLES.csv CASH FAST SLOW
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd

Found = tuple[str, list[list[Any]], float, float, dict[str, float]]  # version, trades, last equity, seconds, its own figures


def with_backtesting(candles: Any, cash: float, fast: int, slow: int) -> Found:
    """Closes and reverses at the open after each cross, as the library's own example does."""
    import backtesting
    from backtesting import Backtest, Strategy
    from backtesting.lib import crossover
    from backtesting.test import SMA

    backtesting.backtesting._tqdm = lambda seq, **_: seq  # no bar of progress among the output

    class SmaCross(Strategy):  # type: ignore[misc]  # of another environment
        def init(self) -> None:
            self.fast = self.I(SMA, self.data.Close, fast)
            self.slow = self.I(SMA, self.data.Close, slow)

        def next(self) -> None:
            if crossover(self.fast, self.slow):
                self.position.close()
                self.buy()
            elif crossover(self.slow, self.fast):
                self.position.close()
                self.sell()

    test = Backtest(candles, SmaCross, cash=cash, commission=0.0, finalize_trades=True)
    begin = time.perf_counter()
    stats = test.run()
    seconds = time.perf_counter() - begin
    trades = [
        [int(np.sign(t.Size)), t.EntryTime.value, t.ExitTime.value, float(t.EntryPrice), float(t.ExitPrice), abs(float(t.Size))]
        for t in stats["_trades"].itertuples()
    ]
    trades.sort(key=lambda t: t[1])
    shown = {"sharpe": float(stats["Sharpe Ratio"]), "max_drawdown": float(stats["Max. Drawdown [%]"]) / 100}
    return backtesting.__version__, trades, float(stats["Equity Final [$]"]), seconds, shown


def with_vectorbt(candles: Any, cash: float, fast: int, slow: int) -> Found:
    """Reverses at the close of each cross, everything in, fractions of a unit."""
    import vectorbt as vbt

    def run() -> Any:
        close = candles.Close
        f, s = close.rolling(fast).mean(), close.rolling(slow).mean()
        above, below = f > s, f < s
        known = s.shift().notna()
        up, down = above & ~above.shift(fill_value=False) & known, below & ~below.shift(fill_value=False) & known
        return vbt.Portfolio.from_signals(close, entries=up, short_entries=down, init_cash=cash, freq="1D")

    run()  # compiles
    begin = time.perf_counter()
    portfolio = run()
    equity = float(portfolio.final_value())
    seconds = time.perf_counter() - begin
    r = portfolio.trades.records
    at = candles.index.as_unit("ns").asi8
    trades = [
        [1 if t.direction == 0 else -1, int(at[t.entry_idx]), int(at[t.exit_idx]), t.entry_price, t.exit_price, t.size]
        for t in r.itertuples()
        if t.status == 1
    ]
    return vbt.__version__, trades, equity, seconds, {}


def main(library: str, path: str, cash: str, fast: str, slow: str) -> None:
    """Run it and print what came of it."""
    warnings.filterwarnings("ignore")
    candles = pd.read_csv(path, index_col=0, parse_dates=True)
    run = {"backtesting.py": with_backtesting, "vectorbt": with_vectorbt}[library]
    version, trades, equity, seconds, shown = run(candles, float(cash), int(fast), int(slow))
    print(json.dumps({"version": version, "trades": trades, "equity": equity, "seconds": seconds, "bars": len(candles), **shown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
