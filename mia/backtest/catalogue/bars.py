"""Bars of an asset out of the catalogue, as a backtest takes them; a sealed span stops them as it does in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mia.backtest.catalogue.assets import metas, stored_text
from mia.backtest.catalogue.layout import Asset, bars_of, end_ns, key_of, missing_months, month_of, ranges
from mia.backtest.catalogue.months import Meta, RowsDigest, scanned
from mia.backtest.readers import Candles, bar_rows, utc
from mia.backtest.readers.candles import unsealed, with_warm_up, without_turnover
from mia.backtest.readers.frames import PRICES
from mia.backtest.run.sources import BarHistory
from mia.backtest.run.spec import DataFacts
from mia.backtest.validation.seal import Sealed, SealLog, names_in, seal_notes
from mia.domain.errors import ConfigError, DataError
from mia.domain.instruments import Instrument
from mia.features.bars import BarSpec

I64 = npt.NDArray[np.int64]
_END_NS: Final = (1 << 63) - 1
_OHLCV: Final = (*PRICES, "volume")


class BarReader:
    """The stored bars of an asset that make the wanted ones: the finest that divide them and lie in the span."""

    def __init__(self, asset: Asset, instrument: Instrument, wanted: BarSpec | None, from_ns: int, to_ns: int) -> None:
        """wanted: None for the finest that is stored. ConfigError with what is stored when none fits; DataError for an empty span."""
        self.asset: Final = asset
        self.instrument: Final = instrument
        self._wanted = wanted
        self._to_ns = to_ns or _END_NS
        self.kind, self._months = self._chosen(from_ns)
        found = bars_of(self.kind)
        assert found is not None
        self.bars: Final = found
        self._key = key_of(self.kind)

    @property
    def name(self) -> str:
        """For messages and run.json."""
        return f"catalogue {self.asset.text} {self.kind}"

    def last_ns(self) -> int:
        """When the last bar up to the span's end is over."""
        times = scanned(self._files(self._months[-2:]), [self._key], self._key, (0, self._to_ns))[self._key].to_numpy()
        ends = times + self.bars.interval_ns
        ends = ends[ends <= self._to_ns]
        if not len(ends):
            raise self._empty(0)
        return int(ends[-1])

    def read(self, from_ns: int, warm_up: int, sealed: Sealed) -> BarHistory:
        """Bars from from_ns on, and what makes warm_up wanted ones before it; DataError and SealedError as from a file."""
        span = (from_ns, self._to_ns)
        times: I64 = scanned(self._files(self._months), [self._key], self._key, (0, self._to_ns))[self._key].to_numpy()
        open_ns, close_ns = self._ends(times)
        inside = (open_ns >= span[0]) & (close_ns <= span[1])
        if not inside.any():
            raise self._empty(from_ns)
        at = np.flatnonzero(with_warm_up(inside, self.bars.interval_ns, warm_up if from_ns else 0, self._wanted))
        first, last = int(at[0]), int(at[-1]) + 1
        candles = self._candles(open_ns[first:last], close_ns[first:last], (int(times[first]), int(times[last - 1])))
        notes = self._notes(candles, from_ns)
        candles = unsealed(candles, sealed)
        digest = RowsDigest()
        digest.add({"open_ns": candles.open_ns, "close_ns": candles.close_ns, "ohlcv": candles.ohlcv})
        digest.add({name: column for name in ("trades", "notional") if (column := getattr(candles, name)) is not None})
        facts = DataFacts(
            instrument=self.asset.text, kind="bars", files=(self.name,), sha256=(digest.hex(),), rows=len(candles.close_ns),
            first_ns=int(candles.open_ns[0]), last_ns=int(candles.close_ns[-1]), bars=self.bars.text,
        )  # fmt: skip
        SealLog().derived(digest.hex(), self.name, sorted(candles.sha256))  # what is counted or sealed for a source is so for these rows
        return BarHistory(
            instrument=self.instrument, bars=self.bars, open_ns=candles.open_ns, close_ns=candles.close_ns,
            rows=bar_rows(candles, self.instrument, 0, len(candles.close_ns)), facts=facts,
            notes=(*notes, *candles.notes, *seal_notes(candles.reading)),
        )  # fmt: skip

    def candles(self, sealed: Sealed) -> Candles:
        """All of them as a candle file gives them."""
        times: I64 = scanned(self._files(self._months), [self._key], self._key, (0, self._to_ns))[self._key].to_numpy()
        return unsealed(self._candles(*self._ends(times), (int(times[0]), int(times[-1]))), sealed)

    # --- parts

    def _chosen(self, from_ns: int) -> tuple[str, list[str]]:
        found = {kind: bars for kind in self.asset.kinds() if (bars := bars_of(kind)) is not None}
        fits = [kind for kind, bars in found.items() if _makes(bars, self._wanted)]
        if not fits:
            word = "no bars" if self._wanted is None else f"no bars that make {self._wanted.text}"
            raise ConfigError(f"--assets {self.asset.text}: {word} in the catalogue; stored: {stored_text(self.asset)}")
        fits.sort(key=lambda kind: (found[kind].kind != "time", found[kind].size))
        if self._wanted is None and len(fits) > 1 and found[fits[0]].kind != "time":
            raise ConfigError(f"--assets {self.asset.text}: name one of its bars with --timeframes: {', '.join(fits)}")
        for kind in fits:
            months = [m for m in self.asset.months(kind) if m <= month_of(min(self._to_ns, _END_NS - 1))]
            if months and end_ns(months[-1]) > from_ns:
                return kind, months
        raise DataError(
            f"--assets {self.asset.text}: no bar between {utc(from_ns) if from_ns else 'the beginning'} and "
            f"{utc(self._to_ns) if self._to_ns < _END_NS else 'the end'}; stored: {stored_text(self.asset)}"
        )

    def _files(self, months: list[str]) -> list[Path]:
        return [self.asset.month_file(self.kind, month) for month in months]

    def _ends(self, times: I64) -> tuple[I64, I64]:
        """Open and close of each bar, as from a file."""
        if not len(times):
            raise self._empty(0)
        if self.bars.interval_ns:
            return times, times + self.bars.interval_ns
        return np.concatenate([times[:1], times[:-1]]), times

    def _empty(self, from_ns: int) -> DataError:
        return DataError(
            f"{self.name}: no bar lies in {utc(from_ns) if from_ns else 'the beginning'} to "
            f"{utc(self._to_ns) if self._to_ns < _END_NS else 'the end'}; stored: {ranges(self.asset.months(self.kind))}"
        )

    def _candles(self, open_ns: I64, close_ns: I64, keys: tuple[int, int]) -> Candles:
        months = [m for m in self._months if month_of(keys[0]) <= m <= month_of(keys[1])]
        told = metas(self.asset, self.kind, months)
        frame = scanned(self._files(months), _OHLCV, self._key, keys)
        if frame.height != len(open_ns):
            raise DataError(f"{self.name}: an import changed it while it was read: run again")
        ohlcv = np.empty((frame.height, len(_OHLCV)), order="F")
        for k, name in enumerate(_OHLCV):
            ohlcv[:, k] = frame[name].to_numpy()
        del frame
        more = scanned(self._files(months), ("trades", "quote_volume"), self._key, keys)
        known: dict[str, Any] = {name: more[name].to_numpy() if not more[name].null_count() else None for name in more.columns}
        files = _sources(told)
        return Candles(
            paths=(Path(self.name.replace("/", "_")),), open_ns=open_ns, close_ns=close_ns, ohlcv=ohlcv, trades=known["trades"],
            notional=known["quote_volume"], interval_ns=self.bars.interval_ns, dropped=0,
            notes=() if known["quote_volume"] is not None else (without_turnover(self.name),), sha256=tuple(sorted(files)),
            rows=np.arange(1, len(open_ns) + 1), names=names_in([self.asset.symbol, *files.values()]),
        )  # fmt: skip

    def _notes(self, candles: Candles, from_ns: int) -> list[str]:
        first_ns, last_ns = int(candles.open_ns[0]), int(candles.close_ns[-1])
        wanted = self._wanted if self._wanted is not None and self._wanted != self.bars else None
        made = f", made into {wanted.text.removeprefix('time:')} bars" if wanted is not None else ""
        notes = [f"{self.asset.text}: the catalogue's {self.kind}{made}, {utc(first_ns)} to {utc(last_ns)}"]
        if gone := missing_months(self._months, first_ns, last_ns - 1):
            notes.append(f"{self.asset.text}: no {self.kind} of {ranges(gone)} in the catalogue: a gap in this run")
        if from_ns and first_ns > from_ns:
            notes.append(f"{self.asset.text}: {self.kind} begin at {utc(first_ns)} only, after --from")
        if self._to_ns < _END_NS and last_ns + self.bars.interval_ns <= self._to_ns:
            notes.append(f"{self.asset.text}: {self.kind} end at {utc(last_ns)} already, before --to")
        return notes


def _makes(have: BarSpec, wanted: BarSpec | None) -> bool:
    if wanted is None or have == wanted:
        return True
    return have.kind == wanted.kind == "time" and wanted.interval_ns % have.interval_ns == 0


def _sources(told: list[Meta]) -> dict[str, str]:
    """sha256 -> name of all files that these months were made of."""
    return {sha256: name for meta in told for sha256, name in meta.files().items()}
