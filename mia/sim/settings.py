"""Settings of the paper broker ([paper]), of the simulated market ([sim]) and of the demo exchange ([demo])."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

import msgspec

from mia.domain.errors import ConfigError

CASH_MAX: Final = 10**10  # in 1e-8 a ninth of what int64 holds: room for what it may grow to


class PaperSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[paper]: what the in-process venue gives us and how slow it is.

    slip_ticks: what each lot beyond the known depth costs; closed_orders_kept: how many finished orders can still be queried
    and are known as duplicates.
    """

    cash: Decimal = Decimal(10_000)  # quote currency
    currency: str = "USDT"  # of the account
    submit_latency_ms: int = 5  # from our order to the matching
    report_latency_ms: int = 5  # from the matching to our knowing
    slip_ticks: int = 2
    closed_orders_kept: int = 512

    def __post_init__(self) -> None:
        if not (self.cash.is_finite() and 0 < self.cash <= CASH_MAX):
            raise ConfigError(f"[paper] cash must be above 0 and at most 10^10, got {self.cash}")
        for name in ("submit_latency_ms", "report_latency_ms"):
            if not (0 <= getattr(self, name) <= 60_000):
                raise ConfigError(f"[paper] {name} must be between 0 and 60000, got {getattr(self, name)}")
        if not (0 <= self.slip_ticks <= 1_000_000):
            raise ConfigError(f"[paper] slip_ticks must be between 0 and 1000000, got {self.slip_ticks}")
        if not (1 <= self.closed_orders_kept <= 100_000):
            raise ConfigError(f"[paper] closed_orders_kept must be between 1 and 100000, got {self.closed_orders_kept}")


class PhaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hidden phase: volatility (bps per root second), arrivals, drift (bps/s, either direction), length, taker share, jumps."""

    sigma_bps: float  # volatility per root second
    steps_per_s: float  # arrivals; each gives about two events
    drift_bps_per_s_min: float = 0.0  # least drift, either direction
    drift_bps_per_s_max: float = 0.0  # largest drift, either direction
    dwell_s_min: float  # shortest length of the phase
    dwell_s_max: float  # longest length of the phase
    taker_share: float  # of arrivals, when the price is where it belongs
    jumps_per_s: float  # how often the latent price jumps

    def row(self) -> tuple[float, ...]:
        """The kernel's row (mia.kernels.market.PHASE_FIELDS)."""
        return (
            self.sigma_bps,
            self.steps_per_s,
            self.drift_bps_per_s_min,
            self.drift_bps_per_s_max,
            self.dwell_s_min,
            self.dwell_s_max,
            self.taker_share,
            self.jumps_per_s,
        )


class SimMarketSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[sim]: one seed and the habits of the market. Defaults resemble BTCUSDT USD-M, thinned, with trends that can be traded.

    transitions: weights of the next phase, rows and columns calm, trending, violent. placement_bps: spacing of the book;
    gap_bps: distance of the latent price at which half of the takers know it; makers learn it with maker_lag_s; volatility wanders
    (vol_of_vol per root second, back within vol_tau_s); momentum: share of fresh uninformed runs that follow the trend;
    persistence: chance that an uninformed taker repeats the last sign.
    """

    seed: int = 1  # the same seed gives the same market, event by event
    start_price: Decimal = Decimal(60_000)  # mid of the first moment
    order_notional: Decimal = Decimal(20_000)  # quote currency, of a typical order
    feed_latency_us: int = 2_000  # venue clock to our clock
    calm: PhaseSettings = PhaseSettings(sigma_bps=0.4, steps_per_s=45, dwell_s_min=40, dwell_s_max=180, taker_share=0.22, jumps_per_s=0.002)
    trending: PhaseSettings = PhaseSettings(
        sigma_bps=1.2,
        steps_per_s=55,
        drift_bps_per_s_min=0.3,
        drift_bps_per_s_max=0.6,
        dwell_s_min=60,
        dwell_s_max=180,
        taker_share=0.32,
        jumps_per_s=0.004,
    )
    violent: PhaseSettings = PhaseSettings(
        sigma_bps=2.4, steps_per_s=75, dwell_s_min=20, dwell_s_max=90, taker_share=0.36, jumps_per_s=0.02
    )
    transitions: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]] = (
        (0.0, 0.6, 0.4),
        (0.6, 0.0, 0.4),
        (0.55, 0.45, 0.0),
    )
    placement_bps: float = 0.08
    gap_bps: float = 0.3
    maker_lag_s: float = 0.25  # how long makers need to learn the latent price
    vol_of_vol: float = 0.25  # how much the volatility wanders, per root second
    vol_tau_s: float = 20.0  # within which it comes back
    jump_bps: float = 4.0  # typical size of a jump of the latent price
    momentum: float = 0.2
    persistence: float = 0.5

    def __post_init__(self) -> None:
        _within("[sim] start_price", float(self.start_price), 1e-9, 1e12)
        _within("[sim] order_notional", float(self.order_notional), 1e-9, 1e15)
        _within("[sim] feed_latency_us", self.feed_latency_us, 0, 60_000_000)
        for name, phase in (("calm", self.calm), ("trending", self.trending), ("violent", self.violent)):
            _within(f"[sim.{name}] sigma_bps", phase.sigma_bps, 0, 50)
            _within(f"[sim.{name}] steps_per_s", phase.steps_per_s, 0.01, 1e6)
            _within(f"[sim.{name}] drift_bps_per_s_min", phase.drift_bps_per_s_min, 0, phase.drift_bps_per_s_max)
            _within(f"[sim.{name}] drift_bps_per_s_max", phase.drift_bps_per_s_max, 0, 50)
            _within(f"[sim.{name}] dwell_s_min", phase.dwell_s_min, 0.1, phase.dwell_s_max)
            _within(f"[sim.{name}] dwell_s_max", phase.dwell_s_max, 0.1, 1e7)
            _within(f"[sim.{name}] taker_share", phase.taker_share, 0, 0.6)
            _within(f"[sim.{name}] jumps_per_s", phase.jumps_per_s, 0, 10)
        for i, row in enumerate(self.transitions):
            if row[i] != 0.0 or not all(math.isfinite(w) and w >= 0.0 for w in row) or not (sum(row) > 0.0):
                raise ConfigError(f"[sim] transitions row {i + 1}: weights at least 0, 0 on the diagonal, one above 0; got {row}")
        bounds = {
            "placement_bps": (0.001, 50),
            "gap_bps": (0.001, 100),
            "maker_lag_s": (0.001, 1000),
            "vol_of_vol": (0, 5),
            "vol_tau_s": (0.1, 1e5),
            "jump_bps": (0, 100),
            "momentum": (0, 1),
            "persistence": (0, 0.99),
        }
        for name, (low, high) in bounds.items():
            _within(f"[sim] {name}", getattr(self, name), low, high)


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[demo]: the exchange in a process of its own (`mia venue demo`, `miad --venue demo`); loopback only.

    port 0: any free one. history_s: market seconds that were traded before a fresh start. speed: market seconds per second.
    buffer_bytes_max: what a slow reader may leave unread before its connection is closed.
    """

    seed: int = 46  # of its market; [sim] has all its other habits. The same seed is the same market, event by event
    host: str = "127.0.0.1"  # loopback, nothing else
    port: int = 0  # 0: any free one
    quote_balance: Decimal = Decimal(10_000)  # quote currency that the account begins with
    base_balance: Decimal = Decimal(0)  # base currency that the account begins with
    speed: float = 1.0
    history_s: int = 900
    slip_ticks: int = 2  # what each lot beyond the known depth costs
    weight_per_minute: int = 6_000  # request weight after which the exchange answers 429
    orders_per_10s: int = 100  # orders within 10 s, beyond which they are rejected
    orders_per_day: int = 200_000  # the same within a day
    closed_orders_kept: int = 2_000  # how many finished orders can still be queried
    buffer_bytes_max: int = 4_000_000

    def __post_init__(self) -> None:
        if self.host != "127.0.0.1":
            raise ConfigError(f"[demo] host must be 127.0.0.1: the demo exchange is not reachable from outside; got {self.host!r}")
        for name in ("quote_balance", "base_balance"):
            value: Decimal = getattr(self, name)
            if not (value.is_finite() and 0 <= value <= 10**12):
                raise ConfigError(f"[demo] {name} must be between 0 and 10^12, got {value}")
        bounds = {
            "port": (0, 65_535),
            "speed": (0.01, 1_000),
            "history_s": (0, 14_400),
            "slip_ticks": (0, 1_000_000),
            "weight_per_minute": (1, 10**9),
            "orders_per_10s": (1, 10**9),
            "orders_per_day": (1, 10**9),
            "closed_orders_kept": (1, 100_000),
            "buffer_bytes_max": (65_536, 1 << 30),
        }
        for key, (low, high) in bounds.items():
            _within(f"[demo] {key}", getattr(self, key), low, high)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high):
        raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value:g}")
