"""Settings of a cost model: one struct with a part, and in it a switch, for each thing that trading costs. No arithmetic of costs here."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal

import msgspec

from mia.domain.errors import ConfigError

_HOURS: Final = (0, 8, 16)


def _within(name: str, value: Decimal | int, low: Decimal | int, high: Decimal | int) -> None:
    if (isinstance(value, Decimal) and not value.is_finite()) or not (low <= value <= high):
        raise ConfigError(f"[costs] {name} must be between {low} and {high}, got {value}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"[costs] {name} must be one of {', '.join(known)}, got {value!r}")


def _file_if(name: str, value: str, is_needed: bool) -> None:
    if is_needed != bool(value):
        raise ConfigError(f"[costs] {name} {'must name a file' if is_needed else 'is not read by the kind that is set: remove it'}")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Root of the parts; an error names the part and the field."""


class FeeCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of notional that the venue takes of each fill."""

    kind: Literal["off", "instrument", "table"] = "instrument"  # instrument: its maker_fee, taker_fee; table: tiers by trailing volume
    file: str = ""  # own schedules instead of the shipped fee_tiers.toml
    volume: Decimal = Decimal(0)  # quote currency within the window, traded elsewhere on the account, added to what this account trades
    currency: Literal["quote", "base"] = "quote"  # base: buys on spot pay in the coins they bought

    def __post_init__(self) -> None:
        _one_of("fees.kind", self.kind, ("off", "instrument", "table"))
        _one_of("fees.currency", self.currency, ("quote", "base"))
        _within("fees.volume", self.volume, 0, 10**15)

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "fees: none"
        base = "; spot buys pay theirs in the base" if self.currency == "base" else ""
        if self.kind == "instrument":
            return f"fees: the instrument's own maker and taker fee{base}"
        also = f" and {self.volume:f} traded elsewhere" if self.volume else ""
        return f"fees: tiers of {self.file or 'the shipped fee_tiers.toml'} by this account's trailing volume{also}{base}"


class SpreadCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Half of the spread, where the data has no quotes (bars)."""

    kind: Literal["off", "ticks", "bps", "column", "file"] = "ticks"
    half: Decimal = Decimal(1)  # ticks or basis points, each side; not read for column and file
    file: str = ""  # ts_ns,bid,ask in quote currency: the last row at or before the fill counts

    def __post_init__(self) -> None:
        _one_of("spread.kind", self.kind, ("off", "ticks", "bps", "column", "file"))
        _within("spread.half", self.half, 0, 100_000)
        _file_if("spread.file", self.file, self.kind == "file")

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "spread: none: bars are traded at their own prices"
        if self.kind in ("ticks", "bps"):
            unit = "tick" if self.kind == "ticks" and self.half == 1 else self.kind
            return f"spread: half of it is {self.half:f} {unit} on each side of a bar's price"
        return f"spread: half of what the {'bars carry' if self.kind == 'column' else f'quotes of {self.file} say'}"


class LatencyCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How late orders arrive and reports come back."""

    kind: Literal["off", "fixed", "measured"] = "off"  # off: what [paper] says; bars fill at the next open in any case
    submit_ms: Decimal = Decimal(5)  # fixed: from our order to the matching
    report_ms: Decimal = Decimal(5)  # fixed: from the matching to our knowing
    file: str = ""  # measured: quantile,submit_ms,report_ms with quantiles from 0 to 1

    def __post_init__(self) -> None:
        _one_of("latency.kind", self.kind, ("off", "fixed", "measured"))
        _within("latency.submit_ms", self.submit_ms, 0, 60_000)
        _within("latency.report_ms", self.report_ms, 0, 60_000)
        _file_if("latency.file", self.file, self.kind == "measured")

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "latency: the venue's own (next open on bars, [paper] on ticks)"
        if self.kind == "fixed":
            return f"latency: {self.submit_ms:f} ms to the venue, {self.report_ms:f} ms back"
        return f"latency: drawn from the quantiles of {self.file}, by order number and seed"


class QueueCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a resting order stands in the queue of its price (depth and quotes)."""

    kind: Literal["risk_averse", "power", "log"] = "risk_averse"
    power: Decimal = Decimal(3)  # n of f(x) = x^n

    def __post_init__(self) -> None:
        _one_of("queue.kind", self.kind, ("risk_averse", "power", "log"))
        _within("queue.power", self.power, Decimal("0.01"), 20)

    def words(self) -> str:
        """One line."""
        if self.kind == "risk_averse":
            return "queue: all that stood before us must trade; cancels leave from behind us while anything is there"
        form = f"x^{self.power:f}" if self.kind == "power" else "log(1 + x)"
        return f"queue: cancels come from behind us with probability f(behind) / (f(behind) + f(ahead)), f(x) = {form}"


class ParticipationCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of the market's volume can be ours, and what becomes of the rest."""

    share_max: Decimal = Decimal(0)  # of the bar's volume, on ticks of the last interval's; 0: no cap
    interval_s: int = 60  # on ticks
    partial_fills: bool = True  # False: an order that does not fit is not filled at all

    def __post_init__(self) -> None:
        _within("participation.share_max", self.share_max, 0, 1)
        _within("participation.interval_s", self.interval_s, 1, 86_400)

    def words(self) -> str:
        """One line."""
        if not self.share_max:
            return "participation: no cap on our share of the volume"
        rest = "the rest is not filled" if self.partial_fills else "a larger order is not filled at all"
        return f"participation: at most {self.share_max:%} of the bar's volume (on ticks: of {self.interval_s} s); {rest}"


class ImpactCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Square-root impact: price x eta x sigma x sqrt(qty / volume)."""

    kind: Literal["off", "square_root"] = "off"
    eta: Decimal = Decimal(1)  # of order one in the literature

    def __post_init__(self) -> None:
        _one_of("impact.kind", self.kind, ("off", "square_root"))
        _within("impact.eta", self.eta, 0, 100)

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "impact: none beyond the depth that is walked"
        return f"impact: {self.eta:f} x volatility x sqrt(order / volume) of the same interval, in the price"


class FundingCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What long perpetuals pay to short ones at fixed hours (a rate below 0: the other way round)."""

    kind: Literal["off", "fixed", "file", "catalogue"] = "off"  # catalogue: what `mia data import` stored of each; backtests only
    rate: Decimal = Decimal(0)  # fixed: share of notional at each time
    hours: tuple[int, ...] = _HOURS  # fixed: UTC
    file: str = ""  # ts_ns,rate: its times are the times of funding

    def __post_init__(self) -> None:
        _one_of("funding.kind", self.kind, ("off", "fixed", "file", "catalogue"))
        _within("funding.rate", self.rate, -1, 1)
        if not (self.hours and all(0 <= h < 24 for h in self.hours) and list(self.hours) == sorted(set(self.hours))):
            raise ConfigError(f"[costs] funding.hours must be hours of the UTC day that rise, got {self.hours}")
        _file_if("funding.file", self.file, self.kind == "file")

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "funding: none charged"
        if self.kind == "file":
            return f"funding: rates and times of {self.file}, on perpetuals"
        if self.kind == "catalogue":
            return "funding: rates and times of the catalogue, on perpetuals"
        return f"funding: {self.rate:f} of notional at {', '.join(f'{h:02d}:00' for h in self.hours)} UTC, on perpetuals"


class BorrowCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Interest on what is sold short, charged at each 00:00 UTC at which it is short, a 365th of the year."""

    kind: Literal["off", "annual"] = "off"
    annual_rate: Decimal = Decimal(0)  # share of notional a year
    instruments: tuple[Literal["spot", "perpetual", "future"], ...] = ("spot",)

    def __post_init__(self) -> None:
        _one_of("borrow.kind", self.kind, ("off", "annual"))
        _within("borrow.annual_rate", self.annual_rate, 0, 10)

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "borrow: none charged"
        return f"borrow: {self.annual_rate:%} a year on short {', '.join(self.instruments)}, charged daily at 00:00 UTC"


class CommissionCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Broker and exchange commission of futures, part of each fill's fee."""

    per_contract: Decimal = Decimal(0)  # account currency, each side; a contract is one unit of size (ES: one lot). 0: none

    def __post_init__(self) -> None:
        _within("commission.per_contract", self.per_contract, 0, 1_000)

    def words(self) -> str:
        """One line."""
        if not self.per_contract:
            return "commission: none per contract"
        return f"commission: {self.per_contract:f} per future contract and side, in the fill's fee"


class MarginCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a position in derivatives locks, and below what equity it is closed by the venue."""

    initial: Decimal = Decimal(0)  # share of notional; 0: the instrument's own
    maintenance: Decimal = Decimal(0)  # share of notional; 0: no liquidation
    liquidation_fee: Decimal = Decimal(0)  # share of the notional that was liquidated

    def __post_init__(self) -> None:
        _within("margin.initial", self.initial, 0, 1)
        _within("margin.maintenance", self.maintenance, 0, 1)
        _within("margin.liquidation_fee", self.liquidation_fee, 0, Decimal("0.5"))
        if self.initial and self.maintenance > self.initial:
            raise ConfigError(f"[costs] margin.maintenance {self.maintenance} is above margin.initial {self.initial}")
        if self.liquidation_fee and not self.maintenance:
            raise ConfigError("[costs] margin.liquidation_fee needs margin.maintenance: without it nothing is liquidated")

    def words(self) -> str:
        """One line."""
        first = f"margin: {self.initial:%} initial" if self.initial else "margin: the instrument's own initial margin"
        if not self.maintenance:
            return f"{first}; no liquidation"
        return f"{first}; below {self.maintenance:%} maintenance everything is closed, fee {self.liquidation_fee:%}"


class RollCosts(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What it costs to move an open future to its next contract: both legs at half the spread and the taker's fee."""

    kind: Literal["off", "quarterly", "file"] = "off"
    days_before: int = 8  # quarterly: 00:00 UTC so many days before the third Friday of March, June, September, December
    half_spread_ticks: Decimal = Decimal(1)  # each leg
    file: str = ""  # ts_ns of each roll, one a row

    def __post_init__(self) -> None:
        _one_of("roll.kind", self.kind, ("off", "quarterly", "file"))
        _within("roll.days_before", self.days_before, 0, 30)
        _within("roll.half_spread_ticks", self.half_spread_ticks, 0, 100_000)
        _file_if("roll.file", self.file, self.kind == "file")

    def words(self) -> str:
        """One line."""
        if self.kind == "off":
            return "roll: none charged"
        when = f"at the times of {self.file}" if self.kind == "file" else f"{self.days_before} days before each quarter's third Friday"
        return f"roll: {when}; two legs of {self.half_spread_ticks:f} ticks and the taker's fee, on futures"


class Costs(_Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[costs]: everything a simulated venue takes, and how it fills. The defaults charge fees and a spread, and no carrying cost."""

    seed: int = 1  # of whatever is drawn
    fees: FeeCosts = FeeCosts()
    spread: SpreadCosts = SpreadCosts()
    latency: LatencyCosts = LatencyCosts()
    queue: QueueCosts = QueueCosts()
    participation: ParticipationCosts = ParticipationCosts()
    impact: ImpactCosts = ImpactCosts()
    funding: FundingCosts = FundingCosts()
    borrow: BorrowCosts = BorrowCosts()
    commission: CommissionCosts = CommissionCosts()
    margin: MarginCosts = MarginCosts()
    roll: RollCosts = RollCosts()

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, 2**62)

    def words(self) -> list[str]:
        """The assumptions of a report, one line each, in the order of the fields."""
        parts = (
            self.fees, self.spread, self.latency, self.queue, self.participation, self.impact, self.funding, self.borrow,
            self.commission, self.margin, self.roll,
        )  # fmt: skip
        return [part.words() for part in parts]

    @staticmethod
    def free() -> Costs:
        """Nothing costs anything: to compare with libraries that charge nothing."""
        return Costs(fees=FeeCosts(kind="off"), spread=SpreadCosts(kind="off"))
