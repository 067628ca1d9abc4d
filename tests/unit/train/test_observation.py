"""The observation: from a ranking to columns, with fallbacks; scaling and the weights of regimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mia import shipped
from mia.domain.errors import ConfigError
from mia.features.catalogue import shipped_catalogue
from mia.train.observation import (
    Normaliser,
    Observation,
    Ranked,
    choose_columns,
    find_ranking,
    fit_normaliser,
    read_ranking,
    regime_weights,
    write_ranking,
)

CATALOGUE = shipped_catalogue()
OWN = CATALOGUE.category("account_self")
OTHERS = tuple(n for n in CATALOGUE.names if n not in OWN)
HEAD = "feature,shap_value,std,folds,rank_stability\n"


def ranked(names: tuple[str, ...]) -> list[Ranked]:
    return [Ranked(name, 1.0 / (k + 1), 0.01, 5, 0.9) for k, name in enumerate(names)]


def test_the_observation_is_the_best_of_the_others_and_then_the_whole_account() -> None:
    ranking = OTHERS[::-1]

    columns = choose_columns(ranking, CATALOGUE, CATALOGUE.names, size=40)

    assert columns == (*ranking[: 40 - len(OWN)], *OWN)


def test_the_account_is_never_ranked_out_and_cannot_be_ranked_in_twice() -> None:
    columns = choose_columns((OWN[0], *OTHERS), CATALOGUE, CATALOGUE.names, size=len(OWN) + 2)

    assert columns == (*OTHERS[:2], *OWN)


def test_columns_whose_inputs_are_not_there_make_room_for_the_next_best() -> None:
    usable = set(OTHERS[3:9])

    columns = choose_columns(OTHERS[:5], CATALOGUE, usable, size=150)

    assert columns == OTHERS[3:9]  # ranked ones first, then the unranked in the order of the catalogue


def test_a_ranking_survives_writing_and_reading(tmp_path: Path) -> None:
    rows = ranked(OTHERS[:7])

    write_ranking(tmp_path / "r.csv", rows)

    found = read_ranking(tmp_path / "r.csv", CATALOGUE)
    assert [r.feature for r in found] == list(OTHERS[:7])
    assert [r.shap_value for r in found] == pytest.approx([r.shap_value for r in rows], rel=1e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("feature,shap\nret_1,0.5\n", "line 1: the first columns must be"),
        (HEAD, "no rows"),
        (HEAD + "ret_11,0.5,0,5,1\n", "line 2: feature: unknown feature 'ret_11'"),
        (HEAD + "ret_1,0.5,0,5,1\nret_5,0.6,0,5,1\n", "line 3: shap_value must fall"),
        (HEAD + "ret_1,0.5,0,5,1\nret_1,0.4,0,5,1\n", "line 3: feature 'ret_1' is there twice"),
        (HEAD + "ret_1,nan,0,5,1\n", "line 2: shap_value must be finite"),
        (HEAD + "ret_1,,0,5,1\n", "line 2: shap_value is not a number"),
        (HEAD + "ret_1,0.5,0,5,1.5\n", "line 2: rank_stability must lie in"),
        (HEAD + "ret_1,0.5,0\n", "line 2: folds is not a number"),
        ("\xff\x00", "first columns must be"),
    ],
)
def test_a_bad_ranking_is_one_clear_error(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=words) as error:
        read_ranking(tmp_path / "r.csv", CATALOGUE)

    assert str(tmp_path / "r.csv") in str(error.value)


def test_a_ranking_that_cannot_be_used_is_replaced_by_the_last_good_one_and_then_by_the_shipped_one(tmp_path: Path) -> None:
    first, last_good, static = (tmp_path / name for name in ("first.csv", "last.csv", "static.csv"))
    write_ranking(first, ranked(OTHERS[:5]))
    write_ranking(static, ranked(OTHERS[5:9]))

    good = find_ranking(first, last_good, static, CATALOGUE)
    first.write_text("torn", encoding="utf-8")
    second = find_ranking(first, last_good, static, CATALOGUE)
    last_good.unlink()
    third = find_ranking(first, last_good, static, CATALOGUE)
    static.unlink()

    assert (good.names, good.problem) == (OTHERS[:5], "")
    assert second.names == OTHERS[:5]
    assert str(last_good) in second.source
    assert str(first) in second.problem
    assert third.names == OTHERS[5:9]
    assert "shipped" in third.source
    assert str(last_good) in third.problem
    with pytest.raises(ConfigError, match="static"):
        find_ranking(first, last_good, static, CATALOGUE)


def test_the_shipped_weights_name_categories_and_leave_the_account_alone() -> None:
    columns = ("queue_imb_1", "adx_14", "rv_30", "position", "has(depth)")

    weights = regime_weights(shipped.config_file("regime_weights.toml"), columns, CATALOGUE)

    assert weights.tolist() == [[1.5, 0.5, 1.0, 1.0, 1.0], [0.5, 1.5, 1.0, 1.0, 1.0], [1.0, 0.5, 1.5, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[calm]\nbook = 1.0\n", "unknown key 'calm'"),
        ("[range]\nbooks = 1.0\n", "range.books: no such category"),
        ("[range]\nbook = -1\n", "range.book: a number from 0 to 10"),
        ("[range]\nbook = true\n", "range.book: a number"),
        ("[range]\nbook = nan\n", "range.book: a number"),
        ("[range\n", "cannot be read"),
    ],
)
def test_bad_weights_are_one_clear_error(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=words):
        regime_weights(tmp_path / "w.toml", ("ret_1",), CATALOGUE)


def test_what_a_policy_reads_is_scaled_clipped_and_weighed_by_regime() -> None:
    rng = np.random.default_rng(3)
    raw = rng.normal(5.0, 2.0, size=(1_000, 2))
    weights = np.array([[1.0, 2.0, 1.0], [0.5, 1.0, 1.0], [3.0, 1.0, 1.0]], np.float32)
    o = Observation(columns=("a", "b", "position"), own=1, normaliser=fit_normaliser(raw, [1.0]), weights=weights)
    obs = np.array([[5.0, 9.0, 0.25], [1e9, -1e9, -1.0]], np.float32)
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], np.float32)

    x = o.apply(obs, probs)

    plain = (obs[:, :2] - np.median(raw, axis=0)) / ((np.quantile(raw, 0.95, axis=0) - np.quantile(raw, 0.05, axis=0)) / 3.29)
    assert x[0, :2] == pytest.approx(np.clip(plain[0], -5, 5) * [1.0, 2.0], rel=1e-5)
    assert x[1].tolist() == [5.0 * 1.75, -5.0, -1.0]
    assert x[0, 2] == 0.25
    assert np.array_equal(o.apply_market(obs[:, :2], probs), x[:, :2])


def test_raw_changes_nothing() -> None:
    obs = np.array([[1e6, -3.0]], np.float32)

    assert np.array_equal(Observation.raw(("a", "b")).apply(obs, np.full((1, 3), 1 / 3, np.float32)), obs)
    assert isinstance(Observation.raw(("a",)).normaliser, Normaliser)
