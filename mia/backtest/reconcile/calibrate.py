"""Parameters of the fill model as a traded period shows them, with what they leave unexplained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.reconcile.explain import paired_orders
from mia.backtest.reconcile.session import Compared, FillModel, Progress, Side, replay_both
from mia.domain.errors import DataError
from mia.sim.cost_settings import Costs, LatencyCosts
from mia.sim.settings import PaperSettings

F64 = npt.NDArray[np.float64]
FILLS_MIN: Final = 5  # fewer say nothing
_SLIP_PROBE: Final = 10


class TooFewOrders(DataError):
    """A period says too little of a fill model."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter: its value, the quantiles of what was seen, and the root mean square of what it leaves of them."""

    name: str
    unit: str
    value: float
    q05: float
    q50: float
    q95: float
    error: float
    fills: int


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """price_error: root mean square of live less backtest price in ticks over orders that both filled, before and after; None: none."""

    parameters: list[Fitted]
    orders_before: int
    price_error_before: float | None
    orders_after: int
    price_error_after: float | None
    difference_before_e8: int
    difference_after_e8: int
    snippet: str
    notes: list[str]


def calibrate(path: Path, compared: Compared, progress: Callable[[Progress], None] | None = None) -> Calibration:
    """Fit latencies, slip_ticks and the half spread of bars to live's fills, then run the backtest once more with them.

    The latency to the venue is the median, over orders that took liquidity at once, of the venue's time at the fill less ours when the
    order left; the one back, of our time less the venue's. The median has the least absolute error, so a few slow orders do not move it.
    Both need the venue's clock to be ours: a difference of the clocks adds to one and is taken from the other.
    slip_ticks is the least-squares slope of what live paid beyond a backtest without slip: each order's price is linear in it. It stays
    where no order of the backtest went beyond the book. spread.half is the mean, in ticks, of what takers paid against the mid at the fill.
    TooFewOrders below 5 orders that took liquidity at once.
    """
    submit, report = latencies(compared.live)
    if len(submit) < FILLS_MIN:
        raise TooFewOrders(f"{compared.journal}: {len(submit)} orders took liquidity at once: at least {FILLS_MIN} are needed to calibrate")
    notes = []
    if (submit < 0).any() or (report < 0).any():
        notes.append("some latencies are below 0: the venue's clock is not ours; only their sum is to be trusted")
    fitted = [_fitted("latency.submit_ms", submit), _fitted("latency.report_ms", report)]
    latency = LatencyCosts(kind="fixed", submit_ms=_ms(fitted[0].value), report_ms=_ms(fitted[1].value))
    costs = msgspec.structs.replace(compared.model.costs or Costs(), latency=latency)
    paper = compared.model.paper or PaperSettings()
    none, some = (
        replay_both(path, FillModel(costs=costs, paper=msgspec.structs.replace(paper, slip_ticks=slip)), compared.span, progress)
        for slip in (0, _SLIP_PROBE)
    )
    slip = slip_of(compared.live, none.backtest, some.backtest)
    if slip is None:
        notes.append(f"slip_ticks stays {paper.slip_ticks}: no order of the backtest went beyond the book")
    else:
        fitted.append(slip)
        paper = msgspec.structs.replace(paper, slip_ticks=max(0, round(slip.value)))
    half = _fitted("spread.half", half_spreads(compared.live), "ticks", mean=True)
    fitted.append(half)
    again = replay_both(path, FillModel(costs=costs, paper=paper), compared.span, progress)
    before, after = price_errors(compared.live, compared.backtest), price_errors(again.live, again.backtest)
    return Calibration(
        parameters=fitted, orders_before=len(before), price_error_before=_rms(before), orders_after=len(after),
        price_error_after=_rms(after), difference_before_e8=compared.live.change_e8 - compared.backtest.change_e8,
        difference_after_e8=again.live.change_e8 - again.backtest.change_e8,
        snippet=_snippet(latency, max(0.0, half.value), paper.slip_ticks), notes=notes,
    )  # fmt: skip


def latencies(side: Side) -> tuple[F64, F64]:
    """(to the venue, back) in ms, of the first fill of each market order; float64[n] each."""
    submit, report = [], []
    seen: set[str] = set()
    for fill in side.fills:
        order = side.orders.get(fill.client_order_id)
        if order is None or order.order_type != "market" or fill.client_order_id in seen or not fill.ts_event_ns:
            continue
        seen.add(fill.client_order_id)
        submit.append((fill.ts_event_ns - order.ts_ns) / 1e6)
        report.append((fill.ts_recv_ns - fill.ts_event_ns) / 1e6)
    return np.array(submit), np.array(report)


def half_spreads(side: Side) -> F64:
    """Ticks that each order which took liquidity paid on average against the mid at its first fill; above 0 is a cost; float64[n]."""
    mids: dict[str, int] = {}
    makers = {fill.client_order_id for fill in side.fills if fill.is_maker}
    for fill in side.fills:
        mids.setdefault(fill.client_order_id, side.moments[fill.fill_id].arrival_mid2)
    means = _means(side)
    return np.array([means[name][0] * (means[name][1] - mid2 / 2.0) for name, mid2 in mids.items() if mid2 and name not in makers])


def slip_of(live: Side, none: Side, some: Side) -> Fitted | None:
    """slip_ticks by least squares, from backtests with 0 and _SLIP_PROBE ticks of slip; None where it changed no order's price."""
    actual, at_0, at_probe = _means(live), _means(none), _means(some)
    probes = dict(paired_orders(live.trips, some.trips))
    slopes, paid = [], []
    for name, other in paired_orders(live.trips, none.trips):
        if name in probes:
            side, price = actual[name]
            slopes.append(side * (at_probe[probes[name]][1] - at_0[other][1]) / _SLIP_PROBE)
            paid.append(side * (price - at_0[other][1]))
    k, y = np.array(slopes), np.array(paid)
    used = k > 0.0
    if not used.any():
        return None
    k, y = k[used], y[used]
    value = float((k * y).sum() / (k * k).sum())
    low, middle, high = (float(x) for x in np.quantile(y / k, [0.05, 0.5, 0.95]))
    error = math.sqrt(float(((y - k * value) ** 2).mean()))
    return Fitted(name="slip_ticks", unit="ticks", value=value, q05=low, q50=middle, q95=high, error=error, fills=len(k))


def price_errors(live: Side, backtest: Side) -> F64:
    """Ticks between the mean prices of live and backtest, of each order of a matched trade; above 0: live paid more; float64[n]."""
    ours, theirs = _means(live), _means(backtest)
    return np.array([ours[a][0] * (ours[a][1] - theirs[b][1]) for a, b in paired_orders(live.trips, backtest.trips)])


def _means(side: Side) -> dict[str, tuple[int, float]]:
    sums: dict[str, tuple[int, int, int]] = {}
    for fill in side.fills:
        _, value, lots = sums.get(fill.client_order_id, (0, 0, 0))
        sums[fill.client_order_id] = (fill.side, value + fill.price_ticks * fill.qty_lots, lots + fill.qty_lots)
    return {name: (way, value / lots) for name, (way, value, lots) in sums.items()}


def _fitted(name: str, values: F64, unit: str = "ms", *, mean: bool = False) -> Fitted:
    if not len(values):
        return Fitted(name=name, unit=unit, value=0.0, q05=0.0, q50=0.0, q95=0.0, error=0.0, fills=0)
    low, middle, high = (float(x) for x in np.quantile(values, [0.05, 0.5, 0.95]))
    value = float(values.mean()) if mean else middle
    error = math.sqrt(float(((values - value) ** 2).mean()))
    return Fitted(name=name, unit=unit, value=value, q05=low, q50=middle, q95=high, error=error, fills=len(values))


def _rms(values: Sequence[float] | F64) -> float | None:
    return math.sqrt(float((np.asarray(values) ** 2).mean())) if len(values) else None


def _ms(value: float) -> Decimal:
    return Decimal(str(round(max(0.0, value), 3)))


def _snippet(latency: LatencyCosts, half_ticks: float, slip_ticks: int) -> str:
    return (
        f'[costs.latency]\nkind = "fixed"\nsubmit_ms = "{latency.submit_ms}"\nreport_ms = "{latency.report_ms}"\n\n'
        f'[costs.spread]\nkind = "ticks"\nhalf = "{half_ticks:.2f}"  # of bars; on ticks the book is asked\n\n'
        f"[paper]\nslip_ticks = {slip_ticks}\n"
    )
