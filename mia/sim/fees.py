"""Fee schedules of venues (config/fee_tiers.toml) and the trailing volume that picks the tier."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.instruments import FEE_MAX, FEE_MIN, MONEY_SCALE

DAY_NS: Final = 86_400 * 1_000_000_000


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fees from a trailing volume on."""

    volume_min: Decimal  # quote currency
    maker: Decimal  # share of notional; below 0 is a rebate
    taker: Decimal


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one venue charges, and who says so. Without tiers the instrument's own fees hold."""

    venue: str
    source: str
    as_of: date
    is_confirmed: bool  # False: not seen in the venue's own documents
    volume_days: int
    tiers: tuple[Tier, ...]

    def __post_init__(self) -> None:
        where = f"fee schedule of {self.venue}"
        if not (1 <= self.volume_days <= 366):
            raise ConfigError(f"{where}: volume_days must be 1 to 366, got {self.volume_days}")
        last = None
        for n, tier in enumerate(self.tiers, 1):
            for name in ("maker", "taker"):
                value: Decimal = getattr(tier, name)
                if not (value.is_finite() and FEE_MIN <= value <= FEE_MAX):
                    raise ConfigError(f"{where}, tier {n}: {name} is a share of notional, {FEE_MIN} to {FEE_MAX}, got {value}")
            if not (tier.volume_min.is_finite() and (tier.volume_min == 0 if last is None else tier.volume_min > last)):
                raise ConfigError(f"{where}, tier {n}: volume_min must begin at 0 and rise, got {tier.volume_min}")
            last = tier.volume_min

    def tier(self, volume_e8: int) -> Tier | None:
        """The tier that a trailing volume has reached; None where the schedule has no tiers."""
        found = None
        for tier in self.tiers:
            if volume_e8 >= tier.volume_min * MONEY_SCALE:
                found = tier
        return found


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schedules: tuple[Schedule, ...]


def read_schedules(path: Path) -> Mapping[str, Schedule]:
    """Schedules by venue; ConfigError names the file and what is wrong in it."""
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File).schedules
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"{path}: fee schedules cannot be read: {e}") from e
    except (msgspec.MsgspecError, ConfigError) as e:
        raise ConfigError(f"{path}: {e}") from e
    schedules = {schedule.venue: schedule for schedule in found}
    if len(schedules) < len(found):
        raise ConfigError(f"{path}: a venue has two schedules")
    return schedules


class TradedVolume(msgspec.Struct, array_like=True):
    """Notional traded by UTC day, oldest first; part of a venue's snapshot."""

    days: list[tuple[int, int]] = []  # (days since 1970, e8 of the quote currency)

    def add(self, notional_e8: int, ts_ns: int) -> None:
        """One fill; times do not step back by more than a day's border, else the fill counts for the newest day."""
        day = ts_ns // DAY_NS
        if self.days and self.days[-1][0] >= day:
            newest, total = self.days[-1]
            self.days[-1] = (newest, total + notional_e8)
        else:
            self.days.append((day, notional_e8))

    def trailing_e8(self, ts_ns: int, n_days: int) -> int:
        """Volume of the n_days whole days before the day of ts_ns; forgets what is older."""
        today = ts_ns // DAY_NS
        while self.days and self.days[0][0] < today - n_days:
            del self.days[0]
        return sum(volume for day, volume in self.days if day < today)
