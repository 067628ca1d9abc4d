"""The file of a fit, and what the ensemble comes to when the engine trades it window by window."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from mia.assemble import load_strategy
from mia.backtest.ensemble.fit import YEAR_NS, Figures, Fit, Window, figures
from mia.backtest.ensemble.members import Track
from mia.backtest.ensemble.weights import F64
from mia.backtest.readers import utc
from mia.backtest.run.prepare import Request, execute, prepare
from mia.domain.errors import ConfigError, DataError
from mia.engine.settings import LaneSettings
from mia.policy.ensemble import FORMAT, PREFIX, EnsembleFile, MemberFile
from mia.policy.strategy import Trigger

_MS: Final = 1_000_000


def file_of(track: Track, weights: F64, name: str, method: str, fitted: dict[str, Any]) -> EnsembleFile:
    """What miad runs. Rules decide as the models among the members do; ConfigError when these differ among themselves."""
    spec = track.prepared.spec
    lane, family = spec.lanes[0].instrument, spec.instruments[0].family
    models = [s for m, s in zip(track.members, track.strategies, strict=True) if not m.strategy.startswith("rule:")]
    trigger: Trigger = models[0].trigger if models else "bar"
    interval_ms = models[0].min_interval_ns // _MS if models else 0
    members = []
    for member, strategy, weight in zip(track.members, track.strategies, weights.tolist(), strict=True):
        if member.strategy.startswith("rule:"):
            base = LaneSettings(instrument=lane, strategy=member.strategy, params=member.params, bars=strategy.bar)
            own = msgspec.structs.replace(base, trigger=trigger, min_interval_ms=interval_ms)
            strategy = load_strategy(own, family)
        members.append(MemberFile(strategy=member.strategy, weight=weight, sha256=strategy.sha256, params=member.params))
    return EnsembleFile(
        format=FORMAT, name=name, method=method, bar=track.strategies[0].bar, trigger=trigger, min_interval_ms=interval_ms, members=members,
        fitted=fitted,
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


def traded(request: Request, track: Track, windows: Sequence[Window], method: str) -> Figures:
    """Of the ensemble itself through the engine, with the weights of each window in that window: begun flat, with all costs of its own.

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
            marks = execute(prepared).gathered.marks
            inside = np.flatnonzero(marks.ts_ns > begin)
            equity = marks.equity_e8.astype(np.float64)
            if (equity <= 0.0).any():
                raise DataError(f"the ensemble's equity fell to 0 or below in the window from {utc(begin)}")
            parts.append(equity[inside] / equity[inside - 1] - 1.0)
    returns = np.concatenate(parts)
    years = float(close_ns[-1] - close_ns[windows[0].first - 1]) / YEAR_NS
    return figures(returns, years)


def facts(track: Track, found: Fit, method: str, lookback: int, forgetting: float, by_engine: Figures | None) -> dict[str, Any]:
    """For the file, for --json, and for people; times are UTC text."""
    close_ns = track.close_ns
    first = found.windows[0].first

    def told(f: Figures | None) -> dict[str, Any] | None:
        return None if f is None else f._asdict()

    names = track.names
    return {
        "instrument": track.prepared.spec.lanes[0].instrument,
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
            "members": dict(zip(names, map(told, found.members), strict=True)),
            "blends": {name: told(f) for name, f in found.blends.items()},
            "traded": told(by_engine),
            "without": dict(zip(names, map(told, found.without), strict=True)),
            "correlation": [[None if np.isnan(x) else x for x in row] for row in found.correlation.tolist()],
        },
    }


def check_out(path: Path) -> None:
    """ConfigError when the file's name will not be found again as that of an ensemble."""
    if path.suffix != ".json":
        raise ConfigError(f"--out {path}: name a file that ends in .json")
