"""How the values of columns are spread: what training saw (distribution.json of a bundle), and how far other data lies from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.errors import DataError
from mia.features.distribution import FORMAT, Distribution, Spread

F64 = npt.NDArray[np.float64]
FILE: Final = "distribution.json"  # for people and tools: a daemon never reads it, so the manifest does not list it
_TIED: Final = 0.01  # a decile that this share of all values equals gets a bin of its own
_FLOOR: Final = 1e-4  # of a share in PSI, so that an empty bin stays finite


class Shift(msgspec.Struct, frozen=True, kw_only=True):
    """One column: psi = sum (q - p) ln(q / p) over the bins of the first data set (above 0.25 is usually called a major shift;
    Siddiqi 2006), ks = largest difference of the two distribution functions, at the edges of the bins or, of two data sets, anywhere.

    None: one of the two has no value.
    """

    column: str
    psi: float | None
    ks: float | None
    present_a: float
    present_b: float


def distribution(columns: Sequence[str], matrix: F64, catalogue_sha256: str, bars: str) -> Distribution:
    """Of matrix float64[rows, columns]; NaN is a value that is not there."""
    spreads = {name: spread(matrix[:, j]) for j, name in enumerate(columns)}
    return Distribution(format=FORMAT, catalogue_sha256=catalogue_sha256, bars=bars, rows=len(matrix), columns=spreads)


def spread(values: F64) -> Spread:
    """Bins at the deciles of the finite values; a value that many rows share is a bin of its own."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Spread(edges=[], shares=[], present=0.0)
    deciles = np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9), method="inverted_cdf"))
    tied = [v for v in deciles.tolist() if np.mean(known == v) > _TIED]
    edges = np.unique(np.concatenate([deciles, np.nextafter(tied, np.inf)]))
    # An inner bin that hardly anything fell into goes to its neighbour: PSI would be the logarithm of the floor there.
    shares = _shares(edges, known)
    edges = edges[np.concatenate([[True], shares[1:-1] >= _TIED])]
    return Spread(edges=edges.tolist(), shares=_shares(edges, known).tolist(), present=len(known) / len(values))


def _shares(edges: F64, known: F64) -> F64:
    bins = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    shares: F64 = bins / len(known)
    return shares


def shift(column: str, then: Spread, values: F64) -> Shift:
    """How far values lie from what a Spread states."""
    known = values[np.isfinite(values)]
    present = len(known) / len(values) if len(values) else 0.0
    if not then.shares or not len(known):
        return Shift(column=column, psi=None, ks=None, present_a=then.present, present_b=present)
    p = np.array(then.shares)
    q = _shares(np.array(then.edges), known)
    ks = float(np.abs(np.cumsum(p) - np.cumsum(q)).max())
    p, q = np.maximum(p, _FLOOR), np.maximum(q, _FLOOR)
    return Shift(column=column, psi=float(((q - p) * np.log(q / p)).sum()), ks=ks, present_a=then.present, present_b=present)


def shift_between(column: str, a: F64, b: F64) -> Shift:
    """The same of two data sets, with the exact Kolmogorov-Smirnov distance."""
    found = shift(column, spread(a), b)
    known_a, known_b = np.sort(a[np.isfinite(a)]), np.sort(b[np.isfinite(b)])
    if found.ks is None:
        return found
    at = np.concatenate([known_a, known_b])
    cdf_a = np.searchsorted(known_a, at, side="right") / len(known_a)
    cdf_b = np.searchsorted(known_b, at, side="right") / len(known_b)
    return msgspec.structs.replace(found, ks=float(np.abs(cdf_a - cdf_b).max()))


def write_distribution(folder: Path, made: Distribution) -> None:
    """distribution.json beside the manifest."""
    (folder / FILE).write_bytes(msgspec.json.encode(made) + b"\n")


def read_distribution(folder: Path) -> Distribution:
    """That of a bundle; DataError when it has none or it cannot be read."""
    path = folder / FILE
    if not path.is_file():
        raise DataError(f"{folder}: has no {FILE}: it was made by an older mia-train; fit it again, or compare two data files")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Distribution)
    except (OSError, msgspec.DecodeError) as e:
        raise DataError(f"{path}: {e}") from None
    if found.format != FORMAT:
        raise DataError(f"{path}: format {found.format} is not {FORMAT}: fit the model again with this version")
    return found
