"""Funding rates of assets out of the catalogue, as the files that a cost model reads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Final

import msgspec

from mia.backtest.catalogue.assets import stored_text
from mia.backtest.catalogue.layout import FUNDING, Asset, begin_ns, end_ns, ranges, root
from mia.backtest.catalogue.months import scanned
from mia.backtest.readers import utc
from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import Instrument
from mia.sim.costs import Costs

FILE: Final = "catalogue_{venue}_{symbol}.csv"


def with_rates(costs: Costs, instruments: Sequence[Instrument], first_ns: int, last_ns: int) -> tuple[Costs, list[str]]:
    """(costs that read each perpetual's stored rates of this span from a file, notes); untouched unless they ask for the catalogue's.

    ConfigError for a perpetual without rates in the span. The files lie in a folder named by what they hold: the same for equal rates.
    """
    if costs.funding.kind != "catalogue":
        return costs, []
    texts: dict[str, str] = {}
    notes: list[str] = []
    for instrument in instruments:
        if instrument.kind == "perpetual":
            name = FILE.replace("{venue}", instrument.venue).replace("{symbol}", instrument.symbol)
            texts[name] = _rates(Asset(instrument.venue, instrument.symbol), first_ns, last_ns, notes)
    digest = hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest()[:16]
    folder = root() / ".funding" / digest
    try:
        for name, text in texts.items():
            path = folder / name
            if path.is_file() and path.read_text(encoding="utf-8") == text:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
    except OSError as e:
        raise DataError(f"{folder}: cannot be written: {e.strerror or e}") from None
    funding = msgspec.structs.replace(costs.funding, kind="file", file=str(folder / FILE))
    return msgspec.structs.replace(costs, funding=funding), notes


def _rates(asset: Asset, first_ns: int, last_ns: int, notes: list[str]) -> str:
    months = asset.months(FUNDING)
    inside = [m for m in months if begin_ns(m) <= last_ns and end_ns(m) > first_ns]
    rows = scanned([asset.month_file(FUNDING, m) for m in inside], ["ts_ns", "rate"], "ts_ns", (first_ns, last_ns)) if inside else None
    if rows is None or not rows.height:
        held = stored_text(asset) or "nothing of it"
        raise ConfigError(
            f"[costs] funding.kind = catalogue: no funding rate of {asset.text} from {utc(first_ns)} to {utc(last_ns)} is stored ({held}): "
            f"mia data import FILE --instrument {asset.text} --kind funding"
        )
    known = f"{utc(rows['ts_ns'][0])} to {utc(rows['ts_ns'][-1])}"
    notes.append(f"{asset.text}: {rows.height} funding rates of the catalogue, {known} (stored: {ranges(months)}); none is charged outside")
    return "ts_ns,rate\n" + "".join(f"{ts},{rate!r}\n" for ts, rate in rows.iter_rows())
