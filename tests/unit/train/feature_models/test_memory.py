"""Clusters of situations hold what followed them."""

from __future__ import annotations

import numpy as np
import pytest

from mia.train.feature_models.memory import fit_memory
from mia.train.feature_models.rows import Stretch, scaled
from tests.unit.train.feature_models.conftest import QUICK


def test_clusters_hold_what_followed_each_situation(made_up: Stretch) -> None:
    m = fit_memory([made_up], QUICK)

    z = scaled(made_up.rows, m.columns, m.center, m.scale, m.clip)
    at = np.arange(0, len(z) - 20, 20)
    y = np.log(made_up.close[at + 20] / made_up.close[at]) - QUICK.cost
    near = ((z[:, None] - np.array(m.centers)) ** 2).sum(2).argmin(1)
    assert m.return_std == pytest.approx(y.std())
    for k in range(4):
        mine = near[at] == k
        assert m.counts[k] == mine.sum()
        assert m.hits[k] == (y[mine] > 0).sum()
        assert m.mean_returns[k] == pytest.approx(y[mine].mean() / y.std())
        assert m.last_ns[k] == made_up.ts_ns[near == k].max()
    assert max(m.ended_ns) <= made_up.ts_ns[-1]
    assert len(m.contexts) == 40
