"""Where what lies in the catalogue: folders of venues, instruments and kinds, and a file for each month (UTC)."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.store.state_dir import data_home

EVENTS: Final = ("trades", "quotes", "depth")
FUNDING: Final = "funding"
_BARS: Final = "bars_"


class Asset(NamedTuple):
    """An instrument by its venue and the venue's symbol."""

    venue: str
    symbol: str

    @classmethod
    def parse(cls, text: str, option: str = "--assets") -> Asset:
        """From VENUE:SYMBOL; ConfigError otherwise."""
        venue, colon, symbol = text.strip().partition(":")
        if not (venue and colon and symbol):
            raise ConfigError(f"{option} {text}: write VENUE:SYMBOL, such as binance_usdm:BTCUSDT")
        return cls(venue, symbol)

    @property
    def text(self) -> str:
        """The form that `parse` reads."""
        return f"{self.venue}:{self.symbol}"

    @property
    def folder(self) -> Path:
        """Of all its kinds."""
        return root() / folder_name(self.venue) / folder_name(self.symbol)

    def kinds(self) -> list[str]:
        """What is stored of it."""
        return sorted(p.name for p in _folders(self.folder) if self.months(p.name))

    def month_file(self, kind: str, month: str) -> Path:
        """Of a month such as 2024-03."""
        return self.folder / kind / f"{month}.parquet"

    def months(self, kind: str) -> list[str]:
        """Those of a kind that have a file, in order."""
        return sorted(p.stem for p in (self.folder / kind).glob("????-??.parquet"))


def root() -> Path:
    """Of the catalogue; it need not exist."""
    return data_home() / "catalogue"


def assets() -> list[Asset]:
    """Every instrument of which something is stored, in order of its name."""
    found = [Asset(unquote(v.name), unquote(s.name)) for v in _folders(root()) for s in _folders(v)]
    return sorted(asset for asset in found if asset.kinds())


def _folders(path: Path) -> list[Path]:
    try:
        return [p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def folder_name(word: str) -> str:
    """A venue or symbol as the name of one folder; urllib.parse.unquote gives it back."""
    safe = quote(word, safe="")
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


def bars_kind(bars: BarSpec) -> str:
    """bars_5m of time:5m, bars_tick_2800 of tick:2800."""
    kind, _, size = bars.text.partition(":")
    return f"{_BARS}{size}" if kind == "time" else f"{_BARS}{kind}_{size}"


def bars_of(kind: str) -> BarSpec | None:
    """The other way round; None for a kind that is not of bars."""
    if not kind.startswith(_BARS):
        return None
    first, underscore, size = kind.removeprefix(_BARS).partition("_")
    return BarSpec.parse(f"{first}:{size}" if underscore else f"time:{first}")


def key_of(kind: str) -> str:
    """The column by which rows are ordered and dealt to months."""
    if kind in EVENTS:
        return "ts_recv_ns"
    bars = bars_of(kind)
    return "close_ns" if bars is not None and bars.kind != "time" else "ts_ns"


def month_of(ns: int) -> str:
    """Of a time, UTC."""
    return str(np.datetime64(int(ns), "ns").astype("datetime64[M]"))


def months_of(ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Months since 1970 of each time."""
    return ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)


def month_text(number: int) -> str:
    """2024-03 of months since 1970."""
    return str(np.datetime64(int(number), "M"))


def begin_ns(month: str) -> int:
    """Of a month."""
    return int(np.datetime64(month, "M").astype("datetime64[ns]").astype(np.int64))


def end_ns(month: str) -> int:
    """Of a month: the begin of the next one."""
    return int((np.datetime64(month, "M") + 1).astype("datetime64[ns]").astype(np.int64))


def missing_months(have: list[str], first_ns: int, last_ns: int) -> list[str]:
    """Months from first_ns to last_ns that have no file."""
    first, last = (int(np.datetime64(month_of(ns), "M").astype(np.int64)) for ns in (first_ns, last_ns))
    numbers = range(first, last + 1)
    return [text for n in numbers if (text := month_text(n)) not in have]


def ranges(months: list[str]) -> str:
    """`2024-03 to 2024-05, 2024-07` for people."""
    runs: list[list[str]] = []
    for month in months:
        if runs and end_ns(runs[-1][-1]) == begin_ns(month):
            runs[-1].append(month)
        else:
            runs.append([month])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
