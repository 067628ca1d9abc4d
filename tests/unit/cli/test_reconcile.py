"""`mia backtest reconcile`: the same fills reconcile to zero, and each deliberate difference is found in its class."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mia.backtest.reconcile.explain import CLASSES, WORDS, _row, match
from mia.backtest.reconcile.session import Refusal, replay_both
from mia.backtest.reconcile.trips import Leg, RoundTrip, round_trips
from mia.domain.effects import AnyEffect
from mia.domain.events import AnyEvent, OrderFilled
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.settings import Loaded
from mia.store.reader import JournalReader
from mia.store.reconciled import read_reconciled

Mia = Callable[..., Any]  # the fixture `mia`: .code, .out, .err
S = 1_000_000_000


def costs_file(folder: Path, text: str) -> Path:
    path = folder / "costs.toml"
    path.write_text(text)
    return path


def live_fills(folder: Path) -> list[OrderFilled]:
    return [entry.event for entry in JournalReader(folder / "journal") if isinstance(entry.event, OrderFilled)]


def test_a_paper_session_reconciles_to_zero_with_the_same_fill_model(recorded: Path, mia: Mia) -> None:
    result = mia("backtest", "reconcile", recorded, "--json")

    found = json.loads(result.out)
    assert (result.code, found["difference_e8"], found["classes_e8"]) == (0, 0, {})
    assert found["matched"] == found["live_trades"] == found["backtest_trades"] > 3
    assert [day["difference_e8"] for day in found["days"]] == [0]


def test_fees_that_only_live_paid_are_of_class_fee_to_the_last_e8(recorded: Path, mia: Mia, tmp_path: Path) -> None:
    free = costs_file(tmp_path, '[costs.fees]\nkind = "off"\n')

    found = json.loads(mia("backtest", "reconcile", recorded, "--costs", free, "--json").out)

    assert found["classes_e8"] == {"fee": -sum(fill.fee_e8 for fill in live_fills(recorded))}


def test_a_slower_backtest_shows_up_as_latency_and_the_classes_add_up(recorded: Path, mia: Mia, tmp_path: Path) -> None:
    slow = costs_file(tmp_path, '[costs.latency]\nkind = "fixed"\nsubmit_ms = "700"\nreport_ms = "5"\n')

    found = json.loads(mia("backtest", "reconcile", recorded, "--costs", slow, "--json").out)

    classes = found["classes_e8"]
    assert classes["latency"] != 0
    assert sum(classes.values()) == found["difference_e8"] == found["live_e8"] - found["backtest_e8"] != 0
    assert sum(day["difference_e8"] for day in found["days"]) == found["difference_e8"]
    assert not {"funding", "queue", "account", "data"} & set(classes)


def test_calibration_finds_the_latency_that_live_had_and_then_nothing_is_left(recorded: Path, mia: Mia, tmp_path: Path) -> None:
    slow = costs_file(tmp_path, '[costs.latency]\nkind = "fixed"\nsubmit_ms = "400"\nreport_ms = "50"\n')

    result = mia("backtest", "reconcile", recorded, "--costs", slow, "--calibrate", "--json")

    fit = json.loads(result.out)["calibration"]
    values = {p["name"]: (p["value"], p["error"]) for p in fit["parameters"]}
    assert values["latency.submit_ms"] == values["latency.report_ms"] == (5.0, 0.0)  # [paper]: 5 ms each way
    assert fit["difference_before_e8"] != 0 == fit["difference_after_e8"]
    assert fit["price_error_before"] > fit["price_error_after"] == 0.0
    assert 'submit_ms = "5.0"' in fit["snippet"]


def test_the_snippet_of_a_calibration_is_a_costs_file(recorded: Path, mia: Mia, tmp_path: Path) -> None:
    snippet = json.loads(mia("backtest", "reconcile", recorded, "--calibrate", "--json").out)["calibration"]["snippet"]

    found = json.loads(mia("backtest", "reconcile", recorded, "--costs", costs_file(tmp_path, snippet), "--json").out)

    assert found["difference_e8"] == 0


def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path, loaded: Loaded, record_run: Callable[..., None], mia: Mia) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 2500)
    record_run(folder, loaded, 2500)

    found = json.loads(mia("backtest", "reconcile", folder, "--json").out)

    assert (found["difference_e8"], found["classes_e8"]) == (0, {})
    assert found["live_trades"] > 2


def test_a_live_fill_at_a_worse_price_is_of_class_slippage(session: Path, mia: Mia, rewrite_journal: Callable[..., None]) -> None:
    fill = live_fills(session)[0]
    worse = 7

    def edit(event: AnyEvent, effects: Sequence[AnyEffect]) -> tuple[AnyEvent, Sequence[AnyEffect]]:
        if isinstance(event, OrderFilled) and event.fill_id == fill.fill_id:
            event = msgspec.structs.replace(event, price_ticks=event.price_ticks + worse * event.side)
        return event, effects

    rewrite_journal(session, edit)

    result = mia("backtest", "reconcile", session, "--json")

    found = json.loads(result.out)
    unit = Terms.of(0, replay_both(session).instruments[0]).unit_e8
    assert found["classes_e8"]["slippage"] == -worse * fill.qty_lots * unit
    assert sum(found["classes_e8"].values()) == found["difference_e8"]


def times(folder: Path) -> list[int]:
    return [entry.event.ts_recv_ns for entry in JournalReader(folder / "journal")]


def iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // S, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def test_a_part_of_the_journal_reconciles_to_zero_too(recorded: Path, mia: Mia) -> None:
    """Both accounts begin with what was held, and the venue's numbers do not repeat those of fills that were booked before."""
    ts = times(recorded)
    first, last = ts[len(ts) // 3], ts[2 * len(ts) // 3]

    whole = json.loads(mia("backtest", "reconcile", recorded, "--json").out)
    found = json.loads(mia("backtest", "reconcile", recorded, "--from", iso(first), "--to", iso(last), "--json").out)

    assert (found["difference_e8"], found["classes_e8"]) == (0, {})
    assert 1 <= found["live_trades"] == found["matched"] < whole["live_trades"]
    assert found["begin_ns"] >= first // S * S > whole["begin_ns"]
    assert found["end_ns"] <= last < whole["end_ns"]


def test_a_part_is_the_same_from_a_snapshot_as_from_the_first_event(
    tmp_path: Path, loaded: Loaded, record_run: Callable[..., None], mia: Mia
) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 6000, snapshot_at=2000)
    ts = times(folder)
    span = ("--from", iso(ts[2 * len(ts) // 3]), "--json")

    quick = json.loads(mia("backtest", "reconcile", folder, *span).out)
    shutil.rmtree(folder / "snapshots")
    slow = json.loads(mia("backtest", "reconcile", folder, *span).out)

    assert any("begun from the snapshot of event" in note for note in quick.pop("notes"))
    assert slow.pop("notes") == []
    assert quick == slow
    assert quick["live_trades"] > 0


def test_a_journal_without_its_beginning_is_compared_from_its_snapshot(
    tmp_path: Path, loaded: Loaded, record_run: Callable[..., None], mia: Mia
) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 6000, segment_bytes=1 << 16, snapshot_at=3000)
    sorted((folder / "journal").glob("journal-*"))[0].unlink()

    found = json.loads(mia("backtest", "reconcile", folder, "--json").out)
    shutil.rmtree(folder / "snapshots")
    nothing = mia("backtest", "reconcile", folder)

    assert (found["difference_e8"], found["classes_e8"]) == (0, {})
    assert found["live_trades"] > 0
    assert (nothing.code, "the segments before it are gone" in nothing.err) == (1, True)


def test_a_part_in_which_nothing_can_begin_is_named(recorded: Path, mia: Mia) -> None:
    late = mia("backtest", "reconcile", recorded, "--from", "2031-01-01")
    reversed_ = mia("backtest", "reconcile", recorded, "--from", "2031-01-02", "--to", "2031-01-01")

    assert (late.code, "there is no moment at which trading was enabled" in late.err) == (1, True)
    assert (reversed_.code, "the span is empty" in reversed_.err) == (2, True)


def test_recorded_days_lie_in_the_state_directory(session: Path, mia: Mia, tmp_path: Path) -> None:
    free = costs_file(tmp_path, '[costs.fees]\nkind = "off"\n')

    found = json.loads(mia("backtest", "reconcile", session, "--costs", free, "--record", "--json").out)

    days = read_reconciled(session)
    assert [(day.day, day.difference_e8, day.trades) for day in days] == [
        (day["day"], day["difference_e8"], day["trades"]) for day in found["days"]
    ]
    assert days[0].difference_e8 != 0
    assert (days[0].begin_ns, days[-1].end_ns) == (found["begin_ns"], found["end_ns"])


def test_too_few_orders_to_calibrate_leave_the_comparison_as_it_is(
    tmp_path: Path, loaded: Loaded, record_run: Callable[..., None], mia: Mia
) -> None:
    folder = tmp_path / "state"
    record_run(folder, loaded, 300)

    result = mia("backtest", "reconcile", folder, "--calibrate", "--json")

    found = json.loads(result.out)
    assert (result.code, found["calibration"]) == (0, None)
    assert any("at least 5 are needed to calibrate" in note for note in found["reconciled"]["notes"])


def test_what_cannot_be_reconciled_is_named(tmp_path: Path, recorded: Path, mia: Mia) -> None:
    bad = costs_file(tmp_path, "[cost]\n")

    nothing = mia("backtest", "reconcile", tmp_path)
    table = mia("backtest", "reconcile", recorded, "--costs", bad)

    assert (nothing.code, "holds no journal" in nothing.err) == (1, True)
    assert (table.code, "unknown table [cost]" in table.err) == (4, True)


def test_the_table_says_the_day_and_the_sum(recorded: Path, mia: Mia, tmp_path: Path) -> None:
    result = mia("backtest", "reconcile", recorded, "--costs", costs_file(tmp_path, '[costs.fees]\nkind = "off"\n'))

    assert "2024-08-08" in result.out
    assert "other fees" in result.out
    assert "= sum" in result.out


# --- the parts -----------------------------------------------------------------------------------------------------------


def trip(opened_ns: int, closed_ns: int, *legs: Leg, side: int = 1) -> RoundTrip:
    return RoundTrip(0, side, opened_ns, closed_ns, {leg.order: leg for leg in legs})


def classes(a: RoundTrip | None, b: RoundTrip | None, refusals: Sequence[Refusal] = ()) -> dict[str, int]:
    return _row(["sim:X"], a, b, refusals, 5 * S).classes_e8


def test_each_difference_of_one_trade_has_its_class() -> None:
    out = Leg("b", -1, 9, 10, 1200)
    base = trip(1, 9, Leg("a", 1, 1, 10, -1000, fees_e8=5, latency_e8=3, slippage_e8=2), out)

    assert classes(base, trip(1, 9, Leg("a", 1, 1, 10, -1000, 4, 3, 2), out)) == {"fee": -1}
    assert classes(base, trip(1, 9, Leg("a", 1, 1, 10, -1000, 5, 1, 2), out)) == {"latency": -2}
    assert classes(base, trip(1, 9, Leg("a", 1, 1, 10, -1000, 5, 3, 9), out)) == {"slippage": 7}
    assert classes(base, trip(1, 9, Leg("a", 1, 1, 10, -990, 5, 3, 2), out)) == {"data": -10}
    assert classes(base, trip(1, 9, Leg("a", 1, 1, 10, -1000, 5, 0, 0, is_maker=True), out)) == {"queue": -5}
    half = trip(1, 9, Leg("a", 1, 1, 5, -500, 2, 1, 1), Leg("b", -1, 9, 5, 600))
    found = classes(base, half)
    assert set(found) <= {"partial_fill", "fee", "slippage", "latency"}
    assert sum(found.values()) == base.net_e8 - half.net_e8


def test_a_trade_that_only_the_backtest_made_is_refused_when_live_was_refused_there() -> None:
    lone = trip(100 * S, 200 * S, Leg("a", 1, 100 * S, 10, -1000), Leg("b", -1, 200 * S, 10, 1200))

    assert classes(None, lone) == {"unmatched_backtest": -200}
    assert classes(lone, None) == {"unmatched_live": 200}
    assert classes(None, lone, [Refusal(99 * S, 0, 1, "cool_down")]) == {"refused_live": -200}
    assert classes(None, lone, [Refusal(99 * S, 0, -1, "cool_down")]) == {"unmatched_backtest": -200}
    assert classes(None, lone, [Refusal(80 * S, 0, 1, "cool_down")]) == {"unmatched_backtest": -200}


def test_trades_match_the_nearest_opening_of_their_side() -> None:
    live = [trip(10 * S, 20 * S), trip(30 * S, 40 * S), trip(30 * S, 40 * S, side=-1)]
    back = [trip(8 * S, 20 * S), trip(11 * S, 21 * S), trip(60 * S, 70 * S)]

    pairs = match(live, back, 5 * S)

    assert [(a.opened_ns if a else None, b.opened_ns if b else None) for a, b in pairs] == [
        (10 * S, 11 * S), (30 * S, None), (30 * S, None), (None, 8 * S), (None, 60 * S),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_trips_of_random_fills_add_up_to_their_cash_and_what_is_held(seed: int) -> None:
    rng = random.Random(seed)
    made = Instrument(
        venue="sim", symbol="X", kind="perpetual", family="crypto", quote_currency="USDT", tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"), maker_fee=Decimal(0), taker_fee=Decimal(0), initial_margin=Decimal(1),
    )  # fmt: skip
    terms = Terms.of(0, made)
    fills = [
        OrderFilled(
            0, k, k, f"o{k // 3}", f"f{k}", 0, rng.choice((1, -1)), rng.randrange(900, 1100), rng.randrange(1, 9), rng.randrange(50), False
        )
        for k in range(1, 200)
    ]  # fmt: skip
    lots = sum(f.side * f.qty_lots for f in fills)
    cash = sum(-f.side * f.qty_lots * f.price_ticks * terms.unit_e8 - f.fee_e8 for f in fills)

    trips, apart = round_trips([terms], fills, {}, [(0, 0)], 0, [2000])

    assert sum(t.net_e8 for t in trips) + apart == cash + lots * 1000 * terms.unit_e8
    assert sum(1 for t in trips if not t.closed_ns) == (1 if lots else 0)


def test_every_class_has_words() -> None:
    assert tuple(WORDS) == CLASSES
