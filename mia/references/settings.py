"""Settings of [references]."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mia.domain.errors import ConfigError
from mia.features.series import REFERENCES


class ReferenceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """CSV files of slow series, one key each: whole paths; rows are added at their end, by a cron job for instance. "" is none.

    What each column means and when a row counts is in docs/features.md.
    """

    vix: str = ""  # Cboe's VIX_History.csv: DATE, CLOSE
    vix3m: str = ""  # FRED VXVCLS
    us2y: str = ""  # FRED DGS2
    us10y: str = ""  # FRED DGS10
    dollar_index: str = ""  # FRED DTWEXBGS
    high_yield_spread: str = ""  # FRED BAMLH0A0HYM2
    fed_funds: str = ""  # FRED FEDFUNDS
    ref: str = ""  # bars of another instrument: ts_ms, close
    ref2: str = ""  # a second one
    spot: str = ""  # bars of the spot market: ts_ms, close
    perp: str = ""  # bars of the perpetual: ts_ms, close
    funding_rate: str = ""  # ts_ms, rate
    nyse_tick: str = ""  # bars: ts_ms, close
    trin: str = ""  # bars: ts_ms, close
    poll_s: float = 60.0  # how often the files are looked at

    def __post_init__(self) -> None:
        for name, path in self.files:
            if not path.is_absolute():
                raise ConfigError(f"[references] {name} = {str(path)!r}: write the whole path, such as /home/me/{name}.csv")
            if path.suffix != ".csv":
                raise ConfigError(f"[references] {name} = {str(path)!r}: the daemon reads .csv alone; convert the file")
        if not (1 <= self.poll_s <= 86_400):
            raise ConfigError(f"[references] poll_s must be within 1..86400, got {self.poll_s}")

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """(series, file) of those that are named, in the order of mia.features.series."""
        return tuple((name, Path(getattr(self, name)).expanduser()) for name in REFERENCES if getattr(self, name))
