"""A cost model ready for use: settings and files bound to instruments, and the functions that a simulated venue asks.

The order of a fill on bars (`mia.sim.bar_venue`; on ticks `mia.sim.venue` meets the book instead of 2 and 3):
  1. `submit_ns`, `report_ns`      when the order arrives and its report comes back, by its number
  2. `capped_lots`                 how much of it the bar's volume allows
  3. `fill_price`                  the price of those lots: the bar's price, half the spread, impact, in whole ticks against us
  4. `fee`                         the fee at the tier of that day; then `volume.add` of the notional
  5. `FillPrice.moments`           for `mia.execution.attribution`
Between fills: `next_charge_ns` and `charges` for funding, borrow and rolls (each becomes a CashFlow), and at every mark
`maintenance_e8` against equity; what is liquidated fills at `worse_ticks` and pays `liquidation_fee_e8`.

All money is int e8 of the account currency. Nothing here has a clock; what is drawn depends on (seed, number) alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import BUY
from mia.domain.instruments import Instrument
from mia.domain.sizing import SHARE_SCALE
from mia.execution.attribution import Moments
from mia.kernels.rng import uniform_at
from mia.shipped import config_file
from mia.sim.account import Rates
from mia.sim.carry import Carry
from mia.sim.cost_files import Series, read_columns
from mia.sim.cost_settings import Costs
from mia.sim.fees import DAY_NS, Schedule, TradedVolume, read_schedules

__all__ = ["CostModel", "Costs", "Fee", "FillPrice", "TradedVolume"]

_MICRO: Final = 1_000_000  # parts of a tick in which spreads and impact are counted


class Fee(NamedTuple):
    """What a fill pays, as OrderFilled says it."""

    fee_e8: int
    base_fee_e8: int = 0


class FillPrice(NamedTuple):
    """A fill's price with what it is made of: mid, then half the spread (touch), then impact (price)."""

    price_ticks: int
    touch_ticks: int
    mid2: int

    def moments(self, decision_mid2: int) -> Moments:
        """For the attribution: the decision's doubled mid is the caller's to remember."""
        return Moments(decision_mid2, self.mid2, self.touch_ticks)


class CostModel:
    """Costs of one account's instruments. `files` are those it read: a run that is to be repeated keeps their digests."""

    def __init__(self, costs: Costs, instruments: Mapping[int, Instrument]) -> None:
        """ConfigError: no fee schedule for an instrument, maintenance above its initial margin. DataError: a file of no use."""
        self.costs: Final = costs
        self.files: Final[list[Path]] = []
        self.volume = TradedVolume()  # a venue that has snapshots puts its own here
        self._fee_day = -1
        self._schedules: Final = self._schedules_of(instruments)
        self.rates: Final[dict[int, Rates]] = {}
        self._carry: Final[dict[int, Carry]] = {}
        self._spreads: Final[dict[int, Series]] = {}
        for number in sorted(instruments):
            definition = instruments[number]
            per_lot = costs.commission.per_contract * definition.lot_size if definition.kind == "future" else Decimal(0)
            rates = Rates(number, definition, initial_margin=costs.margin.initial, per_lot=per_lot)
            self.rates[number] = rates
            self._set_fees(number, 0)
            taker = Decimal(0) if costs.fees.kind == "off" else definition.taker_fee
            self._carry[number] = Carry(costs, definition, rates.terms, taker)
            self.files.extend(self._carry[number].files)
            if costs.spread.kind == "file":
                self._spreads[number] = self._spread_of(definition)
            if costs.margin.maintenance and definition.is_derivative and costs.margin.maintenance * SHARE_SCALE > rates.terms.margin_e9:
                raise ConfigError(
                    f"[costs] margin.maintenance {costs.margin.maintenance} is above the initial margin of {definition.symbol},"
                    f" {Decimal(rates.terms.margin_e9) / SHARE_SCALE:f}: every position would be closed as soon as it is opened"
                )
        latency = costs.latency
        self._fixed_ns: Final = (int(latency.submit_ms * 1_000_000), int(latency.report_ms * 1_000_000))
        self._delays: Final = self._quantiles() if costs.latency.kind == "measured" else []
        self.charges_carry: Final = not all(carry.is_free for carry in self._carry.values())
        self.liquidates: Final = costs.margin.maintenance > 0
        self._maintenance: Final = costs.margin.maintenance.as_integer_ratio()
        self._liquidation: Final = costs.margin.liquidation_fee.as_integer_ratio()
        self._share: Final = costs.participation.share_max.as_integer_ratio()
        self._half: Final = costs.spread.half.as_integer_ratio()
        self._eta: Final = float(costs.impact.eta) if costs.impact.kind != "off" else 0.0

    # --- latency ----------------------------------------------------------------------------------------------------
    def submit_ns(self, number: int, default_ns: int) -> int:
        """How long request `number` takes to the venue; default_ns where the settings leave it to the venue."""
        return self._delay_ns(number * 2, 1, default_ns)

    def report_ns(self, number: int, default_ns: int) -> int:
        """How long report `number` takes back to us."""
        return self._delay_ns(number * 2 + 1, 2, default_ns)

    def _delay_ns(self, counter: int, column: int, default_ns: int) -> int:
        """column: 1 to the venue, 2 back."""
        kind = self.costs.latency.kind
        if kind == "off":
            return default_ns
        if kind == "fixed":
            return self._fixed_ns[column - 1]
        u, rows = uniform_at(self.costs.seed, counter >> 32, counter), self._delays
        i = min(max(1, bisect_right(rows, u, key=lambda row: row[0])), len(rows) - 1)
        (q0, *low), (q1, *high) = rows[i - 1], rows[i]
        return int((low[column - 1] + (high[column - 1] - low[column - 1]) * (u - q0) / (q1 - q0)) * 1e6)

    # --- size and price ---------------------------------------------------------------------------------------------
    def capped_lots(self, qty_lots: int, volume_lots: int, used_lots: int = 0) -> int:
        """How many of qty_lots may fill where volume_lots were traded and used_lots of these were ours already.

        0 when nothing is left, and when the order does not fit and is not to be filled in parts.
        """
        num, den = self._share
        if not num:
            return qty_lots
        fits = min(qty_lots, max(0, volume_lots * num // den - used_lots))
        return fits if fits == qty_lots or self.costs.participation.partial_fills else 0

    def fill_price(
        self,
        instrument: int,
        side: int,
        mid2: int,
        qty_lots: int,
        *,
        ts_ns: int = 0,
        half_spread_ticks: float = 0.0,
        sigma: float = 0.0,
        volume_lots: int = 0,
        limit_ticks: int = 0,
    ) -> FillPrice:
        """The price that a taker of qty_lots gets, in whole ticks against it, at least one.

        mid2: the doubled price that the bar gives (2 x its open), above 0. half_spread_ticks: of this bar, where the settings say `column`.
        sigma, volume_lots: volatility (a share of price) and volume of one and the same interval, for the impact; a volatility that is not
        known costs nothing, a volume that is not known counts as the order's own. limit_ticks: never worse than that; 0 without a limit.
        Source of the impact: Toth et al. (2011), "Anomalous price impact and the critical nature of liquidity in financial markets"
        (square root of the share, prefactor of order one); Almgren, Thum, Hauptmann, Li (2005), "Direct estimation of equity market
        impact" (a power of 0.6, near it). Every lot pays the whole of it, though the first of an order move the market less.
        """
        half = self._half_micro(instrument, mid2, ts_ns, half_spread_ticks)
        impact = math.ceil(self.impact_ticks(mid2, qty_lots, sigma, volume_lots) * _MICRO)
        mid = mid2 * (_MICRO // 2)
        if side == BUY:
            touch, price = -(-(mid + half) // _MICRO), -(-(mid + half + impact) // _MICRO)
            if limit_ticks:
                touch, price = min(touch, limit_ticks), min(price, limit_ticks)
        else:
            touch, price = max(1, (mid - half) // _MICRO), max(1, (mid - half - impact) // _MICRO)
            if limit_ticks:
                touch, price = max(touch, limit_ticks), max(price, limit_ticks)
        return FillPrice(price, touch, mid2)

    def impact_ticks(self, mid2: int, qty_lots: int, sigma: float, volume_lots: int) -> float:
        """Square-root impact in ticks: price x eta x sigma x sqrt(qty / volume); 0.0 where it is off or sigma is not known."""
        if not (self._eta > 0.0 and sigma > 0.0 and math.isfinite(sigma)):
            return 0.0
        share = qty_lots / volume_lots if volume_lots > 0 else 1.0
        return mid2 / 2 * self._eta * sigma * math.sqrt(share)

    def _half_micro(self, instrument: int, mid2: int, ts_ns: int, given_ticks: float) -> int:
        kind = self.costs.spread.kind
        num, den = self._half
        if kind == "ticks":
            return -(-num * _MICRO // den)
        if kind == "bps":
            return -(-mid2 * num * _MICRO // (den * 20_000))
        if kind == "column":
            if not (0.0 <= given_ticks < 1e9):
                raise DataError(f"half spread of a bar must be a number of ticks from 0 on, got {given_ticks} (ts_ns {ts_ns})")
            return math.ceil(given_ticks * _MICRO)
        if kind == "file":
            found = self._spreads[instrument].at(ts_ns)
            if found is None:
                raise DataError(f"{self.costs.spread.file}: no quote at or before ts_ns {ts_ns}, the time of a fill")
            return int(found)
        return 0

    # --- fees ---------------------------------------------------------------------------------------------------------
    def fee(self, instrument: int, side: int, price_ticks: int, lots: int, is_maker: bool, ts_ns: int) -> Fee:
        """The fee of a fill at the tier of its day, rounded up; add the notional to `volume` after it."""
        self.refresh_fees(ts_ns)
        rates = self.rates[instrument]
        if self.costs.fees.currency == "base" and side == BUY and not rates.terms.is_derivative:
            base_fee_e8 = rates.base_fee_e8(lots, is_maker)
            if base_fee_e8:
                return Fee(-(-base_fee_e8 * price_ticks * rates.terms.unit_e8 // rates.terms.lot_e8), base_fee_e8)
        return Fee(rates.fee_e8(rates.value_e8(price_ticks, lots), is_maker, lots))

    def refresh_fees(self, ts_ns: int) -> None:
        """Bring every instrument's fees to the tier of the day of ts_ns; nothing to do within a day."""
        if self.costs.fees.kind == "table" and ts_ns // DAY_NS != self._fee_day:
            self._fee_day = ts_ns // DAY_NS
            for number in self.rates:
                self._set_fees(number, ts_ns)

    def adopt_volume(self, volume: TradedVolume) -> None:
        """Go on with the volume of a snapshot."""
        self.volume, self._fee_day = volume, -1

    def _set_fees(self, number: int, ts_ns: int) -> None:
        rates, costs = self.rates[number], self.costs
        definition = rates.definition
        if costs.fees.kind == "off":
            rates.set_fees(Decimal(0), Decimal(0))
        elif costs.fees.kind == "table":
            schedule = self._schedules[definition.venue]
            own_e8 = self.volume.trailing_e8(ts_ns, schedule.volume_days)
            tier = schedule.tier(own_e8 + int(costs.fees.volume * 100_000_000))
            if tier is not None:
                rates.set_fees(tier.maker, tier.taker)

    def _schedules_of(self, instruments: Mapping[int, Instrument]) -> Mapping[str, Schedule]:
        fees = self.costs.fees
        if fees.kind != "table":
            return {}
        path = Path(fees.file) if fees.file else config_file("fee_tiers.toml")
        self.files.append(path)
        schedules = read_schedules(path)
        for definition in instruments.values():
            if definition.venue not in schedules:
                known = ", ".join(sorted(schedules))
                raise ConfigError(
                    f"[costs] fees: {path} has no schedule of {definition.venue} for {definition.symbol} (it has {known}):"
                    ' add one, or set fees.kind = "instrument"'
                )
        return schedules

    # --- carrying, margin -------------------------------------------------------------------------------------------
    def next_charge_ns(self, instrument: int, after_ns: int) -> int:
        """The first instant after after_ns at which an open position is charged; NEVER_NS where it never is."""
        return self._carry[instrument].next_ns(after_ns)

    def charges(self, instrument: int, at_ns: int, lots: int, mid2: int) -> list[tuple[str, int]]:
        """(kind, amount_e8 for cash) due at exactly that instant for signed lots at the doubled mid."""
        return self._carry[instrument].due(at_ns, lots, mid2)

    def maintenance_e8(self, instrument: int, lots: int, mid2: int) -> int:
        """Equity below which a position in a derivative is liquidated, rounded up; 0 on spot and where nothing is liquidated."""
        rates = self.rates[instrument]
        if not rates.terms.is_derivative:
            return 0
        num, den = self._maintenance
        return -(-abs(rates.value_e8(mid2, lots)) * num // (2 * den))

    def liquidation_fee_e8(self, instrument: int, price_ticks: int, lots: int) -> int:
        """What the venue takes for closing lots at a price, besides the fill's fee; rounded up."""
        num, den = self._liquidation
        return -(-abs(self.rates[instrument].value_e8(price_ticks, lots)) * num // den)

    # --- files --------------------------------------------------------------------------------------------------------
    def _quantiles(self) -> list[tuple[float, ...]]:
        path = Path(self.costs.latency.file)
        self.files.append(path)
        rows = read_columns(path, ("quantile", "submit_ms", "report_ms"))
        if len(rows) < 2 or rows[0][0] != 0.0 or rows[-1][0] != 1.0:
            raise DataError(f"{path}: quantiles must go from 0 to 1, got {rows[0][0]:g} to {rows[-1][0]:g}")
        for number, row in enumerate(rows, 2):
            before = rows[max(0, number - 3)]
            for name, value, was in zip(("submit_ms", "report_ms"), row[1:], before[1:], strict=True):
                if not (0.0 <= value <= 60_000.0 and value >= was):
                    raise DataError(f"{path}, row {number}: {name} must be 0 to 60000 and not fall, got {value:g}")
        return rows

    def _spread_of(self, definition: Instrument) -> Series:
        path = Path(self.costs.spread.file.replace("{symbol}", definition.symbol))
        self.files.append(path)
        rows = read_columns(path, ("ts_ns", "bid", "ask"))
        halves = []
        for number, (_, bid, ask) in enumerate(rows, 2):
            if not (0.0 < bid <= ask):
                raise DataError(f"{path}, row {number}: bid {bid:g} must be above 0 and not above ask {ask:g}")
            halves.append(math.ceil(round((ask - bid) / (2 * float(definition.tick_size)) * _MICRO, 3)))
        return Series([int(row[0]) for row in rows], halves)


def worse_ticks(lots: int, low_ticks: int, high_ticks: int) -> int:
    """The price of a bar that is worse for a position: its low when long, its high when short."""
    return low_ticks if lots > 0 else high_ticks
