"""Labels, statistics, regime fits and the export's equality with separate actors."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from mia.backtest.readers import read_bars
from mia.domain.errors import DataError
from mia.features.bars import BarSpec
from mia.kernels.arena import Arena
from mia.regime.filter import RegimeFilter
from mia.train.alpha import fit_alpha, labels, probabilities, with_account
from mia.train.env import Tape
from mia.train.evaluate import evaluate
from mia.train.graph import Layer, PolicyWeights, build_graph
from mia.train.known import Known
from mia.train.parts import bar_parts, simulated_candidates
from mia.train.regime_fit import fit_by_moments, fit_regime
from mia.train.settings import REGIME_COLUMNS, FitSettings, perpetual, recorded_instruments
from mia.train.stats import auc, brier, mean_interval
from mia.train.tapes import chosen, complete_columns, filtered, recorded, simulated
from tests.unit.train.test_env import SETTINGS, tape


def test_alpha_labels_are_round_trips_after_both_fees() -> None:
    rows = 20
    bid = np.full(rows, 600_000)
    bid[10:] = 600_700  # 11.7 bps up: more than 2 x 5 bps of fees
    t = msgspec.structs.replace(tape(rows), bid_ticks=bid, ask_ticks=bid + 1)

    usable, pays = labels(t, horizon_s=5.0)

    assert usable.tolist() == [k < rows - 6 for k in range(rows)]  # entry one row later, then five seconds
    assert pays[:14, 0].tolist() == [1.0 if 4 <= k <= 8 else 0.0 for k in range(14)]
    assert pays[:14, 1].sum() == 0.0


def test_alpha_labels_do_not_pay_when_the_move_is_within_costs() -> None:
    rows = 20
    bid = np.full(rows, 600_000)
    bid[10:] = 600_590  # 9.8 bps
    t = msgspec.structs.replace(tape(rows), bid_ticks=bid, ask_ticks=bid + 1)

    assert labels(t, horizon_s=5.0)[1].sum() == 0.0


def test_the_head_learns_what_pays_and_ignores_the_account() -> None:
    def market(seed: int) -> Tape:
        t = tape(600, seed)
        rng = np.random.default_rng(seed)
        push = np.repeat(rng.choice([-1.0, 1.0], 60), 10)
        bid = 600_000 + np.cumsum(push * 200).astype(np.int64)
        features = np.stack([push, rng.normal(size=600)], axis=1).astype(np.float32)
        return msgspec.structs.replace(t, features=features, bid_ticks=bid, ask_ticks=bid + 1)

    head, base = fit_alpha([market(1), market(2)], [market(3)], horizon_s=4.0, seed=1, epochs=30)

    up = np.array([[1.0, 0.0, 1 / 3, 1 / 3, 1 / 3], [-1.0, 0.0, 1 / 3, 1 / 3, 1 / 3]], np.float32)
    p = probabilities(head, up)
    assert p[0, 0] > 2 * p[1, 0]
    assert p[1, 1] > 2 * p[0, 1]
    assert 0.0 < base < 1.0
    wide = with_account(head, 3)
    assert wide[0].weight.shape == (2 + 3 + 3, 32)
    assert not wide[0].weight[2:5].any()
    assert np.array_equal(wide[0].weight[-3:], head[0].weight[-3:])


def test_auc_and_brier_have_their_textbook_values() -> None:
    outcome = np.array([0.0, 0.0, 1.0, 1.0])

    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), outcome) == 0.75
    assert auc(np.full(4, 0.5), outcome) == 0.5
    assert brier(np.array([0.0, 0.0, 1.0, 1.0]), outcome) == 0.0
    assert brier(np.full(4, 0.5), outcome) == 0.25


def test_the_interval_is_students() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])

    assert (mean, low, high) == pytest.approx((3.0, 3.0 - 1.96324, 3.0 + 1.96324), abs=1e-4)


COLUMNS = ("ret_z_50", "queue_imb_1", "flow_imb_10s", "depth_imb_5", "adx_14")


@pytest.fixture(scope="module")
def stretch() -> object:
    return simulated(11, 900.0, perpetual(), COLUMNS, REGIME_COLUMNS, BarSpec.parse("time:1s"), 500)


def test_a_simulated_stretch_is_quoted_and_shows_holes_until_columns_are_warm(stretch) -> None:  # type: ignore[no-untyped-def]
    assert len(stretch.ts_ns) > 1_000
    assert np.isnan(stretch.features[0, COLUMNS.index("ret_z_50")])
    assert complete_columns([stretch], 70.0) == COLUMNS
    assert "ret_z_50" not in complete_columns([stretch], 10.0)
    assert (stretch.ask_ticks > stretch.bid_ticks).all()
    assert (np.diff(stretch.ts_ns) >= 500_000_000).all()
    assert set(np.unique(stretch.labels)) <= {0, 1, 2}


def test_rows_do_not_change_when_the_market_goes_on(stretch) -> None:  # type: ignore[no-untyped-def]
    short = simulated(11, 500.0, perpetual(), COLUMNS, REGIME_COLUMNS, BarSpec.parse("time:1s"), 500)

    n = len(short.ts_ns)
    assert 500 < n < len(stretch.ts_ns)
    for name in ("ts_ns", "features", "bid_ticks", "ask_ticks"):
        assert np.array_equal(getattr(short, name), getattr(stretch, name)[:n], equal_nan=True)


def test_chosen_columns_leave_the_rows_that_live_would_decide_on(stretch) -> None:  # type: ignore[no-untyped-def]
    few = chosen(stretch, ("queue_imb_1", "ret_z_50"))

    first = int(np.flatnonzero(np.isfinite(stretch.features[:, COLUMNS.index("ret_z_50")]))[0])
    assert few.ts_ns.tolist() == stretch.ts_ns[first:].tolist()
    assert np.isfinite(few.features).all()
    assert few.features[:, 1].tolist() == stretch.features[first:, COLUMNS.index("ret_z_50")].tolist()
    with pytest.raises(DataError, match="no two rows"):
        chosen(msgspec.structs.replace(stretch, features=np.full_like(stretch.features, np.nan)), ("ret_z_50",))


def test_columns_of_simulated_markets_know_no_session_and_no_clock() -> None:
    candidates = simulated_candidates(Known())

    assert {"queue_imb_1", "depth_imb_5", "ret_z_50"} <= set(candidates)
    assert not {"cum_delta_session", "vwap_distance", "session_range_pos", "tod_sin", "position"} & set(candidates)


def test_probabilities_at_a_decision_use_bars_closed_by_then(stretch) -> None:  # type: ignore[no-untyped-def]
    params = fit_by_moments(REGIME_COLUMNS, [stretch.bar_inputs])
    probs = filtered(stretch, params)

    regime = RegimeFilter(params, Arena(1 << 14), {c: k for k, c in enumerate(REGIME_COLUMNS)})
    row = Arena(256).doubles(4)
    bar = 0
    for k in range(len(stretch.ts_ns)):
        while bar < len(stretch.bar_ts_ns) and stretch.bar_ts_ns[bar] <= stretch.ts_ns[k]:
            for i, value in enumerate(stretch.bar_inputs[bar].tolist()):
                row[i] = value
            regime.update(row)
            bar += 1
        assert probs[k].tolist() == np.array(regime.probs, np.float32).tolist()


def test_a_bar_that_a_quote_closes_counts_for_the_decision_on_that_quote(stretch) -> None:  # type: ignore[no-untyped-def]
    params = fit_by_moments(REGIME_COLUMNS, [stretch.bar_inputs])
    at_bars = msgspec.structs.replace(stretch, ts_ns=stretch.bar_ts_ns)
    just_after = msgspec.structs.replace(stretch, ts_ns=stretch.bar_ts_ns + 1)

    assert np.array_equal(filtered(at_bars, params), filtered(just_after, params))
    assert len(np.unique(filtered(at_bars, params)[:, 0])) > 100


def test_the_filter_takes_every_bar_of_a_silence_in_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "binance_spot_btcusdt_ws_1.log"
    start, lines = 1_723_161_253_000_000_000, []
    for k in [*range(120), 130, 131]:  # nothing is heard for ten seconds
        t, price = start + k * 1_000_000_000, f"{60_000 + k % 7}.00"
        quote = {"u": k + 1, "s": "BTCUSDT", "b": price, "B": "1.0", "a": f"{60_001 + k % 7}.00", "A": "1.0"}
        trade = {"e": "trade", "E": t // 10**6, "s": "BTCUSDT", "t": k, "p": price, "q": "0.5", "T": t // 10**6, "m": k % 2 == 0}
        lines += [f"{t} {json.dumps({'stream': 'btcusdt@bookTicker', 'data': quote})}", f"{t + 1} {json.dumps(trade)}"]
    path.write_text("\n".join(lines))

    made = recorded(path, recorded_instruments(), ("queue_imb_1",), REGIME_COLUMNS, BarSpec.parse("time:1s"), 100)

    silent = (made.bar_ts_ns > start + 120 * 10**9) & (made.bar_ts_ns < start + 130 * 10**9)
    assert silent.sum() == 9
    assert len(made.bar_ts_ns) == len(np.unique(made.bar_ts_ns))


def test_the_filter_of_known_phases_keeps_the_order_of_states() -> None:
    rng = np.random.default_rng(1)
    phase = np.repeat(rng.integers(0, 3, 200), 30).astype(np.int8)
    inputs = np.stack([np.array([1.0, 2.0, 5.0])[phase], np.array([0.2, 0.9, 0.5])[phase]], axis=1) + rng.normal(scale=0.3, size=(6_000, 2))

    params = fit_regime(["v", "t"], [(inputs, phase)])

    regime = RegimeFilter(params, Arena(1 << 14), {"v": 0, "t": 1})
    row = Arena(64).doubles(2)
    right = 0
    for values, label in zip(inputs.tolist(), phase.tolist(), strict=True):
        row[0], row[1] = values
        regime.update(row)
        right += regime.probs.index(max(regime.probs)) == label
    assert right / len(phase) > 0.9


def test_the_gate_refuses_openings_and_lets_exits_pass() -> None:
    from mia.train.account import PlanAccount

    t = tape(40)
    wanted = iter([1.0, 1.0, -1.0, -1.0, *[0.0] * 40])
    sure = iter([0.9, 0.9, 0.1, 0.1, *[0.0] * 40])

    def decide(obs: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([next(wanted)], np.float32), np.array([next(sure)], np.float32)

    (result,) = evaluate(decide, [t], PlanAccount(), SETTINGS, alpha_min=0.5)

    assert (result.openings, result.refused) == (3, 2)  # long, refused flip (an exit), refused short
    assert result.turnover_per_hour * (39 / 3600) == pytest.approx(2.0, rel=0.01)


def test_bars_are_read_and_bad_files_are_named(tmp_path: Path) -> None:
    frame = pl.DataFrame({"ts_ms": [0, 60_000, 120_000], **{c: [1.0, 2.0, 3.0] for c in ("open", "high", "low", "close", "volume")}})
    frame.write_csv(tmp_path / "ok.csv")
    frame.drop("low").write_parquet(tmp_path / "nolow.parquet")
    frame.with_columns(pl.col("ts_ms").reverse()).write_ipc(tmp_path / "back.feather")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")

    times, ohlcv = read_bars(tmp_path / "ok.csv")

    assert times.tolist() == [0, 60_000_000_000, 120_000_000_000]
    assert ohlcv.shape == (3, 5)
    for name, words in (
        ("nolow.parquet", "'low' is missing"),
        ("back.feather", "times must rise"),
        ("torn.parquet", "cannot be read"),
        ("x.txt", "use .feather"),
    ):
        with pytest.raises(DataError, match=name) as e:
            read_bars(tmp_path / name)
        assert words in str(e.value)


def test_the_fused_graph_equals_the_separate_actors_of_sb3() -> None:
    torch = pytest.importorskip("torch")
    gym = pytest.importorskip("gymnasium")
    import onnxruntime as ort
    from stable_baselines3 import SAC

    from mia.train.sac import actor_layers

    class Nothing(gym.Env):  # type: ignore[misc,name-defined]
        observation_space = gym.spaces.Box(-5.0, 5.0, (9,), np.float32)
        action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    torch.set_num_threads(1)
    models = [SAC("MlpPolicy", Nothing(), seed=k, device="cpu", buffer_size=10) for k in range(3)]
    rng = np.random.default_rng(0)
    mean, inv_std = rng.normal(size=9).astype(np.float32), (0.5 + rng.random(9)).astype(np.float32)
    head = [
        Layer(rng.normal(size=(12, 4)).astype(np.float32), np.zeros(4, np.float32)),
        Layer(rng.normal(size=(4, 2)).astype(np.float32), np.zeros(2, np.float32)),
    ]
    gate = (0.5 + rng.random((3, 9))).astype(np.float32)
    graph = build_graph(
        PolicyWeights(mean=mean, inv_std=inv_std, clip=5.0, gate=gate, actors=[actor_layers(m) for m in models], alpha=head)
    )
    obs = rng.normal(scale=3.0, size=(1_500, 9)).astype(np.float32)
    probs = rng.dirichlet([1, 1, 1], size=len(obs)).astype(np.float32)

    action, actions, _ = ort.InferenceSession(graph).run(None, {"obs": obs, "regime_probs": probs})

    x = np.clip((obs - mean) * inv_std, np.float32(-5), np.float32(5)) * (probs @ gate)
    expected = np.concatenate([m.predict(x, deterministic=True)[0] for m in models], axis=1)
    assert np.abs(actions - expected).max() <= 1e-5
    assert np.abs(action[:, 0] - (expected * probs).sum(axis=1)).max() <= 1e-5
    assert np.abs(expected).max() > 0.01


def test_the_book_of_a_simulated_stretch_reaches_the_depth_columns() -> None:
    depth = simulated(11, 120.0, perpetual(), ("depth_imb_5", "depth_near_share"), REGIME_COLUMNS, BarSpec.parse("time:1s"), 500)

    assert (depth.features.std(axis=0) > 0.01).all()
    assert abs(depth.features[:, 0].mean()) < 0.5  # both sides of the book live


def test_sixty_bars_lie_between_the_parts_of_a_candle_file(tmp_path: Path) -> None:
    n = 3000
    rng = np.random.default_rng(2)
    close = np.round(60_000.0 * np.exp(np.cumsum(rng.normal(0, 5e-4, n))), 1)
    opens = np.concatenate([close[:1], close[:-1]])
    pl.DataFrame({
        "ts_ms": 1_700_000_040_000 + 60_000 * np.arange(n), "open": opens, "high": np.maximum(opens, close) + 5,
        "low": np.minimum(opens, close) - 5, "close": close, "volume": rng.integers(1, 1000, n).astype(float),
    }).write_parquet(tmp_path / "bars.parquet")  # fmt: skip

    parts = bar_parts(FitSettings(), [tmp_path / "bars.parquet"], lambda train, params: ("ret_1", "rsi_14"), Known(), lambda text: None)

    (train,), (validation,), (test,) = parts.train, parts.validation, parts.test
    minute = 60_000_000_000
    # The next bar would be one minute later: no label or window of a part reaches into the one before.
    assert validation.ts_ns[0] - train.ts_ns[-1] == 61 * minute
    assert test.ts_ns[0] - validation.ts_ns[-1] == 61 * minute
