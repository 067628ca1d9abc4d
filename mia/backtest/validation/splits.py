"""Train and test indices for samples whose labels take time: walk-forward, purged k-fold, combinatorial purged cross-validation.

A sample i has a label that is made of what happened in [start_ns[i], end_ns[i]], both ends included. Purging: no label of the
training part touches a label of the test part. Embargo: nor does it begin within so long after one ends (or, in walk-forward,
where training comes before, end within so long before it). Source: Lopez de Prado (2018), ch. 7 (purge, embargo) and 12 (CPCV).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mia.domain.errors import ConfigError, DataError

I64 = npt.NDArray[np.int64]
COMBINATIONS_MAX: Final = 100_000


class Split(NamedTuple):
    """Indices of samples, rising, of both parts; groups: the numbers of the test blocks. purged: samples that neither part has,
    though their block is not tested."""

    train: I64
    test: I64
    groups: tuple[int, ...]
    purged: int


class Labels(NamedTuple):
    """When each sample's label begins and ends, Unix ns; samples in order of their beginning."""

    start_ns: I64
    end_ns: I64

    @classmethod
    def of(cls, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike) -> Labels:
        """Checked: one length, not empty, starts in order, none ends before it begins. DataError names the sample."""
        starts, ends = np.asarray(start_ns, dtype=np.int64), np.asarray(end_ns, dtype=np.int64)
        if starts.ndim != 1 or starts.shape != ends.shape or not len(starts):
            raise DataError(f"labels: {starts.shape} starts and {ends.shape} ends: give one of each for every sample, and one at least")
        if (bad := np.flatnonzero(np.diff(starts) < 0)).size:
            raise DataError(f"labels: sample {bad[0] + 1} begins before sample {bad[0]}: sort samples by the start of their label")
        if (bad := np.flatnonzero(ends < starts)).size:
            raise DataError(f"labels: the label of sample {bad[0]} ends before it begins")
        return cls(starts, ends)

    @classmethod
    def ahead(cls, ts_ns: npt.ArrayLike, horizon: int) -> Labels:
        """Of samples decided at ts_ns, whose label ends `horizon` samples later; of the last ones with the data."""
        ts = np.asarray(ts_ns, dtype=np.int64)
        if horizon < 0:
            raise ConfigError(f"label horizon {horizon}: give 0 or more samples")
        return cls.of(ts, ts[np.minimum(np.arange(len(ts)) + horizon, len(ts) - 1)] if len(ts) else ts)


def blocks(n: int, count: int) -> list[tuple[int, int]]:
    """(first, stop) of `count` neighbouring blocks of n samples, whose sizes differ by one at most. ConfigError when n < count."""
    if count < 1 or n < count:
        raise ConfigError(f"{n} samples cannot be cut into {count} parts")
    edges = np.linspace(0, n, count + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def walk_forward(labels: Labels, folds: int, *, train_blocks: int | None = None, embargo_ns: int = 0) -> Iterator[Split]:
    """`folds` tests, one block of folds + 1 after another, each trained on what lies before it.

    train_blocks: None: anchored, all blocks before; k: rolling, the k blocks before the test, and only tests that have so many
    (folds + 1 - k of them). The first block only teaches. DataError when purge and embargo leave nothing to train on.
    """
    cuts = blocks(len(labels.start_ns), folds + 1)
    if train_blocks is not None and not 1 <= train_blocks <= folds:
        raise ConfigError(f"walk-forward: {train_blocks} blocks to train on: give 1 to {folds}")
    _check_embargo(embargo_ns)
    for k in range(train_blocks or 1, folds + 1):
        first = 0 if train_blocks is None else cuts[k - train_blocks][0]
        yield _split(labels, range(first, cuts[k][0]), [cuts[k]], (k,), embargo_ns, embargo_before=True)


def purged_k_fold(labels: Labels, folds: int, *, embargo_ns: int = 0) -> Iterator[Split]:
    """Each of `folds` blocks is tested once, trained on all others, before and after it (ch. 7.4)."""
    yield from combinatorial(labels, folds, 1, embargo_ns=embargo_ns)


def combinatorial(labels: Labels, groups: int, tested: int = 2, *, embargo_ns: int = 0) -> Iterator[Split]:
    """CPCV (ch. 12.4): every choice of `tested` of `groups` blocks is the test part once, in the order of itertools.combinations.

    C(groups, tested) splits; each sample is tested C(groups - 1, tested - 1) times, which is the number of paths.
    """
    choices = _choices(groups, tested)
    _check_embargo(embargo_ns)
    cuts = blocks(len(labels.start_ns), groups)
    for chosen in choices:
        yield _split(labels, range(len(labels.start_ns)), [cuts[g] for g in chosen], chosen, embargo_ns, embargo_before=False)


def path_count(groups: int, tested: int) -> int:
    """phi(N, k) = C(N, k) k / N: how many whole histories the tests of `combinatorial` make up."""
    return math.comb(groups, tested) * tested // groups


def paths(groups: int, tested: int) -> I64:
    """int64[phi, groups]: the number of the split whose test of that block belongs to that path (ch. 12.4.1).

    The j-th split that tests a block gives it to path j: every (split, block) is used once.
    """
    found = np.full((path_count(groups, tested), groups), -1, dtype=np.int64)
    used = [0] * groups
    for number, chosen in enumerate(_choices(groups, tested)):
        for group in chosen:
            found[used[group], group] = number
            used[group] += 1
    return found


def assemble(tested: Sequence[tuple[Split, npt.ArrayLike]], groups: int, n: int) -> npt.NDArray[np.float64]:
    """float64[phi, n]: what was predicted for (or earned at) every sample along each path.

    tested: (split, its values in the order of split.test), all splits of `combinatorial` in their order. DataError when they are not.
    """
    k = len(tested[0][0].groups) if tested else 0
    if not 1 <= k < groups or [split.groups for split, _ in tested] != _choices(groups, k):
        raise DataError("paths: give the values of all splits of one combinatorial(...), in their order")
    cuts = blocks(n, groups)
    out = np.full((path_count(groups, k), n), np.nan)
    for path, row in enumerate(paths(groups, k)):
        for group, number in enumerate(row):
            split, values = tested[number]
            first, stop = cuts[group]
            at = np.searchsorted(split.test, (first, stop))
            out[path, first:stop] = np.asarray(values, dtype=np.float64)[at[0] : at[1]]
    return out


def leaking(labels: Labels, train: I64, test: I64, embargo_ns: int = 0) -> I64:
    """The samples of `train` whose label touches one of `test`, or begins within embargo_ns after one ends: of any split, also one
    that was made elsewhere."""
    if not len(train) or not len(test):
        return train[:0]
    starts, ends = labels.start_ns[test], labels.end_ns[test] + embargo_ns
    order = np.argsort(starts, kind="stable")
    latest = np.maximum.accumulate(ends[order])
    before = np.searchsorted(starts[order], labels.end_ns[train], side="right")  # tests that begin before the label ends
    touched = (before > 0) & (latest[np.maximum(before - 1, 0)] >= labels.start_ns[train])
    return train[touched]


def _choices(groups: int, tested: int) -> list[tuple[int, ...]]:
    if not 1 <= tested < groups:
        raise ConfigError(f"cross-validation: {tested} of {groups} blocks tested: give 1 to {groups - 1}")
    if (n := math.comb(groups, tested)) > COMBINATIONS_MAX:
        raise ConfigError(f"cross-validation: {tested} of {groups} blocks are {n} splits: {COMBINATIONS_MAX} are the most")
    return list(itertools.combinations(range(groups), tested))


def _check_embargo(embargo_ns: int) -> None:
    if embargo_ns < 0:
        raise ConfigError(f"embargo of {embargo_ns} ns: give 0 or more")


def _split(
    labels: Labels, candidates: range, tested: Sequence[tuple[int, int]], groups: tuple[int, ...], embargo_ns: int, *, embargo_before: bool
) -> Split:
    """Candidates outside of the tested blocks, less what a block's labels and the embargo touch.

    Samples lie in order, so the labels of a block are touched from outside exactly when [its first start, its last end] is.
    """
    starts, ends = labels
    keep = np.zeros(len(starts), dtype=np.bool_)
    keep[candidates.start : candidates.stop] = True
    for first, stop in tested:
        keep[first:stop] = False
    candidates_left = int(keep.sum())
    for first, stop in tested:
        begins, over = int(starts[first]), int(ends[first:stop].max())
        early = begins - embargo_ns if embargo_before else begins
        late = over + embargo_ns
        keep &= (ends < early) | (starts > late)
    train = np.flatnonzero(keep)
    if not len(train):
        names = ", ".join(map(str, groups))
        raise DataError(f"test block {names}: purge and embargo leave no sample to train on: use fewer blocks or shorter labels")
    test = np.concatenate([np.arange(first, stop) for first, stop in tested])
    return Split(train=train, test=test, groups=groups, purged=candidates_left - len(train))


def describe(split: Split, labels: Labels) -> dict[str, Any]:
    """For reports: how many samples, over which time."""
    return {
        "groups": list(split.groups),
        "train": len(split.train),
        "test": len(split.test),
        "purged": split.purged,
        "test_first_ns": int(labels.start_ns[split.test[0]]),
        "test_last_ns": int(labels.end_ns[split.test].max()),
    }
