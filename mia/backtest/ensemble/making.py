"""The file of a fit, and what the ensemble comes to when the engine trades it window by window."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from mia.backtest.ensemble.fit import YEAR_NS, Figures, Fit, Window, figures
from mia.backtest.ensemble.intervals import SAMPLES, Band, band_of, bands_of
from mia.backtest.ensemble.members import Track, ends
from mia.backtest.ensemble.weights import F64
from mia.backtest.readers import utc
from mia.backtest.run.gathered import Marks
from mia.backtest.run.prepare import Request, execute, prepare
from mia.domain.errors import ConfigError, DataError
from mia.policy.ensemble import FORMAT, PREFIX, EnsembleFile, MemberFile

_MS: Final = 1_000_000


def file_of(track: Track, weights: F64, name: str, method: str, fitted: dict[str, Any]) -> EnsembleFile:
    """What miad runs: the members as they ran alone, which all decide at the same moments."""
    one = track.strategies[0]
    members = [
        MemberFile(strategy=member.strategy, weight=weight, sha256=strategy.sha256, params=member.params)
        for member, strategy, weight in zip(track.members, track.strategies, weights.tolist(), strict=True)
    ]
    return EnsembleFile(
        format=FORMAT, name=name, method=method, bar=one.bar, trigger=one.trigger, min_interval_ms=one.min_interval_ns // _MS,
        members=members, fitted=fitted,
    )  # fmt: skip


def write_file(file: EnsembleFile, path: Path) -> None:
    """Write it whole or not at all; DataError when it cannot be written."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
        scratch.replace(path)
    except OSError as e:
        raise DataError(f"{path}: cannot be written: {e.strerror or e}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()


class Traded(NamedTuple):
    """Of the ensemble itself through the engine: its figures, and the returns (float64[n]) over so many years that they are of."""

    figures: Figures
    returns: F64
    years: float


def traded(request: Request, track: Track, windows: Sequence[Window], method: str) -> Traded:
    """The ensemble itself through the engine, with the weights of each window in that window: begun flat, with all costs of its own.

    The account begins anew in each window; returns are chained.
    """
    close_ns = track.close_ns
    parts = []
    with tempfile.TemporaryDirectory(prefix="mia-ensemble-") as folder:
        for number, window in enumerate(windows):
            path = Path(folder) / f"{number}.json"
            write_file(file_of(track, window.weights[method], f"window {number}", method, {}), path)
            begin, end = int(close_ns[window.first - 1]), int(close_ns[window.stop - 1])
            prepared = prepare(
                msgspec.structs.replace(request, strategy=f"{PREFIX}{path}", params={}, from_ns=begin, to_ns=end, days=0)
            )  # fmt: skip
            parts.append(_returns(execute(prepared).gathered.marks, track.every_ns, begin))
    returns = np.concatenate(parts)
    years = float(close_ns[-1] - close_ns[windows[0].first - 1]) / YEAR_NS
    return Traded(figures(returns, years), returns, years)


def _returns(marks: Marks, every_ns: int, begin_ns: int) -> F64:
    """Bar by bar after begin_ns; on events the last bar goes to the last event, which lies just before its end."""
    at = ends(marks, every_ns)
    if every_ns:
        at = np.append(at, len(marks.ts_ns) - 1)
    inside = np.flatnonzero(marks.ts_ns[at] > begin_ns)
    equity = marks.equity_e8[at].astype(np.float64)
    if (equity <= 0.0).any():
        raise DataError(f"the ensemble's equity fell to 0 or below in the window from {utc(begin_ns)}")
    found: F64 = equity[inside] / equity[inside - 1] - 1.0
    return found


def facts(
    track: Track, found: Fit, method: str, lookback: int, forgetting: float, by_engine: Traded | None, samples: int = SAMPLES
) -> dict[str, Any]:
    """For the file, for --json, and for people; times are UTC text. samples: behind each interval; 0: no intervals."""
    close_ns = track.close_ns
    first = found.windows[0].first
    bands = bands_of(found.series, method, found.years, samples) if samples else None
    of_engine = band_of(by_engine.returns, by_engine.years, samples) if samples and by_engine is not None else None

    def told(f: Figures | None, band: Band | None) -> dict[str, Any] | None:
        return None if f is None else {**f._asdict(), "interval": _plain(band)}

    names, whole = track.names, found.blends[method]
    no_bands = [None] * len(names)
    return {
        "instruments": [lane.instrument for lane in track.prepared.spec.lanes],
        "data": msgspec.to_builtins(track.prepared.spec.data),
        "method": method,
        "lookback_windows": lookback,
        "forgetting": forgetting,
        "windows": [
            {
                "from": utc(close_ns[w.first - 1]),
                "to": utc(close_ns[w.stop - 1]),
                "weights": {name: w.weights[name].tolist() for name in w.weights},
            }
            for w in found.windows
        ],
        "last_weights": {name: weights.tolist() for name, weights in found.last.items()},
        "out_of_sample": {
            "from": utc(close_ns[first - 1]),
            "to": utc(close_ns[-1]),
            "bars": len(close_ns) - first,
            "samples": samples,
            "block_bars": bands.block if bands else None,
            "members": dict(zip(names, map(told, found.members, bands.members if bands else no_bands), strict=True)),
            "blends": {name: told(f, bands.blends[name] if bands else None) for name, f in found.blends.items()},
            "traded": told(by_engine.figures, of_engine) if by_engine is not None else None,
            "added": dict(
                zip(
                    names,
                    (told(_added(whole, f), band) for f, band in zip(found.without, bands.added if bands else no_bands, strict=True)),
                    strict=True,
                )
            ),
            "correlation": [[None if np.isnan(x) else x for x in row] for row in found.correlation.tolist()],
            "correlation_interval": msgspec.to_builtins(bands.correlation) if bands else None,
        },
    }


def _added(whole: Figures, without: Figures | None) -> Figures | None:
    """The blend less the blend without the member."""
    if without is None:
        return None
    sharpe = None if whole.sharpe is None or without.sharpe is None else whole.sharpe - without.sharpe
    return Figures(
        whole.total - without.total, whole.volatility - without.volatility, sharpe, whole.drawdown - without.drawdown
    )  # fmt: skip


def _plain(band: Band | None) -> dict[str, Any] | None:
    return None if band is None else msgspec.to_builtins(band._asdict())


def check_out(path: Path) -> None:
    """ConfigError when the file's name will not be found again as that of an ensemble."""
    if path.suffix != ".json":
        raise ConfigError(f"--out {path}: name a file that ends in .json")
