"""What holding a position costs with time: funding, borrow and rolls, when they are due and how much they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.ports import NEVER_NS
from mia.sim.cost_files import Series, read_columns, read_series
from mia.sim.cost_settings import Costs
from mia.sim.fees import DAY_NS

_HOUR_NS = 3600 * 1_000_000_000


class Carry:
    """The charges of one instrument. Each is due at an instant; a position that is held then pays or receives it."""

    def __init__(self, costs: Costs, definition: Instrument, terms: Terms, roll_fee: Decimal) -> None:
        """roll_fee: the taker's share of notional that each leg of a roll pays; DataError when a file cannot be used."""
        self._costs = costs
        self._terms = terms
        funding, roll = costs.funding, costs.roll
        self.files: list[Path] = []
        if funding.kind == "catalogue":
            raise ConfigError("[costs] funding.kind = catalogue: only backtests read the catalogue: use file")
        self._has_funding = definition.kind == "perpetual" and funding.kind != "off"
        self._rates = read_series(self._file(funding.file, definition), "rate") if self._has_funding and funding.file else None
        self._has_borrow = costs.borrow.kind != "off" and definition.kind in costs.borrow.instruments
        self._has_rolls = definition.kind == "future" and roll.kind != "off"
        self._rolls: Series | None = None
        if self._has_rolls and roll.kind == "file":
            times = [int(row[0]) for row in read_columns(self._file(roll.file, definition), ("ts_ns",))]
            self._rolls = Series(times, times)
        per_contract = costs.commission.per_contract * definition.lot_size if definition.kind == "future" else Decimal(0)
        self._leg_e8 = (roll.half_spread_ticks * terms.unit_e8 + per_contract * 100_000_000).as_integer_ratio()  # of one lot
        self._leg_share = roll_fee.as_integer_ratio()
        self._funding_share = funding.rate.as_integer_ratio()
        self._borrow_share = costs.borrow.annual_rate.as_integer_ratio()
        self.is_free = not (self._has_funding or self._has_borrow or self._has_rolls)

    def _file(self, name: str, definition: Instrument) -> Path:
        path = Path(name.replace("{symbol}", definition.symbol).replace("{venue}", definition.venue))
        self.files.append(path)
        return path

    def next_ns(self, after_ns: int) -> int:
        """The first instant after after_ns at which something is due; NEVER_NS when nothing is."""
        due = NEVER_NS
        if self._has_funding:
            due = min(due, self._next_funding_ns(after_ns))
        if self._has_borrow:
            due = min(due, (after_ns // DAY_NS + 1) * DAY_NS)
        if self._has_rolls:
            due = min(due, self._next_roll_ns(after_ns))
        return due

    def due(self, at_ns: int, lots: int, mid2: int) -> list[tuple[str, int]]:
        """(kind, amount_e8 that cash gains) of what is due at exactly this instant for signed lots at a doubled mid; rounded against us."""
        found: list[tuple[str, int]] = []
        if not lots or self.is_free:
            return found
        before = at_ns - 1
        value2 = mid2 * lots * self._terms.unit_e8  # signed, doubled
        if self._has_funding and self._next_funding_ns(before) == at_ns:
            num, den = self._funding_at(at_ns)
            found.append(("funding", -value2 * num // (2 * den)))
        if self._has_borrow and at_ns % DAY_NS == 0 and lots < 0:
            num, den = self._borrow_share
            found.append(("borrow", value2 * num // (2 * 365 * den)))
        if self._has_rolls and self._next_roll_ns(before) == at_ns:
            num, den = self._leg_e8
            share, of = self._leg_share
            found.append(("roll", -2 * abs(lots) * num // den - max(0, -(-abs(value2) * share // of))))
        return [(kind, amount) for kind, amount in found if amount]

    def _next_funding_ns(self, after_ns: int) -> int:
        if self._rates is not None:
            found = self._rates.next_ns(after_ns)
            return NEVER_NS if found is None else found
        day = after_ns // DAY_NS * DAY_NS
        for hour in self._costs.funding.hours:
            if day + hour * _HOUR_NS > after_ns:
                return day + hour * _HOUR_NS
        return day + DAY_NS + self._costs.funding.hours[0] * _HOUR_NS

    def _funding_at(self, at_ns: int) -> tuple[int, int]:
        if self._rates is None:
            return self._funding_share
        return Decimal(repr(self._rates.at(at_ns))).as_integer_ratio()  # the decimal that the file holds, not its nearest binary

    def _next_roll_ns(self, after_ns: int) -> int:
        if self._rolls is not None:
            found = self._rolls.next_ns(after_ns)
            return NEVER_NS if found is None else found
        first = datetime.fromtimestamp(after_ns // 1_000_000_000, UTC).date()
        for months in range(7):
            year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
            if (month + 1) % 3 == 0:
                at_ns = roll_ns(year, month + 1, self._costs.roll.days_before)
                if at_ns > after_ns:
                    return at_ns
        return NEVER_NS  # pragma: no cover  # seven months hold two quarters


def roll_ns(year: int, month: int, days_before: int) -> int:
    """00:00 UTC so many days before the third Friday of a month, when quarterly index futures end."""
    first = date(year, month, 1)
    friday = first + timedelta(days=(4 - first.weekday()) % 7 + 14)
    day = friday - timedelta(days=days_before)
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * DAY_NS
