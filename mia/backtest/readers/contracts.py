"""Files that hold several contracts of one future, each as bars of its own."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from mia.backtest.readers.candles import Candles, assembled, part_of, unsealed
from mia.backtest.readers.checks import OnDuplicate
from mia.backtest.readers.frames import first, polars_module, read_frame
from mia.backtest.readers.times import with_day_times
from mia.backtest.validation.seal import Sealed
from mia.backtest.validation.seal_match import names_in
from mia.domain.errors import DataError
from mia.features.bars import BarSpec


def read_contracts(
    path: Path, *, tz: str | None = None, on_duplicate: OnDuplicate = "error", sealed: Sealed = "refuse"
) -> dict[str, Candles]:
    """The bars of each contract in a file with a column `contract`, by its name; row numbers are those of the file.

    Times as read_candles takes them, or `date` (yyyymmdd) with `ms_of_day`, which state no zone. Errors as read_candles.
    """
    frame, notes = read_frame(path)
    if "contract" not in frame.columns:
        raise DataError(f"{path}: column 'contract' is missing: give one file for each contract")
    if frame.height == 0:
        raise DataError(f"{path}: holds no rows")
    if frame["contract"].null_count():
        raise DataError(f"{path}: row {first(frame['contract'].is_null().to_numpy()) + 1}: contract is missing")
    frame = with_day_times(path, frame).with_row_index("row", offset=1)
    found = {}
    for name in sorted(str(value) for value in frame["contract"].unique().to_list()):
        part = frame.filter(frame["contract"].cast(polars_module().String) == name)
        made = part_of(path, part.drop("contract"), list(notes), tz, on_duplicate, False, part["row"].to_numpy().astype(np.int64))
        candles = assembled([path], [made], BarSpec(kind="time", size=Decimal(1)) if len(made.times) < 2 else None)
        found[name] = unsealed(msgspec.structs.replace(candles, names=candles.names | names_in([name])), sealed)
    return found
