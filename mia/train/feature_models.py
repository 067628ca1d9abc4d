"""`mia-train features`: fits the models behind the regime, latent and memory columns, and the forecast of VIX.

Everything here looks at one stretch of rows and no further: what the models are applied to must come later, which the span in the
file (FeatureModels.fit) lets others check. `walk_forward` makes models fold by fold for rows of history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.forecasts import VIX_INPUTS, VIX_WARM, vix_inputs
from mia.backtest.readers import file_sha256, read_bars
from mia.backtest.references import vix_known_ns
from mia.backtest.validation.seal import Reading, Sealed, SealLog, names_in
from mia.backtest.validation.splits import Labels
from mia.backtest.validation.splits import walk_forward as anchored
from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import Instrument
from mia.domain.regime import RegimeParams
from mia.features import batch
from mia.features.bars import BarSpec
from mia.features.models import Autoencoder, Distance, FeatureModels, Fit, Latent, Linear, Memory, Projection
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Say = Callable[[str], None]

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
_VAR_MIN: Final = 0.05  # of scaled inputs: no state may be so narrow that one odd bar excludes it
_CLIP: Final = 5.0
_CHUNK: Final = 250  # rows: EM takes a long series for many short ones, so that a step is one operation on all of them


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


def fit_models(stretches: Sequence[Stretch], settings: FeatureFitSettings, source: str, bar: str) -> FeatureModels:
    """All models on all rows of these stretches, which do not overlap in time; nothing else is looked at."""
    rows = np.concatenate([s.rows for s in stretches])
    if len(rows) < 1_000:
        raise ConfigError(f"feature models: {len(rows)} warm bars in {source}: 1000 are the least")
    has_flow = bool(columns_of(rows, ("delta_ratio",)).std() > 1e-9)
    stamps = np.concatenate([s.ts_ns for s in stretches])
    models = FeatureModels(
        fit=Fit(source=source, bar=bar, first_ns=int(stamps.min()), last_ns=int(stamps.max()), rows=len(rows), seed=settings.seed),
        regime=fit_hmm([s.rows for s in stretches], REGIME if has_flow else REGIME_OF_CANDLES, settings),
        latent=Latent(
            pca_flow=fit_projection(rows, FLOW) if has_flow else None,
            pca_price=fit_projection(rows, PRICE),
            ae_vol=fit_autoencoder(rows, VOL, settings),
            stress=fit_distance(rows, STRESS),
        ),
        memory=fit_memory(stretches, settings),
    )
    models.check(source)
    return models


def walk_forward(stretch: Stretch, settings: FeatureFitSettings, folds: int, bar: str) -> Iterator[tuple[FeatureModels, int, int]]:
    """(models, first, stop): models fitted on the rows before `first`, for rows first .. stop - 1; the first fold only teaches."""
    labels = Labels.of(stretch.ts_ns, stretch.ts_ns)  # an outcome that ends after the rows it is fitted on is left out by the fit
    for split in anchored(labels, folds - 1):
        first, stop = int(split.test[0]), int(split.test[-1]) + 1
        yield fit_models([stretch.cut(0, first)], settings, f"{stretch.name} rows 0 .. {first - 1}", bar), first, stop


def _scaling(x: F64) -> tuple[F64, F64]:
    """Center and scale of columns without their extremes."""
    low, high = np.quantile(x, [0.005, 0.995], axis=0)
    tame = np.clip(x, low, high)
    return tame.mean(axis=0), np.maximum(tame.std(axis=0), 1e-9)


def scaled(rows: F64, names: Sequence[str], center: Sequence[float], scale: Sequence[float], clip: float) -> F64:
    """Inputs as the kernels see them."""
    z: F64 = np.clip((columns_of(rows, names) - np.array(center)) / np.array(scale), -clip, clip)
    return z


def fit_projection(rows: F64, names: Sequence[str]) -> Projection:
    """The first three principal components, each of variance 1; the largest weight of each is positive."""
    x = columns_of(rows, names)
    center, scale = _scaling(x)
    z = np.clip((x - center) / scale, -_CLIP, _CLIP)
    _, _, axes = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    weights = axes[:3] * np.sign(axes[np.arange(3), np.abs(axes[:3]).argmax(axis=1)])[:, None]
    weights = weights / np.maximum((z @ weights.T).std(axis=0), 1e-6)[:, None]
    return Projection(columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=_CLIP, weights=weights.tolist())


def fit_autoencoder(rows: F64, names: Sequence[str], settings: FeatureFitSettings) -> Autoencoder:
    """d -> hidden tanh -> 3 -> d by full-batch Adam; the code is turned onto its own principal axes, largest first, variance 1."""
    import torch

    x = columns_of(rows[-settings.rows_max :], names)
    center, scale = _scaling(x)
    z = np.clip((x - center) / scale, -_CLIP, _CLIP)
    generator = torch.Generator().manual_seed(settings.seed)
    d, h = len(names), settings.hidden
    shapes = ((h, d), (h,), (3, h), (3,), (d, 3), (d,))
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5 * (len(shape) > 1) for shape in shapes]
    for w in weights:
        w.requires_grad_(True)
    data = torch.from_numpy(z)
    optimiser = torch.optim.Adam(weights, lr=0.01)
    for _ in range(settings.steps):
        w1, b1, w2, b2, w3, b3 = weights
        code = torch.tanh(data @ w1.T + b1) @ w2.T + b2
        loss = ((code @ w3.T + b3 - data) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    a1, c1, a2, c2, a3, c3 = (w.detach().numpy() for w in weights)
    code_rows = np.tanh(z @ a1.T + c1) @ a2.T + c2
    mean = code_rows.mean(axis=0)
    _, _, axes = np.linalg.svd(code_rows - mean, full_matrices=False)
    axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
    spread = np.maximum(((code_rows - mean) @ axes.T).std(axis=0), 1e-6)
    turn = axes / spread[:, None]
    a2, c2 = turn @ a2, turn @ (c2 - mean)
    a3, c3 = a3 @ axes.T * spread, c3 + a3 @ mean
    error = (((np.tanh(z @ a1.T + c1) @ a2.T + c2) @ a3.T + c3 - z) ** 2).mean(axis=1)
    return Autoencoder(
        columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=_CLIP, w1=a1.tolist(), b1=c1.tolist(), w2=a2.tolist(),
        b2=c2.tolist(), w3=a3.tolist(), b3=c3.tolist(), error_p99=max(float(np.quantile(error, 0.99)), 1e-9),
    )  # fmt: skip


def fit_distance(rows: F64, names: Sequence[str]) -> Distance:
    """The inverse Cholesky factor of the covariance of scaled inputs, a thousandth of the mean variance added to its diagonal."""
    x = columns_of(rows, names)
    center, scale = _scaling(x)
    z = np.clip((x - center) / scale, -_CLIP, _CLIP)
    covariance = z.T @ z / len(z)
    covariance += np.eye(len(names)) * 1e-3 * np.trace(covariance) / len(names)
    whiten = np.tril(np.linalg.inv(np.linalg.cholesky(covariance)))
    return Distance(columns=list(names), center=center.tolist(), scale=scale.tolist(), clip=_CLIP, whiten=whiten.tolist())


def fit_memory(stretches: Sequence[Stretch], settings: FeatureFitSettings) -> Memory:
    """K-means over situations a horizon apart, each with what a long position would have made in the horizon after it."""
    from sklearn.cluster import KMeans  # type: ignore[import-untyped]  # ships no stubs

    h = settings.horizon_bars
    x = np.concatenate([columns_of(s.rows, MEMORY) for s in stretches])
    center, scale = _scaling(x)
    situations, outcomes, ended = [], [], []
    for s in stretches:
        z = scaled(s.rows, MEMORY, center.tolist(), scale.tolist(), _CLIP)
        at = np.arange(0, len(s.ts_ns) - h, h)
        situations.append(z[at])
        outcomes.append(np.log(s.close[at + h] / s.close[at]) - settings.cost)
        ended.append(s.ts_ns[at + h])
    z, y, t = np.concatenate(situations), np.concatenate(outcomes), np.concatenate(ended)
    if len(z) < 10 * settings.clusters:
        raise ConfigError(f"feature models: {len(z)} situations for {settings.clusters} clusters: give more bars")
    std = max(float(y.std()), 1e-12)
    found = KMeans(settings.clusters, n_init=4, random_state=settings.seed).fit(z)
    order = np.argsort(-np.bincount(found.labels_, minlength=settings.clusters), kind="stable")
    centers = found.cluster_centers_[order]
    label = np.argsort(order)[found.labels_]
    every = np.concatenate([scaled(s.rows, MEMORY, center.tolist(), scale.tolist(), _CLIP) for s in stretches])
    stamps = np.concatenate([s.ts_ns for s in stretches])
    nearest = ((every[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1) if len(every) <= 20_000 else None
    if nearest is None:
        nearest = np.concatenate(
            [((part[:, None, :] - centers[None]) ** 2).sum(axis=2).argmin(axis=1) for part in np.array_split(every, 32)]
        )
    groups = range(settings.clusters)
    pick = np.unique(np.linspace(0, len(z) - 1, min(settings.contexts, len(z))).astype(int))
    return Memory(
        columns=list(MEMORY), center=center.tolist(), scale=scale.tolist(), clip=_CLIP, centers=centers.tolist(),
        counts=[int((label == k).sum()) for k in groups],
        hits=[int((y[label == k] > 0).sum()) for k in groups],
        mean_returns=[float(y[label == k].mean() / std) if (label == k).any() else 0.0 for k in groups],
        last_ns=[int(stamps[nearest == k].max()) if (nearest == k).any() else 0 for k in groups],
        contexts=z[pick].tolist(), later_returns=(y[pick] / std).tolist(), ended_ns=t[pick].tolist(), return_std=std,
        outcome=f"ln(c[+{h}] / c) - {settings.cost:g}, long",
    )  # fmt: skip


def fit_hmm(series: Sequence[F64], names: Sequence[str], settings: FeatureFitSettings, warm_bars: int = 60) -> RegimeParams:
    """Baum-Welch from several starts, the likeliest kept, its states put into the order range, trend, defensive.

    Source: Rabiner (1989). The first start comes from quantiles of the two columns that order the states, the others are random.
    """
    rows = [x[-settings.rows_max :] for x in series]
    center, scale = _scaling(columns_of(np.concatenate(rows), names))
    chunks = []
    for x in rows:
        z = scaled(x, names, center.tolist(), scale.tolist(), 4.0)
        chunks += [z[k : k + _CHUNK] for k in range(0, len(z) - _CHUNK + 1, _CHUNK)]
    if not chunks:
        raise ConfigError(f"feature models: {max(map(len, rows))} warm bars in a row: the regime model needs {_CHUNK}")
    z = np.stack(chunks)[: max(1, settings.rows_max // _CHUNK)]
    rng = np.random.default_rng(settings.seed)
    best: tuple[float, F64, F64, F64] | None = None
    for start in range(settings.starts):
        fitted = _baum_welch(z, _first_guess(z) if start == 0 else rng.dirichlet(np.full(3, 0.3), z.shape[:2]), settings.iterations)
        if best is None or fitted[0] > best[0]:
            best = fitted
    assert best is not None
    _, mean, var, transition = best
    wild = int(mean[:, 0].argmax())
    calm, trend = sorted((k for k in range(3) if k != wild), key=lambda k: mean[k, 1])
    order = [calm, trend, wild]
    transition = np.maximum(transition[np.ix_(order, order)], 1e-5)
    transition /= transition.sum(axis=1, keepdims=True)
    transition[:, 2] = 1.0 - transition[:, 0] - transition[:, 1]
    params = RegimeParams(
        columns=list(names), center=center.tolist(), scale=scale.tolist(), mean=mean[order].tolist(), var=var[order].tolist(),
        transition=transition.tolist(), clip=4.0, warm_bars=warm_bars,
    )  # fmt: skip
    params.check("regime fit")
    return params


def _first_guess(z: F64) -> F64:
    """Responsibilities by quantiles: the wildest quarter is defensive, of the rest the third with the strongest trend is trend."""
    wild = z[..., 0] > np.quantile(z[..., 0], 0.75)
    strong = z[..., 1] > np.quantile(z[..., 1][~wild], 0.67)
    label = np.where(wild, 2, np.where(strong, 1, 0))
    guess: F64 = np.full((*label.shape, 3), 0.05)
    np.put_along_axis(guess, label[..., None], 0.9, axis=2)
    return guess


def _baum_welch(z: F64, gamma: F64, iterations: int) -> tuple[float, F64, F64, F64]:
    """(log-likelihood per row, mean [3, d], var [3, d], transition [3, 3]) of chunks z [s, t, d] from responsibilities [s, t, 3]."""
    counts = np.ones((3, 3)) + np.einsum("sti,stj->ij", gamma[:, :-1], gamma[:, 1:])
    before = -np.inf
    while True:
        mass = gamma.sum(axis=(0, 1)) + 1e-9
        mean = np.einsum("stk,std->kd", gamma, z) / mass[:, None]
        var = np.maximum(np.einsum("stk,std->kd", gamma, z**2) / mass[:, None] - mean**2, _VAR_MIN)
        transition = counts / counts.sum(axis=1, keepdims=True)
        gamma, counts, loglik = expect(z, mean, var, transition, mass / mass.sum())
        iterations -= 1
        if iterations <= 0 or loglik - before < 1e-5:
            return loglik, mean, var, transition
        before = loglik


def expect(z: F64, mean: F64, var: F64, transition: F64, start: F64) -> tuple[F64, F64, float]:
    """Forward and backward over chunks z [s, t, d]: (P(state) [s, t, 3], expected transitions [3, 3], log-likelihood per row)."""
    log_b = -0.5 * (np.log(2 * np.pi * var).sum(axis=1) + ((z[:, :, None, :] - mean) ** 2 / var).sum(axis=3))
    top = log_b.max(axis=2, keepdims=True)
    b = np.exp(log_b - top)
    steps = z.shape[1]
    alpha, scale = np.empty_like(b), np.empty(b.shape[:2])
    prior = np.broadcast_to(start, b[:, 0].shape)
    for t in range(steps):
        joint = prior * b[:, t]
        scale[:, t] = np.maximum(joint.sum(axis=1), 1e-300)
        alpha[:, t] = joint / scale[:, t, None]
        prior = alpha[:, t] @ transition
    beta = np.ones_like(b)
    for t in range(steps - 2, -1, -1):
        beta[:, t] = (beta[:, t + 1] * b[:, t + 1]) @ transition.T / scale[:, t + 1, None]
    gamma = alpha * beta
    gamma /= np.maximum(gamma.sum(axis=2, keepdims=True), 1e-300)
    later = beta[:, 1:] * b[:, 1:] / scale[:, 1:, None]
    counts = np.einsum("sti,stj->ij", alpha[:, :-1], later) * transition
    return gamma, counts + 1e-6, float((np.log(scale) + top[..., 0]).mean())


def _ridge(x: F64, y: F64, penalty: float) -> tuple[float, F64]:
    """Intercept and weights; the penalty is on standardised inputs, per row."""
    mean, std = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    z = (x - mean) / std
    w = np.linalg.solve(z.T @ z / len(z) + penalty * np.eye(x.shape[1]), z.T @ (y - y.mean()) / len(z)) / std
    return float(y.mean() - mean @ w), w


def fit_vix(days: I64, close: F64, penalty: float = 1e-4, first: int = 1_500, every: int = 63) -> Linear:
    """The forecast of the next day's VIX, with its errors on days that its weights did not see.

    Walk-forward: from row `first` on the weights are fitted anew every `every` days on all days before, and forecast the days until
    the next fit; the same for HAR (its three means by least squares). The weights returned are of all rows.
    """
    x, y = vix_inputs(days[:-1], close[:-1], days[1:])[VIX_WARM:], np.log(close[VIX_WARM + 1 :])
    last = close[VIX_WARM:-1]
    if len(y) < first + every:
        raise ConfigError(f"VIX forecast: {len(y)} days with inputs, {first + every} are the least")
    full, har = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for k in range(first, len(y), every):
        a, w = _ridge(x[:k], y[:k], penalty)
        full[k : k + every] = a + x[k : k + every] @ w
        a, w = _ridge(x[:k, :3], y[:k], 0.0)
        har[k : k + every] = a + x[k : k + every, :3] @ w
    errors = {"days": float(len(y) - first)}
    for name, forecast in (("model", np.exp(full[first:])), ("har", np.exp(har[first:])), ("last_value", last[first:])):
        off = forecast - np.exp(y[first:])
        errors[f"rmse_{name}"] = float(np.sqrt((off**2).mean()))
        errors[f"mae_{name}"] = float(np.abs(off).mean())
        errors[f"rmse_ln_{name}"] = float(np.sqrt(((np.log(forecast) - y[first:]) ** 2).mean()))
    nearer = np.abs(np.exp(full[first:]) - np.exp(y[first:])) < np.abs(last[first:] - np.exp(y[first:]))
    errors["share_nearer"] = float(nearer.mean())  # of days on which the forecast was nearer to the next close than the last close was
    a, w = _ridge(x, y, penalty)
    return Linear(
        inputs=list(VIX_INPUTS),
        intercept=a,
        weights=w.tolist(),
        target="ln VIX of the next day's close",
        last_ns=_known(days[-1:])[0],
        errors=errors,
    )


def _known(days: I64) -> list[int]:
    """When the closes of Unix days were known."""
    return [vix_known_ns(date(1970, 1, 1) + timedelta(days=int(day))) for day in days]


def read_vix(path: Path) -> tuple[I64, F64]:
    """(Unix day [n], close [n]) of a file with the columns DATE (yyyy-mm-dd) and CLOSE; DataError names what is wrong."""
    import polars as pl

    try:
        frame = pl.read_csv(path)
        days = frame["DATE"].str.to_date("%Y-%m-%d").to_physical().to_numpy().astype(np.int64)
        close = frame["CLOSE"].cast(pl.Float64).to_numpy()
    except (OSError, pl.exceptions.PolarsError) as e:
        raise DataError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
    if not (np.isfinite(close).all() and (close > 0.0).all() and (np.diff(days) > 0).all()):
        raise DataError(f"{path}: values must be finite and above 0, and days must rise")
    begin_ns = days * 86_400_000_000_000
    reading = Reading(sha256=(file_sha256(path),), names=names_in(["vix", path.name]), begin_ns=begin_ns, end_ns=begin_ns + 1)
    SealLog().allowed(reading, str(path))
    return days, close


def report(models: FeatureModels, seen: Sequence[Stretch], unseen: Sequence[Stretch]) -> list[str]:
    """How the models do on rows that they were fitted on and on later ones, in lines to print."""
    lines = []
    for title, part in (("fitted on", seen), ("later", unseen)):
        if not part:
            continue
        rows = np.concatenate([s.rows for s in part])
        texts = [f"{title}: {len(rows)} rows"]
        if (p := models.regime) is not None:
            z = scaled(rows, p.columns, p.center, p.scale, p.clip)
            start = np.full(3, 1 / 3)
            gamma, _, loglik = expect(z[None], np.array(p.mean), np.array(p.var), np.array(p.transition), start)
            texts.append(f"regime log-likelihood {loglik:.3f}, shares {np.round(gamma.mean(axis=(0, 1)), 2).tolist()}")
        latent = models.latent
        if latent is not None:
            for name, pca in (("pca_flow", latent.pca_flow), ("pca_price", latent.pca_price)):
                if pca is not None:
                    z = scaled(rows, pca.columns, pca.center, pca.scale, pca.clip)
                    z = z - z.mean(axis=0)
                    axes = np.linalg.qr(np.array(pca.weights).T)[0]
                    texts.append(f"{name} explains {(z @ axes).var(axis=0).sum() / z.var(axis=0).sum():.2f} of the variance")
            if (a := latent.ae_vol) is not None:
                z = scaled(rows, a.columns, a.center, a.scale, a.clip)
                code = np.tanh(z @ np.array(a.w1).T + a.b1) @ np.array(a.w2).T + a.b2
                error = ((code @ np.array(a.w3).T + a.b3 - z) ** 2).mean(axis=1)
                texts.append(f"autoencoder error {error.mean() / z.var(axis=0).mean():.2f} of the variance")
                texts.append(f"novelty above 1 in {(error > a.error_p99).mean():.1%}")
        if (m := models.memory) is not None:
            texts.append(f"memory: {_memory_line(m, part)}")
        lines.append("; ".join(texts))
    return lines


def _memory_line(m: Memory, part: Sequence[Stretch]) -> str:
    """Correlation of what the clusters promise with what followed."""
    horizon = int(m.outcome.split("+")[1].split("]")[0])
    promised, followed = [], []
    for s in part:
        at = np.arange(0, len(s.ts_ns) - horizon, horizon)
        z = scaled(s.rows[at], m.columns, m.center, m.scale, m.clip)
        near = ((z[:, None, :] - np.array(m.centers)) ** 2).sum(axis=2).argmin(axis=1)
        n = np.array(m.counts)
        promised.append((np.array(m.mean_returns) * n / (n + 20.0))[near])
        followed.append(np.log(s.close[at + horizon] / s.close[at]))
    a, b = np.concatenate(promised), np.concatenate(followed)
    if len(a) < 30 or a.std() == 0.0 or b.std() == 0.0:
        return "too few outcomes"
    return f"correlation of cluster_ret with {len(a)} outcomes {np.corrcoef(a, b)[0, 1]:+.3f}"


def fit_features(
    out: Path, settings: FeatureFitSettings, bar_files: Sequence[Path], vix_file: Path | None, instrument: Instrument, say: Say
) -> FeatureModels:
    """Fit on the first share of each candle file (all of one interval), or on simulated markets, and write the models to `out`.

    The forecast of VIX sees what was known by the end of what the others see; with simulated markets, the first share of its file.
    """
    if bar_files:
        sealed: Sealed = "exclude" if settings.exclude_sealed else "refuse"
        whole = [from_candles(path, instrument, sealed) for path in bar_files]
        if len({bar for _, bar in whole}) != 1:
            raise ConfigError(f"feature models: candle files of different intervals: {', '.join(bar for _, bar in whole)}")
        bar = whole[0][1]
        cuts = [int(len(s.ts_ns) * settings.train_share) for s, _ in whole]
        until = min(int(s.ts_ns[k - 1]) for (s, _), k in zip(whole, cuts, strict=True))  # in time, so that no file sees another's future
        cuts = [int(np.searchsorted(s.ts_ns, until, side="right")) for s, _ in whole]
        seen = [s.cut(0, k) for (s, _), k in zip(whole, cuts, strict=True)]
        unseen = [s.cut(k, len(s.ts_ns)) for (s, _), k in zip(whole, cuts, strict=True)]
        source = ", ".join(path.name for path in bar_files)
    else:
        bar, end = "time:1s", 1_700_000_000_000_000_000
        first = 1_000_000 * settings.seed
        seen = [from_simulation(first + k, 1_800.0, instrument, end - (8 - k) * 3_600_000_000_000) for k in range(8)]
        unseen = [from_simulation(first + 1_000 + k, 1_800.0, instrument, end) for k in range(3)]
        source = f"simulated markets {first} .. {first + 7}"
    say(f"{source}: {sum(len(s.ts_ns) for s in seen)} bars to fit on, {sum(len(s.ts_ns) for s in unseen)} later")
    models = fit_models(seen, settings, source, bar)
    if vix_file is not None:
        days, close = read_vix(vix_file)
        assert models.fit is not None
        stop = int(np.searchsorted(_known(days), models.fit.last_ns, side="right")) if bar_files else int(len(days) * settings.train_share)
        vix = fit_vix(days[:stop], close[:stop])
        models = msgspec.structs.replace(models, predicted_vix=vix)
        e = vix.errors
        say(
            f"VIX of the next day, {e['days']:.0f} days out of sample: RMSE {e['rmse_model']:.4f} (HAR {e['rmse_har']:.4f}, last value "
            f"{e['rmse_last_value']:.4f}), MAE {e['mae_model']:.4f} ({e['mae_har']:.4f}, {e['mae_last_value']:.4f}), RMSE of ln "
            f"{e['rmse_ln_model']:.5f} ({e['rmse_ln_har']:.5f}, {e['rmse_ln_last_value']:.5f}); nearer than the last value on "
            f"{e['share_nearer']:.1%}; fitted on the first {stop} of {len(days)} days"
        )
    for line in report(models, seen, unseen):
        say(line)
    models.check(str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(models.encode())
    return models
