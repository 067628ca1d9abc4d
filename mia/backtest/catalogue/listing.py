"""What is in the catalogue, by instrument and kind."""

from __future__ import annotations

import hashlib
import itertools

import msgspec

from mia.backtest.catalogue.assets import metas
from mia.backtest.catalogue.layout import EVENTS, assets, bars_of, missing_months


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of one instrument. first_ns, last_ns: of its rows (bars: the open of the first and the last).

    gaps: of bars the holes between them; of events the times between imports at which nothing was recorded, and breaks in depth's
    sequence. missing: months without a file between the first and the last. sha256: of the months' rows, in order.
    """

    instrument: str
    kind: str
    first_ns: int
    last_ns: int
    months: int
    rows: int
    gaps: int
    missing: tuple[str, ...]
    bytes: int
    sha256: str
    sources: tuple[str, ...]


def entries() -> list[Entry]:
    """All; DataError for a damaged file."""
    found = []
    for asset in assets():
        for kind in asset.kinds():
            months = asset.months(kind)
            told = metas(asset, kind, months)
            bars = bars_of(kind)
            gaps = sum(meta.gaps for meta in told)
            if bars is not None and bars.interval_ns:
                gaps += sum(b.first_ns - a.last_ns > bars.interval_ns for a, b in itertools.pairwise(told))
            elif kind in EVENTS:
                gaps += len({source.first_ns for meta in told for source in meta.sources}) - 1
            found.append(
                Entry(
                    instrument=asset.text, kind=kind, first_ns=told[0].first_ns, last_ns=told[-1].last_ns, months=len(months),
                    rows=sum(meta.rows for meta in told), gaps=gaps,
                    missing=tuple(missing_months(months, told[0].first_ns, told[-1].last_ns)),
                    bytes=sum(asset.month_file(kind, month).stat().st_size for month in months),
                    sha256=hashlib.sha256("".join(meta.sha256 for meta in told).encode()).hexdigest(),
                    sources=tuple(sorted({name for meta in told for name in meta.files().values()})),
                )
            )  # fmt: skip
    return found
