"""Splits against their definition, label by label, on samples whose labels overlap, repeat and have gaps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.backtest.validation.splits import (
    Labels,
    Split,
    assemble,
    blocks,
    combinatorial,
    leaking,
    path_count,
    paths,
    purged_k_fold,
    walk_forward,
)
from mia.domain.errors import ConfigError, DataError


@st.composite
def labels(draw: st.DrawFn, least: int = 30) -> Labels:
    n = draw(st.integers(least, 80))
    steps = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    lengths = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    starts = np.cumsum(steps)
    return Labels.of(starts, starts + np.array(lengths))


def touches(labels: Labels, i: int, j: int) -> bool:
    """Do the closed intervals of two samples have a moment in common?"""
    return max(labels.start_ns[i], labels.start_ns[j]) <= min(labels.end_ns[i], labels.end_ns[j])


def too_soon(labels: Labels, i: int, j: int, embargo_ns: int) -> bool:
    """Does i's label begin after j's ended, but within the embargo?"""
    return 0 < labels.start_ns[i] - labels.end_ns[j] <= embargo_ns


def clean(labels: Labels, split: Split, embargo_ns: int) -> bool:
    return not any(touches(labels, i, j) or too_soon(labels, i, j, embargo_ns) for i in split.train for j in split.test)


def made(splits: object) -> list[Split]:
    """All of them; [] where too little is left to train on, which is an error of its own."""
    try:
        return list(splits)  # type: ignore[call-overload]
    except DataError:
        return []


@settings(max_examples=60, deadline=None)
@given(labels(), st.integers(3, 6), st.integers(0, 10), st.data())
def test_no_training_label_touches_a_test_label_or_its_embargo(labels: Labels, groups: int, embargo_ns: int, data: st.DataObject) -> None:
    tested = data.draw(st.integers(1, groups - 1))
    for split in made(combinatorial(labels, groups, tested, embargo_ns=embargo_ns)):
        assert clean(labels, split, embargo_ns)
    for rolling in (None, 1, 2):
        for split in made(walk_forward(labels, groups, train_blocks=rolling, embargo_ns=embargo_ns)):
            assert clean(labels, split, embargo_ns)
            assert labels.end_ns[split.train].max() + embargo_ns < labels.start_ns[split.test].min()


@settings(max_examples=60, deadline=None)
@given(labels(), st.integers(3, 6), st.integers(0, 10))
def test_nothing_else_is_purged(labels: Labels, groups: int, embargo_ns: int) -> None:
    """A sample that neither is tested nor touches a tested block's time is trained on."""
    for split in made(combinatorial(labels, groups, 2, embargo_ns=embargo_ns)):
        for i in set(range(len(labels.start_ns))) - set(split.train) - set(split.test):
            assert any(touches(labels, i, j) or too_soon(labels, i, j, embargo_ns) for j in split.test)
        assert split.purged == len(labels.start_ns) - len(split.train) - len(split.test)


@settings(max_examples=40, deadline=None)
@given(labels(), st.integers(3, 7), st.data())
def test_every_sample_is_tested_on_every_path_once(labels: Labels, groups: int, data: st.DataObject) -> None:
    tested = data.draw(st.integers(1, groups - 1))
    n = len(labels.start_ns)
    splits = made(combinatorial(labels, groups, tested))
    if not splits:
        return

    times = np.bincount(np.concatenate([s.test for s in splits]), minlength=n)
    path_values = assemble([(s, 1000.0 * number + s.test) for number, s in enumerate(splits)], groups, n)

    assert len(splits) == math.comb(groups, tested)
    assert (times == math.comb(groups - 1, tested - 1)).all()
    assert path_values.shape == (math.comb(groups - 1, tested - 1), n)
    assert (path_values % 1000 == np.arange(n)).all()  # each value belongs to its own sample
    for sample in range(n):  # and no split gives a sample to two paths
        assert len(set(path_values[:, sample])) == len(path_values)


@settings(max_examples=60, deadline=None)
@given(labels(10), st.integers(0, 10), st.data())
def test_leaking_names_exactly_the_samples_that_touch(labels: Labels, embargo_ns: int, data: st.DataObject) -> None:
    parts = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=len(labels.start_ns), max_size=len(labels.start_ns))))
    train, test = np.flatnonzero(parts == "a"), np.flatnonzero(parts == "b")

    found = leaking(labels, train, test, embargo_ns)

    assert found.tolist() == [i for i in train if any(touches(labels, i, j) or too_soon(labels, i, j, embargo_ns) for j in test)]


def test_the_book_s_example_of_six_groups_and_two_tested_has_fifteen_splits_and_five_paths() -> None:
    """Lopez de Prado (2018), figures 12.1 and 12.2: path 1 is of splits 1, 1, 2, 3, 4, 5; path 2 of 2, 6, 6, 7, 8, 9."""
    assert (path_count(6, 2), len(list(itertools.combinations(range(6), 2)))) == (5, 15)

    table = paths(6, 2) + 1

    assert table[0].tolist() == [1, 1, 2, 3, 4, 5]
    assert table[1].tolist() == [2, 6, 6, 7, 8, 9]
    assert table[2].tolist() == [3, 7, 10, 10, 11, 12]
    assert table[4].tolist() == [5, 9, 12, 14, 15, 15]


def test_anchored_walk_forward_trains_on_all_before_and_rolling_on_so_many_blocks() -> None:
    instants = Labels.of(range(100), range(100))

    anchored = [(s.train[0], s.train[-1], s.test[0], s.test[-1]) for s in walk_forward(instants, 4)]
    rolling = [(s.train[0], s.train[-1], s.test[0], s.test[-1]) for s in walk_forward(instants, 4, train_blocks=2)]

    assert anchored == [(0, 19, 20, 39), (0, 39, 40, 59), (0, 59, 60, 79), (0, 79, 80, 99)]
    assert rolling == [(0, 39, 40, 59), (20, 59, 60, 79), (40, 79, 80, 99)]


def test_a_label_of_twenty_bars_purges_twenty_samples_before_each_test() -> None:
    ahead = Labels.ahead(np.arange(100), 20)

    assert [s.train[-1] for s in walk_forward(ahead, 1)] == [29]  # the label of 29 ends at 49, that of 30 when the test begins
    assert [s.train[-1] for s in walk_forward(ahead, 1, embargo_ns=5)] == [24]
    first, second = purged_k_fold(ahead, 2, embargo_ns=3)
    assert (first.train[0], second.train[-1]) == (69 + 3 + 1, 29)  # the label of sample 49 ends at 69


def test_blocks_differ_by_one_sample_at_most() -> None:
    sizes = [b - a for a, b in blocks(103, 10)]

    assert sum(sizes) == 103
    assert set(sizes) == {10, 11}


@pytest.mark.parametrize(
    ("starts", "ends", "message"),
    [
        ([], [], "one at least"),
        ([1, 2], [3], "one of each"),
        ([1, 3, 2], [4, 4, 4], "sample 2 begins before sample 1"),
        ([1, 2], [1, 1], "label of sample 1 ends before"),
    ],
)
def test_labels_that_make_no_sense_are_named(starts: Sequence[int], ends: Sequence[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Labels.of(starts, ends)


def test_labels_longer_than_the_data_leave_nothing_to_train_on_and_say_so() -> None:
    with pytest.raises(DataError, match="leave no sample to train on"):
        list(purged_k_fold(Labels.ahead(np.arange(50), 49), 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: combinatorial(x, 6, 6), "6 of 6 blocks"),
        (lambda x: combinatorial(x, 50, 25), "are the most"),
        (lambda x: combinatorial(x, 11, 2), "10 samples cannot be cut into 11 parts"),
        (lambda x: walk_forward(x, 3, train_blocks=4), "4 blocks to train on"),
        (lambda x: walk_forward(x, 3, embargo_ns=-1), "embargo"),
    ],
)
def test_a_scheme_that_cannot_be_is_refused(call: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(call(Labels.of(range(10), range(10))))  # type: ignore[operator]


def test_paths_are_not_made_of_some_of_the_splits() -> None:
    splits = list(combinatorial(Labels.of(range(30), range(30)), 5, 2))

    with pytest.raises(DataError, match="all splits"):
        assemble([(s, s.test) for s in splits[1:]], 5, 30)
