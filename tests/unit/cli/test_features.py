"""`mia features`: the catalogue as agreed, and commands that say in one line what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mia.backtest import catalogue_check, feature_checks
from mia.backtest.catalogue_check import TOTAL, checks, counted
from mia.backtest.distribution import distribution, write_distribution
from mia.backtest.feature_run import Source, table
from mia.cli.docs import features as page
from mia.domain.regime import RegimeParams
from mia.features.catalogue import COUNTS, INPUTS, shipped_catalogue
from mia.features.models import FeatureModels
from mia.policy.manifest import FORMAT
from tests.unit.backtest.test_feature_run import candles, recording

ROOT = Path(__file__).resolve().parents[3]
Mia = Callable[..., Any]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candles(tmp_path_factory.mktemp("bars") / "bars.parquet")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("frames") / "binance_spot_btcusdt_ws_1.gz")


# --- the catalogue --------------------------------------------------------------------------------------------------------


def test_no_category_holds_more_than_was_agreed_and_no_other_category_exists() -> None:
    catalogue = shipped_catalogue()

    assert sum(COUNTS.values()) == TOTAL == 350
    assert {f.category for f in catalogue.features} <= set(COUNTS)
    assert [c for c, target in COUNTS.items() if len(catalogue.category(c)) > target] == []


def test_the_catalogue_is_complete() -> None:
    catalogue = shipped_catalogue()

    assert {c: len(catalogue.category(c)) for c in COUNTS} == COUNTS
    assert len(set(catalogue.names)) == len(catalogue.features) == 350


def test_everything_but_the_counts_is_as_agreed() -> None:
    names = {c.check for c in counted(shipped_catalogue())}

    assert [c for c in checks(ROOT) if c.check not in names and not c.ok] == []


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        ("mia/a.py", f"obs{'_t'} = 3", "names"),
        ("config/a.toml", f"feed = '{'Dx'}Feed'", "names"),
        ("mia/a.py", f"{'width'} = 320", "widths"),
        ("mia/a.py", f"obs_{'dim'}: int = 81", "widths"),
        ("config/a.json", f'"{"shape"}": [1, 320]', "widths"),
        ("mia/a.py", f"assert x.{'shape'} == (5, 81)", "widths"),
        ("mia/a.py", f"n_{'features'}=320,", "widths"),
        ("models/m/manifest.toml", f"features = {[f'f{i}' for i in range(80)]}\nmasks = ['m']", "widths"),
    ],
)
def test_what_was_withdrawn_is_found(file: str, text: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")

    failed = [c for c in checks(tmp_path) if not c.ok and c.check.startswith("withdrawn")]

    assert len(failed) == 1
    assert found in failed[0].check
    assert file in failed[0].detail


def test_numbers_and_names_that_only_look_alike_are_no_alarm(tmp_path: Path) -> None:
    (tmp_path / "mia").mkdir()
    lines = [
        "timeout_ms = 320",
        "every 320 ms",
        "width = 3200",
        "width = 81.5",
        "bytes(320)",
        "my_obs_table = 1",
        "obs_target",
        "waits == [81]",
    ]
    (tmp_path / "mia" / "a.py").write_text("\n".join(lines))

    assert [c for c in checks(tmp_path) if c.check.startswith("withdrawn") and not c.ok] == []


def test_check_exits_1_while_a_count_is_wrong(mia: Mia, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue_check.COUNTS, "price", 999)

    result = mia("features", "check", "--json")

    failed = {c["check"]: c["detail"] for c in json.loads(result.out) if not c["ok"]}
    assert result.code == 1
    assert "too few" in failed["price: 999 columns"]


def test_list_and_show_tell_everything(mia: Mia) -> None:
    catalogue = shipped_catalogue()
    listed, one = mia("features", "list"), mia("features", "show", "rsi_14")

    assert listed.out.splitlines()[-1] == f"{len(catalogue.features)} features"
    assert [f.name for f in catalogue.features if f"\n{f.name} " not in listed.out] == []
    assert [f.name for f in catalogue.features if f"    {f.formula}\n" not in listed.out] == []
    assert {line.split()[0] for line in one.out.splitlines()} >= {"name", "formula", "range", "inputs", "warm-up", "missing", "computed"}
    assert json.loads(mia("features", "show", "rsi_14", "--json").out)["block"] == "trend"
    assert len(json.loads(mia("features", "list", "--category", "trend", "--json").out)) == len(catalogue.category("trend"))
    assert (mia("features", "show", "rsi_15").code, "rsi_14" in mia("features", "show", "rsi_15").err) == (4, True)
    assert "did you mean: trend" in mia("features", "list", "--category", "trendy").err


def test_the_page_tells_every_input_and_every_column(mia: Mia) -> None:
    text = mia("features", "docs").out

    assert set(page.INPUT_TEXT) == set(INPUTS)
    assert text == page.page()
    assert [f.name for f in shipped_catalogue().features if f"| `{f.name}` |" not in text] == []


# --- columns of files -----------------------------------------------------------------------------------------------------


def test_compute_writes_a_file_and_tells_what_is_not_in_it(mia: Mia, bars: Path, tmp_path: Path) -> None:
    result = mia("features", "compute", bars, "--out", tmp_path / "x.parquet")
    told = mia("features", "compute", bars, "--out", tmp_path / "x.parquet", "--columns", "rsi_14,ret_1", "--json")

    assert result.code == 0
    assert "400 rows" in result.out
    assert "candles hold no" in result.out
    assert "tick 0.01" in result.err
    assert (json.loads(told.out)["columns"], json.loads(told.out)["rows"]) == (2, 400)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--columns", "rsi_15"], 4, "did you mean: rsi_14"),
        (["--columns", "ret_1,ret_1"], 4, "named twice"),
        (["--category", "pricy"], 4, "did you mean: price"),
        (["--bars", "time:5m"], 4, "holds time:1m bars"),
        (["--bars", "nonsense"], 4, "nonsense"),
        (["--tick", "nought"], 2, "--tick 'nought'"),
        (["--tick", "0.07"], 1, "no multiple of the tick 0.07"),
        (["--at", "quote"], 4, "no quotes"),
        (["--at", "bar", "--every-ms", "5"], 2, "leave --at bar out"),
        (["--reference", "vix"], 2, "NAME=PATH"),
        (["--reference", "vox=a.csv"], 4, "did you mean: vix"),
        (["--models", "none.json"], 4, "none.json: cannot be read"),
        (["--models", "no-such-model"], 4, "was not found"),
        (["--predict", "vix"], 2, "--predict 'vix'"),
        (["--predict", "vix=m.json"], 4, "--reference vix="),
    ],
)
def test_a_wrong_option_is_one_line(arguments: list[str], code: int, words: str, mia: Mia, bars: Path, tmp_path: Path) -> None:
    result = mia("features", "compute", bars, "--out", tmp_path / "x.parquet", *arguments)

    assert (result.code, len(result.err.splitlines())) == (code, 1)
    assert words in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_is_one_line(mia: Mia, bars: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")

    results = [
        mia("features", "compute", tmp_path / "none.csv", "--out", out),
        mia("features", "compute", tmp_path / "torn.parquet", "--out", out),
        mia("features", "compute", bars, "--out", tmp_path / "no" / "x.parquet"),
        mia("features", "compute", bars, "--out", bars),
        mia("features", "profile", tmp_path / "torn.parquet"),
        mia("features", "drift", "no-such-model", bars),
        mia("features", "drift", tmp_path / "none.csv", bars),
    ]

    assert [r.code for r in results] == [1, 1, 1, 1, 1, 4, 1]
    assert [len(r.err.splitlines()) for r in results] == [1] * 7


def test_lookahead_vouches_for_no_column_that_never_had_a_value(mia: Mia, bars: Path) -> None:
    looked = mia("features", "lookahead", bars, "--points", 2, "--columns", "ret_1,vix_z_252")
    nothing = mia("features", "lookahead", bars, "--points", 2, "--columns", "vix_z_252", "--json")

    assert "no column knows the future: 1 columns" in looked.out
    assert "nothing is known of 1 columns without a value (no input, or too little data): vix_z_252" in looked.err
    assert json.loads(nothing.out)["silent"] == ["vix_z_252"]


def test_lookahead_is_quiet_on_ours_and_names_a_leak(mia: Mia, frames: Path, bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(source: Source, columns: Sequence[str]) -> tuple[Any, Any]:
        ts, matrix = table(source, columns)
        matrix[:, 1] = matrix[-1, 1]
        return ts, matrix

    ours = mia("features", "lookahead", frames, "--points", 3, "--every-ms", 100)
    monkeypatch.setattr(feature_checks, "table", leaking)
    fake = mia("features", "lookahead", bars, "--points", 2, "--columns", "ret_1,rsi_14")

    assert ours.code == 0
    assert "no column knows the future" in ours.out
    assert fake.code == 1
    assert "rsi_14" in fake.err
    assert "ret_1" not in fake.out + fake.err
    assert fake.out.splitlines()[1].split()[:4] == ["rsi_14", "133", "133", "1"]


def test_tables_fit_80_columns(mia: Mia, bars: Path, frames: Path, tmp_path: Path) -> None:
    mia("features", "compute", frames, "--out", tmp_path / "x.parquet")

    results = [
        mia("features", "profile", tmp_path / "x.parquet"),
        mia("features", "recursive", bars, "--points", 1, "--category", "trend"),
        mia("features", "drift", bars, bars, "--category", "trend"),
    ]

    assert [r.code for r in results] == [0, 0, 0]
    assert [
        line for r in results for line in r.out.splitlines() if len(line) > 80 and "problem" not in line and "moves as" not in line
    ] == []
    assert "0 shifted" in results[2].out


def test_drift_compares_with_what_a_model_saw(mia: Mia, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    folder = tmp_path / "mia" / "models" / "tiny"
    folder.mkdir(parents=True)
    from mia.policy.manifest import HASHED_FILES, Manifest, Training
    from mia.train.bundle_writer import manifest_toml

    names = ["queue_imb_1", "rsi_14"]
    training = Training(command="", spans=[], seeds_train=[], seeds_validation=[], seeds_test=[], steps=1, git_commit="", versions={})
    manifest = Manifest(
        format=FORMAT, name="tiny", family="crypto", trigger="quote", min_interval_ms=100, bar="time:1s",
        catalogue_sha256=shipped_catalogue().hash, features=names, masks=[], lo=[-2.0] * 2, hi=[2.0] * 2, alpha_min=0.0,
        alpha_horizon_s=10.0, algorithms=dict.fromkeys(("range", "trend", "defensive"), "sac"),
        files=dict.fromkeys(HASHED_FILES, ""), training=training, metrics={},
    )  # fmt: skip
    (folder / "manifest.toml").write_text(manifest_toml(manifest))

    without = mia("features", "drift", "tiny", frames)
    matrix = np.stack([np.linspace(-1, 1, 500), np.full(500, math.nan)], axis=1)
    write_distribution(folder, distribution(names, matrix, shipped_catalogue().hash, "time:1s"))
    found = mia("features", "drift", "tiny", frames, "--json")

    assert (without.code, len(without.err.splitlines())) == (1, 1)
    assert "has no distribution.json" in without.err
    assert [(s["column"], s["psi"] is None) for s in json.loads(found.out)] == [("queue_imb_1", False), ("rsi_14", True)]


# --- models behind columns ------------------------------------------------------------------------------------------------


@pytest.fixture
def regime_model(tmp_path: Path) -> Path:
    params = RegimeParams(
        columns=["rv_30", "linreg_r2_20"], center=[0.005, 0.4], scale=[0.001, 0.3], mean=[[-0.5, -0.5], [-0.2, 1.0], [1.0, 0.2]],
        var=[[0.5, 0.6], [0.6, 0.7], [0.8, 0.9]], transition=[[0.96, 0.02, 0.02], [0.03, 0.95, 0.02], [0.02, 0.04, 0.94]], clip=4.0,
        warm_bars=10,
    )  # fmt: skip
    path = tmp_path / "m.json"
    path.write_bytes(FeatureModels(regime=params).encode())
    return path


def test_models_give_their_columns_values_and_without_them_it_is_said_what_they_need(
    mia: Mia, bars: Path, regime_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x.parquet"

    with_them = mia("features", "compute", bars, "--out", out, "--category", "regime", "--models", regime_model, "--json")
    without = mia("features", "compute", bars, "--out", out, "--category", "regime")
    looked = mia("features", "lookahead", bars, "--category", "regime", "--points", 2, "--models", regime_model)
    settles = mia("features", "recursive", bars, "--category", "regime", "--points", 1, "--models", regime_model)
    profiled = mia("features", "profile", bars, "--category", "regime", "--models", regime_model)

    assert json.loads(with_them.out)["absent"] == []
    assert json.loads(with_them.out)["models"]["name"] == "m.json"
    assert "need --models (10)" in without.out
    assert "no column knows the future" in looked.out
    assert (settles.code, profiled.code) == (0, 0)
    assert "0 never there" in profiled.out


def test_regimes_writes_a_page_or_a_picture_and_prints_its_table(mia: Mia, bars: Path, regime_model: Path, tmp_path: Path) -> None:
    printed = mia("features", "regimes", bars, "--models", regime_model, "--out", tmp_path / "r.html")
    told = mia("features", "regimes", bars, "--models", regime_model, "--out", tmp_path / "r.svg", "--json")
    wrong = mia("features", "regimes", bars, "--models", regime_model, "--out", tmp_path / "r.png")
    nowhere = mia("features", "regimes", bars, "--models", regime_model, "--out", tmp_path / "no" / "r.svg")

    assert (tmp_path / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "r.svg").read_text().startswith("<?xml")
    assert [line for line in printed.out.splitlines() if len(line) > 80 and str(tmp_path) not in line and "dwell in" not in line] == []
    assert {"range", "trend", "defensive", "all"} <= {line.split()[0] for line in printed.out.splitlines() if line}
    assert json.loads(told.out)["parts"][0]["labels"][-1]["label"] == "all"
    assert (wrong.code, nowhere.code) == (2, 1)
    assert "does not say on what rows" in printed.err
