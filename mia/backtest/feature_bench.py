"""The parts of `mia bench features`, each run in a process of its own: python -m mia.backtest.feature_bench PART [--data DIR].

What is asked: how long does an event take when all columns of the catalogue are computed (ticks, bar closes), how many rows
of history a second, how does that compare with TA-Lib and polars on the columns that all three have, and does memory stay flat?
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.feature_sources import CHUNK
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec
from mia.features.batch import bars_from_ohlcv, compute_bars
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import QUOTE, TIMER, TRADE, EventColumns
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_START_NS: Final = 1_700_000_000_000_000_000
_MINUTE_NS: Final = 60_000_000_000
_TICKS: Final = 200_000
_BATCH_ROWS: Final = 200_000
SHARED: Final = (
    "ema(10)", "ema(20)", "ema(50)", "sma(20)", "sma(50)", "std(20)", "highest(20)", "lowest(20)", "rsi(14)", "atr(14)",
    "bollinger_width_20", "macd_hist_12_26_9", "stoch_k_14", "ret_5",
)  # fmt: skip


def instrument() -> Instrument:
    """BTCUSDT's grid."""
    return Instrument(
        venue="sim", symbol="BTCUSDT", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.10"),
        lot_size=Decimal("0.001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"), initial_margin=Decimal("0.10"),
    )  # fmt: skip


def plan_of(columns: Sequence[str], bars: str) -> tuple[Plan, Book]:
    """A plan with its own arena and book."""
    arena = Arena(64 << 20)
    book = Book(arena)
    return build_plan(columns, instrument(), BarSpec.parse(bars), arena, book), book


def made_bars(n: int, seed: int = 1) -> tuple[I64, F64]:
    """n one-minute bars of a random walk: (close ns, bars [n, 11] as compute_bars takes them)."""
    rng = np.random.default_rng(seed)
    close = 600_000.0 * np.exp(np.cumsum(rng.standard_t(4, n) * 4e-4))
    opens = np.concatenate(([600_000.0], close[:-1]))
    high = np.maximum(opens, close) * np.exp(np.abs(rng.normal(0, 2e-4, n)))
    low = np.minimum(opens, close) * np.exp(-np.abs(rng.normal(0, 2e-4, n)))
    volume = rng.lognormal(9, 1, n)
    rows = bars_from_ohlcv(np.rint(opens), np.rint(high), np.rint(low), np.rint(close), np.rint(volume))
    return _START_NS + _MINUTE_NS * np.arange(1, n + 1, dtype=np.int64), rows


def _quantiles(samples_ns: Sequence[int]) -> dict[str, float]:
    found = np.quantile(np.array(samples_ns, dtype=np.float64), [0.5, 0.99]) / 1e3
    return {"p50": round(float(found[0]), 3), "p99": round(float(found[1]), 3), "n": len(samples_ns)}


def ticks() -> dict[str, Any]:
    """Each event through the plan of all columns as live hands it over, one call from Python; the clock's own time taken off."""
    columns = shipped_catalogue().names
    plan, book = plan_of(columns, "time:1s")
    market = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=7), instrument())
    market.start(_START_NS)
    events = market.generate(duration_s=3_600.0, timers=True).events
    clock = _clock_ns()
    tick: dict[str, list[int]] = {"quote": [], "trade": [], "book": []}
    closes: list[int] = []
    rows: list[int] = []
    gc.disable()
    for i in range(min(events.events, _TICKS)):
        kind, feed = _feeder(plan, book, events, i)
        began = time.perf_counter_ns()
        closed = feed()
        ended = time.perf_counter_ns()
        if closed:
            plan.observe(int(events.ts_recv_ns[i]))
            closes.append(time.perf_counter_ns() - began - clock)
        elif kind:
            tick[kind].append(ended - began - clock)
            if kind == "quote":
                began = time.perf_counter_ns()
                plan.observe(int(events.ts_recv_ns[i]))
                rows.append(time.perf_counter_ns() - began - clock)
    return {
        "columns": len(columns),
        "bar_close_us": _quantiles(closes),
        "tick_us": {name: _quantiles(samples) for name, samples in tick.items() if samples},
        "observe_us": _quantiles(rows),
    }


def _feeder(plan: Plan, book: Book, e: EventColumns, i: int) -> tuple[str, Callable[[], int]]:
    """What the event is called, and the call that the plan gets for it; the book is changed before, as the engine does."""
    recv, event = int(e.ts_recv_ns[i]), int(e.ts_event_ns[i])
    a, b, c, d = int(e.a[i]), int(e.b[i]), int(e.c[i]), int(e.d[i])
    if e.kind[i] == QUOTE:
        return "quote", lambda: plan.on_quote(recv, event, a, b, c, d)
    if e.kind[i] == TRADE:
        return "trade", lambda: plan.on_trade(recv, event, a, b, c)
    if e.kind[i] == TIMER:
        return "", lambda: plan.on_time(recv)
    start = int(e.level_offset[i])
    bids, asks = e.levels[start : start + a].tobytes(), e.levels[start + a : start + a + b].tobytes()
    (book.apply if e.kind[i] == 3 else book.load)(bids, asks)
    return "book", lambda: plan.on_book(recv)


def _clock_ns() -> int:
    spent = []
    for _ in range(2_000):
        began = time.perf_counter_ns()
        spent.append(time.perf_counter_ns() - began)
    return int(np.median(spent))


def batch(passes: int) -> dict[str, Any]:
    """Rows a second of all columns over bars, and of the shared columns beside TA-Lib and polars, in turns."""
    ts, bars = made_bars(_BATCH_ROWS)
    everything = shipped_catalogue().names
    rates: dict[str, list[float]] = {"all": [], "shared": [], "talib": [], "polars": []}
    peers = {"talib": _talib(bars), "polars": _polars(bars)}
    for _ in range(passes):
        for name, columns in (("all", everything), ("shared", SHARED)):
            plan, _ = plan_of(columns, "time:1m")
            began = time.perf_counter()
            for k in range(0, len(ts), CHUNK):
                compute_bars(plan, ts[k : k + CHUNK], bars[k : k + CHUNK], with_cold=True)
            rates[name].append(len(ts) / (time.perf_counter() - began))
        for name, run in peers.items():
            if run is not None:
                began = time.perf_counter()
                run()
                rates[name].append(len(ts) / (time.perf_counter() - began))
    best = {name: round(max(found)) for name, found in rates.items() if found}
    return {
        "columns": len(everything),
        "rows_per_s": best["all"],
        "shared_columns": len(SHARED),
        "shared_rows_per_s": best["shared"],
        "talib_rows_per_s": best.get("talib"),
        "polars_rows_per_s": best.get("polars"),
        "passes": passes,
    }


def _talib(bars: F64) -> Callable[[], object] | None:
    """The shared columns by TA-Lib's batch functions; None where it is not installed."""
    try:
        import talib  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    h, low, c = (np.ascontiguousarray(bars[:, k]) for k in (1, 2, 3))

    def run() -> object:
        atr = talib.ATR(h, low, c, 14)
        upper, middle, lower = talib.BBANDS(c, 20)
        macd = talib.MACD(c, 12, 26, 9)[2] / atr
        top, bottom = talib.MAX(h, 14), talib.MIN(low, 14)
        return [
            *(talib.EMA(c, n) for n in (10, 20, 50)), *(talib.SMA(c, n) for n in (20, 50)), talib.STDDEV(c, 20), talib.MAX(h, 20),
            talib.MIN(low, 20), talib.RSI(c, 14), atr, (upper - lower) / middle, macd, (c - bottom) / (top - bottom),
            talib.LN(talib.ROCR(c, 5)),
        ]  # fmt: skip

    return run


def _polars(bars: F64) -> Callable[[], object] | None:
    """The shared columns by polars expressions, on one thread as everybody else here (POLARS_MAX_THREADS)."""
    try:
        import polars as pl
    except ImportError:
        return None
    frame = pl.DataFrame({name: bars[:, k] for k, name in enumerate(("o", "h", "l", "c", "v"))})
    h, low, c = pl.col("h"), pl.col("l"), pl.col("c")

    def ema(x: pl.Expr, n: int) -> pl.Expr:
        return x.ewm_mean(alpha=2.0 / (n + 1), adjust=False)

    def wilder(x: pl.Expr, n: int) -> pl.Expr:
        return x.ewm_mean(alpha=1.0 / n, adjust=False)

    d = c.diff()
    gain, loss = wilder(d.clip(lower_bound=0.0), 14), wilder((-d).clip(lower_bound=0.0), 14)
    atr = wilder(pl.max_horizontal(h, c.shift(1)) - pl.min_horizontal(low, c.shift(1)), 14)
    macd = ema(c, 12) - ema(c, 26)
    top, bottom = h.rolling_max(14), low.rolling_min(14)
    columns = [
        *(ema(c, n) for n in (10, 20, 50)), *(c.rolling_mean(n) for n in (20, 50)), c.rolling_std(20, ddof=0), h.rolling_max(20),
        low.rolling_min(20), gain / (gain + loss), atr, 4.0 * c.rolling_std(20, ddof=0) / c.rolling_mean(20), (macd - ema(macd, 9)) / atr,
        (c - bottom) / (top - bottom), (c / c.shift(5)).log(),
    ]  # fmt: skip

    return lambda: frame.select(column.alias(str(k)) for k, column in enumerate(columns))


def memory(rows: int) -> dict[str, Any]:
    """RSS over rows of bars through one plan of all columns; growth of the second half in percent."""
    import psutil  # type: ignore[import-untyped]

    process = psutil.Process()
    plan, _ = plan_of(shipped_catalogue().names, "time:1m")
    ts, bars = made_bars(_BATCH_ROWS)
    span = int(ts[-1] - _START_NS)
    rss: list[tuple[int, float]] = []
    done = 0
    while done < rows:
        at = done % len(ts)
        shift = done // len(ts) * span
        compute_bars(plan, ts[at : at + CHUNK] + shift, bars[at : at + CHUNK], with_cold=True)
        done += CHUNK
        rss.append((done, process.memory_info().rss / 1e6))
    half = next(mb for n, mb in rss if n >= rows // 2)
    return {"rows": done, "rss_mb": [round(half, 1), round(rss[-1][1], 1)], "rss_growth_pct": round(100 * (rss[-1][1] / half - 1), 2)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one part's figures as JSON."""
    parser = argparse.ArgumentParser(prog="feature_bench", description=__doc__)
    parser.add_argument("part", choices=("ticks", "batch", "memory"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args(argv)
    if options.part == "ticks":
        found = ticks()
    elif options.part == "batch":
        found = batch(options.passes)
    else:
        found = memory(options.rows)
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
