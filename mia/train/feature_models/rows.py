"""What the models are fitted on: columns of closed bars, of candle files and of simulated markets, and how they are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.readers import read_bars
from mia.backtest.validation.seal import Sealed
from mia.domain.errors import DataError
from mia.domain.instruments import Instrument
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

FLOW: Final = (
    "delta_volume", "delta_ratio", "trade_imbalance_20", "count_imbalance", "bar_toxicity_30", "kyle_lambda_50", "trade_size_ratio_20",
)  # fmt: skip
PRICE: Final = (
    "ret_z_50", "close_location", "up_share_20", "rsi_14", "macd_hist_12_26_9", "stoch_k_14", "ema_gap_10_20", "ema_gap_20_50", "cci_20",
    "linreg_slope_20", "efficiency_20", "aroon_osc_20",
)  # fmt: skip
VOL: Final = (
    "atr_14", "rv_30", "parkinson_20", "bollinger_width_20", "jump_share_30", "semivar_down_30", "vol_ratio_10_60", "vol_ratio_5_30",
    "range_ratio_20",
)  # fmt: skip
STRESS: Final = ("ret_z_50", "rsi_14", "ema_gap_10_20", "rv_30", "vol_ratio_5_30", "range_ratio_20", "rel_bar_volume_20", "amihud_20")
MEMORY: Final = ("ret_z_50", "rsi_14", "ema_gap_20_50", "efficiency_20", "vol_ratio_5_30", "range_ratio_20")
REGIME: Final = ("rv_30", "linreg_r2_20", "bar_toxicity_30")
REGIME_OF_CANDLES: Final = ("rv_30", "linreg_r2_20", "vol_ratio_5_30")
READ: Final = tuple(dict.fromkeys((*FLOW, *PRICE, *VOL, *STRESS, *MEMORY, *REGIME, *REGIME_OF_CANDLES)))
CLIP: Final = 5.0  # of scaled inputs


class FeatureFitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is fitted and how; the seed decides starts, weights and clusters."""

    seed: int = 1
    train_share: float = 0.6  # of each file, its first rows; the rest is what the report is about
    horizon_bars: int = 20  # of an outcome
    cost: float = 0.001  # of a round trip, as a log return
    clusters: int = 10
    contexts: int = 128
    hidden: int = 8
    steps: int = 400
    starts: int = 4
    iterations: int = 40
    exclude_sealed: bool = False  # leave the rows of sealed holdouts out instead of stopping at them
    rows_max: int = 40_000  # that EM and the autoencoder look at; of more, the newest


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """One series of closed bars: ts_ns [n], close [n], rows [n, len(READ)] of the columns READ, all finite."""

    name: str
    ts_ns: I64
    close: F64
    rows: F64

    def cut(self, start: int, stop: int) -> Stretch:
        """Bars start .. stop - 1."""
        return Stretch(name=self.name, ts_ns=self.ts_ns[start:stop], close=self.close[start:stop], rows=self.rows[start:stop])


def from_candles(path: Path, instrument: Instrument, sealed: Sealed = "refuse") -> tuple[Stretch, str]:
    """(stretch, bar text) of a file of candles; its columns of flow are constant."""
    times, ohlcv = read_bars(path, sealed)
    interval = int(np.median(np.diff(times)))
    tick, lot = float(instrument.tick_size), float(instrument.lot_size)
    o, h, low, c = (ohlcv[:, k] / tick for k in range(4))
    bars = batch.bars_from_ohlcv(o, h, low, c, ohlcv[:, 4] / lot)
    spec = BarSpec(kind="time", size=Decimal(interval))
    return from_bars(path.name, instrument, spec, times + interval, bars), f"time:{interval // 1_000_000_000}s"


def from_bars(name: str, instrument: Instrument, spec: BarSpec, close_ns: I64, bars: F64) -> Stretch:
    """The stretch of bars in the order of BAR_FIELDS without aggressors; columns of flow, which have no value there, are 0."""
    arena = Arena(64 << 20)
    plan = build_plan(("close", *READ), instrument, spec, arena, Book(arena, 64), neutral=float("nan"))
    ts, matrix = batch.compute_bars(plan, close_ns, bars, with_cold=True)
    close, rows = matrix[:, 0], matrix[:, 1:]
    flow = [READ.index(column) for column in FLOW]
    rows[:, flow] = np.nan_to_num(rows[:, flow], nan=0.0)
    warm = np.isfinite(rows).all(axis=1)
    return Stretch(name=name, ts_ns=ts[warm], close=close[warm], rows=rows[warm])


def from_simulation(seed: int, duration_s: float, instrument: Instrument, end_ns: int) -> Stretch:
    """One-second bars of a simulated market, moved in time so that it ends at end_ns."""
    market = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=seed), instrument)
    market.start(1_700_000_000_000_000_000)
    events = market.generate(duration_s=duration_s, timers=True).events
    arena = Arena(64 << 20)
    plan = build_plan(("close", *READ), instrument, BarSpec.parse("time:1s"), arena, Book(arena, 4096))
    ts, matrix = batch.compute(plan, events, 0, "bar")
    if len(ts) < 2:
        raise DataError(f"simulated market {seed}: {duration_s:g} s are too short for the warm-up")
    return Stretch(name=f"sim seed {seed}", ts_ns=ts - int(ts[-1]) + end_ns, close=matrix[:, 0], rows=matrix[:, 1:])


def columns_of(rows: F64, names: Sequence[str]) -> F64:
    """[n, len(names)] out of rows of READ."""
    return rows[:, [READ.index(name) for name in names]]


def scaling(x: F64) -> tuple[F64, F64]:
    """Center and scale of columns without their extremes."""
    low, high = np.quantile(x, [0.005, 0.995], axis=0)
    tame = np.clip(x, low, high)
    return tame.mean(axis=0), np.maximum(tame.std(axis=0), 1e-9)


def scaled(rows: F64, names: Sequence[str], center: Sequence[float], scale: Sequence[float], clip: float) -> F64:
    """Inputs as the kernels see them."""
    z: F64 = np.clip((columns_of(rows, names) - np.array(center)) / np.array(scale), -clip, clip)
    return z
