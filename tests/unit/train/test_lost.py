"""Inputs taken away in training and in the report look as the live plan shows them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from mia.domain.errors import ConfigError
from mia.features.bars import BarSpec
from mia.features.batch import compute
from mia.features.catalogue import shipped_catalogue
from mia.features.columns import BOOK_DELTA, BOOK_SNAPSHOT
from mia.features.plan import build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.sim.market import SimMarket
from mia.sim.settings import SimMarketSettings
from mia.train.lost import Lost
from mia.train.parts import masks_over
from mia.train.settings import perpetual
from mia.train.tapes import START_NS

COLUMNS = ("depth_imb_5", "ret_1", "flow_imb_10s", "spread_ticks")
MASKS = ("has(depth)", "has(trades)")


def taken(lost: Lost, columns: tuple[str, ...] = COLUMNS, masks: int = 2, rows: int = 60_000) -> tuple[np.ndarray, np.ndarray]:
    features, shown = np.full((rows, len(columns)), 0.25, np.float32), np.ones((rows, masks), np.float32)
    lost.take(features, shown)
    return features, shown


def test_each_input_is_lost_on_its_own_with_the_stated_probability_in_spans_of_the_stated_length() -> None:
    features, masks = taken(Lost(COLUMNS, MASKS, seed=1, share=0.1, rows=50))

    depth, trades = masks[:, 0] == 0.0, masks[:, 1] == 0.0
    assert (depth.mean(), trades.mean()) == pytest.approx((0.1, 0.1), abs=0.02)
    assert (depth & trades).mean() == pytest.approx(0.01, abs=0.008)
    assert ((features[:, 0] == 0.0) == depth).all()
    assert ((features[:, 2] == 0.0) == trades).all()
    assert (features[:, [1, 3]] == 0.25).all()
    edges = np.flatnonzero(np.diff(depth[1:-1].astype(int)))
    assert (np.diff(edges) % 50 == 0).all()


def test_a_short_tape_loses_its_share_too() -> None:
    shares = [(taken(Lost(COLUMNS, MASKS, seed=k, share=0.05, rows=60), rows=300)[1][:, 0] == 0.0).mean() for k in range(400)]

    assert np.mean(shares) == pytest.approx(0.05, abs=0.01)


def test_one_input_can_be_lost_for_good_and_the_others_stay() -> None:
    features, masks = taken(Lost(COLUMNS, MASKS, 0, 1.0, 1, only="has(trades)"))

    assert (masks == [1.0, 0.0]).all()
    assert (features == np.array([0.25, 0.25, 0.0, 0.25], np.float32)).all()


def test_a_neutral_value_is_that_of_the_catalogue_and_not_zero() -> None:
    name = next(f.name for f in shipped_catalogue().features if "depth" in f.inputs and f.neutral != 0.0)

    features, _ = taken(Lost((name,), MASKS[:1], 0, 1.0, 1), (name,), masks=1)

    assert (features == np.float32(shipped_catalogue().get(name).neutral)).all()


def test_a_book_that_is_lost_looks_in_training_as_in_the_live_plan() -> None:
    names = tuple(f.name for f in shipped_catalogue().features if "depth" in f.inputs)
    masks = masks_over(("depth", "trades", "quotes"), names)
    market = SimMarket(msgspec.structs.replace(SimMarketSettings(), seed=5), perpetual())
    market.start(START_NS)
    events = market.generate(duration_s=90.0, timers=True).events
    no_book = (events.kind != BOOK_DELTA) & (events.kind != BOOK_SNAPSHOT)
    events = events._replace(**{name: getattr(events, name)[no_book] for name in events._fields[:-1]})
    arena = Arena(64 << 20)
    plan = build_plan((*names, *masks), perpetual(), BarSpec.parse("time:1s"), arena, Book(arena, 4096))

    _, live = compute(plan, events, 0, "quote")

    features, shown = taken(Lost(names, masks, 0, 1.0, 1, only="has(depth)"), names, len(masks), rows=len(live))
    assert len(live) > 100
    assert np.array_equal(features, live[:, : len(names)].astype(np.float32))
    assert np.array_equal(shown, live[:, len(names) :].astype(np.float32))


def test_a_mask_stands_only_for_an_input_that_a_column_reads() -> None:
    assert masks_over(("depth", "trades", "reference"), COLUMNS) == MASKS
    with pytest.raises(ConfigError, match="--mask nosuch"):
        masks_over(("nosuch",), COLUMNS)
