"""A backtest from the catalogue is that from the file or the recording; what it lacks is named; what is sealed stays so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from mia.assemble import calendar_files
from mia.backtest.catalogue import events as events_module
from mia.backtest.catalogue.importing import How, import_files
from mia.backtest.catalogue.layout import Asset
from mia.backtest.ensemble.counting import counted_fit
from mia.backtest.ensemble.members import Member, run_members
from mia.backtest.grid.search import Plan, Search
from mia.backtest.grid.space import space_of
from mia.backtest.readers import file_sha256, read_for_seal
from mia.backtest.run.artifacts import write
from mia.backtest.run.counting import counted_run, seals_of, trial_of
from mia.backtest.run.prepare import Prepared, Request, execute, prepare
from mia.backtest.trials import Registry
from mia.backtest.validation.seal import SealLog
from mia.domain.errors import ConfigError, DataError, SealedError
from mia.domain.events import BookSnapshot, FeedGap, Quote, Trade
from mia.domain.instruments import Instrument
from mia.features.columns import event_at, load
from mia.kernels.tape import Tape
from mia.risk.windows import load_windows
from mia.sim.cost_settings import Costs, FundingCosts

Make = Callable[..., Any]
Named = Callable[[str], Instrument]
SPOT, PERP = "binance_spot:BTCUSDT", "binance_usdm:BTCUSDT"
START_NS = 1_709_078_400_000_000_000  # 2024-02-28 00:00 UTC
MARCH_NS = 1_709_251_200_000_000_000
HOUR_NS = 3_600_000_000_000
DAY_NS = 24 * HOUR_NS


def stored(path: Path, instrument: Instrument, **how: Any) -> None:
    import_files([path], instrument, How(**how))


def files_of(prepared: Prepared, folder: Path) -> dict[str, Any]:
    """The digests of a run's files; of run.json what does not name its data."""
    write(execute(prepared), folder)
    facts = json.loads((folder / "run.json").read_text())
    for name in ("data", "notes", "id"):
        facts.pop(name)
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != "run.json"}
    assert len(digests) == 5
    return {**digests, "run.json": facts}


@pytest.mark.parametrize(
    "span",
    [
        {},
        {"timeframe": "time:1h"},
        {"timeframe": "time:15m", "from_ns": MARCH_NS + 3 * HOUR_NS, "to_ns": MARCH_NS + 3 * DAY_NS, "warm_up": 40},
        {"timeframe": "time:15m", "days": 2},
    ],
)
def test_bars_of_the_catalogue_trade_as_those_of_the_file(
    span: dict[str, Any], candles: Make, instrument: Named, asked: Make, tmp_path: Path
) -> None:
    path = candles()
    stored(path, instrument(PERP))

    from_file = files_of(prepare(asked(data=(path,), instruments=(PERP,), **span)), tmp_path / "a")
    from_catalogue = files_of(prepare(asked(assets=(PERP,), **span)), tmp_path / "b")

    assert from_catalogue == from_file
    assert pl.read_parquet(tmp_path / "b" / "fills.parquet").height > 4


def test_events_of_the_catalogue_trade_as_those_of_the_recording(recording: Make, instrument: Named, asked: Make, tmp_path: Path) -> None:
    path = recording(start_ns=MARCH_NS - 30_000_000_000)
    stored(path, instrument(SPOT))

    from_file = files_of(prepare(asked(data=(path,), timeframe="time:1s")), tmp_path / "a")
    from_catalogue = files_of(prepare(asked(assets=(SPOT,), read="depth", timeframe="time:1s")), tmp_path / "b")

    assert from_catalogue == from_file
    assert pl.read_parquet(tmp_path / "b" / "fills.parquet").height > 4


@pytest.mark.data
@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_a_real_recording_trades_the_same_from_the_catalogue(
    market: str, market_data: Path, instrument: Named, asked: Make, tmp_path: Path
) -> None:
    path, name = market_data / f"binance_{market}_btcusdt_ws_20240808.gz", f"binance_{market}:BTCUSDT"
    stored(path, instrument(name))

    from_file = files_of(prepare(asked(data=(path,), timeframe="time:1s")), tmp_path / "a")
    from_catalogue = files_of(prepare(asked(assets=(name,), read="depth", timeframe="time:1s")), tmp_path / "b")

    assert from_catalogue == from_file


def test_no_path_is_in_run_json(candles: Make, instrument: Named, asked: Make, tmp_path: Path) -> None:
    stored(candles(), instrument(PERP))

    write(execute(prepare(asked(assets=(PERP,)))), tmp_path / "run")

    text = (tmp_path / "run" / "run.json").read_text()
    assert str(tmp_path) not in text
    assert "catalogue binance_usdm:BTCUSDT bars_5m" in text


def test_several_assets_are_merged_in_order_of_arrival(recording: Make, instrument: Named, asked: Make) -> None:
    stored(recording(), instrument(SPOT))
    shutil.copytree(Asset.parse(SPOT).folder, Asset("elsewhere", "BTCUSDT").folder)
    shutil.rmtree(Asset("elsewhere", "BTCUSDT").folder / "depth")

    prepared = prepare(asked(assets=(SPOT, "elsewhere:BTCUSDT"), read="depth", timeframe="time:1s"))
    assert prepared.events is not None
    events = list(prepared.events.events())

    times = [event.ts_recv_ns for event in events]
    assert times == sorted(times)
    quotes = [[e for e in events if isinstance(e, Quote) and e.instrument == k] for k in (0, 1)]
    assert [(e.ts_recv_ns, e.bid_ticks) for e in quotes[0]] == [(e.ts_recv_ns, e.bid_ticks) for e in quotes[1]]
    assert {e.instrument for e in events if isinstance(e, BookSnapshot)} == {0}
    assert "elsewhere:BTCUSDT: no depth in the catalogue: orders meet its best bid and ask alone" in prepared.notes
    assert execute(prepared).gathered.fills


def test_the_finest_bars_that_divide_the_wanted_ones_and_lie_in_the_span_are_taken(candles: Make, instrument: Named, asked: Make) -> None:
    stored(candles("a.parquet", minutes=15, bars=4000), instrument(PERP))
    stored(candles("b.parquet", minutes=5, bars=2000), instrument(PERP))
    stored(candles("c.parquet", minutes=10, bars=2000), instrument(PERP))

    def read(timeframe: str, **span: int) -> str:
        return prepare(asked(assets=(PERP,), timeframe=timeframe, **span)).notes[0]

    assert "the catalogue's bars_5m, made into 30m bars" in read("time:30m")
    assert "the catalogue's bars_15m, made into 30m bars" in read("time:30m", from_ns=MARCH_NS + 31 * DAY_NS)
    assert "the catalogue's bars_5m, made into 10m bars" in read("time:10m")
    assert "the catalogue's bars_5m, 2024" in read("time:5m")
    with pytest.raises(ConfigError, match=r"no bars that make time:1m .* stored: bars_10m 2024-02 to 2024-03; bars_15m .*; bars_5m"):
        read("time:1m")


def test_a_month_that_is_not_there_is_named_as_a_gap(candles: Make, recording: Make, instrument: Named, asked: Make) -> None:
    stored(candles(minutes=30, bars=4000), instrument(PERP))
    Asset.parse(PERP).month_file("bars_30m", "2024-04").unlink()

    prepared = prepare(asked(assets=(PERP,)))

    assert f"{PERP}: no bars_30m of 2024-04 in the catalogue: a gap in this run" in prepared.notes


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"assets": ("binance_usdm:ETHUSDT",)}, "ETHUSDT: is not in the catalogue, which holds binance_spot:BTCUSDT, binance_usdm:BTCUSDT"),
        ({"assets": (PERP,), "from_ns": MARCH_NS + 90 * DAY_NS}, "no bar between 2024-05-30 .* stored: bars_5m 2024-02 to 2024-03"),
        ({"assets": (PERP,), "to_ns": START_NS - DAY_NS}, "no bar lies in the beginning to 2024-02-27"),
        ({"assets": (PERP,), "to_ns": START_NS + 60_000_000_000}, "no bar lies in the beginning to 2024-02-28 00:01:00; stored: 2024-02"),
        ({"assets": (SPOT,)}, "no bars in the catalogue; stored: depth 2024-02; quotes 2024-02; trades 2024-02"),
        ({"assets": (SPOT,), "read": "quotes", "from_ns": MARCH_NS + 60 * DAY_NS}, "no quotes between"),
        ({"assets": (PERP,), "read": "depth"}, "no depth in the catalogue; stored: bars_5m"),
        ({"assets": (PERP, PERP)}, "is named twice"),
        ({"assets": (SPOT,), "read": "quotes", "tick": Decimal("0.1")}, "are stored in ticks of 0.01 and lots of 0.00001, not of 0.1"),
        ({"assets": (SPOT,), "read": "quotes", "days": 3, "to_ns": START_NS - 90 * DAY_NS}, "no quotes in the catalogue up to --to"),
        ({"assets": (PERP,), "data": (Path("x.csv"),)}, "give one of them"),
        ({"read": "quotes"}, "goes with --assets"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_named(
    fields: dict[str, Any], error: str, candles: Make, recording: Make, instrument: Named, asked: Make
) -> None:
    stored(candles(), instrument(PERP))
    stored(recording(), instrument(SPOT))

    with pytest.raises((ConfigError, DataError), match=error):
        prepare(asked(**fields))


def test_an_instrument_that_the_settings_do_not_know_is_as_it_was_imported(candles: Make, instrument: Named, asked: Make) -> None:
    made = msgspec.structs.replace(instrument(PERP), symbol="NEW/USDT", taker_fee=Decimal("0.003"))
    stored(candles(), made)

    prepared = prepare(asked(assets=(f"{made.venue}:NEW/USDT",)))

    assert prepared.spec.instruments == (made,)


def test_a_book_is_lost_where_another_import_begins(recording: Make, instrument: Named, asked: Make) -> None:
    later = START_NS + 600 * 1_000_000_000
    stored(recording(), instrument(SPOT))
    stored(recording("binance_spot_btcusdt_ws_2.gz", start_ns=later, seed=6, book=False), instrument(SPOT))

    history = prepare(asked(assets=(SPOT,), read="depth")).events
    assert history is not None
    events = list(history.events())

    gaps = [k for k, event in enumerate(events) if isinstance(event, FeedGap)]
    assert len(gaps) == 1
    assert events[gaps[0] - 1].ts_recv_ns < events[gaps[0]].ts_recv_ns <= events[gaps[0] + 1].ts_recv_ns
    assert events[gaps[0] + 1].ts_recv_ns >= later


@pytest.mark.parametrize("read", ["trades", "quotes", "depth"])
def test_an_assets_events_in_columns_are_its_events(
    read: str, recording: Make, instrument: Named, asked: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "_PIECE", 700)  # several pieces a day
    stored(recording(), instrument(SPOT))
    stored(recording("binance_spot_btcusdt_ws_2.gz", start_ns=START_NS + DAY_NS, seed=6, book=False), instrument(SPOT))
    history = prepare(asked(assets=(SPOT,), read=read)).events
    assert history is not None
    assert history.columns is not None
    tape, found = Tape(), []
    for chunk in history.columns():
        load(tape, chunk)
        found += [event_at(tape, i, 0) for i in range(tape.length)]

    expected = list(history.events())

    assert found == expected
    assert any(isinstance(event, FeedGap) for event in expected) == (read == "depth")


def test_a_span_of_events_begins_with_the_last_book_that_was_told_whole(recording: Make, instrument: Named, asked: Make) -> None:
    stored(recording(), instrument(SPOT))
    from_ns = START_NS + 20 * 1_000_000_000

    history = prepare(asked(assets=(SPOT,), read="depth", timeframe="time:1s", warm_up=5, from_ns=from_ns)).events
    assert history is not None
    events = list(history.events())

    assert isinstance(events[0], BookSnapshot)
    assert min(e.ts_recv_ns for e in events if isinstance(e, Trade)) >= from_ns - 5 * 1_000_000_000


def test_the_last_days_of_events_are_counted_back_from_the_last_one(recording: Make, instrument: Named, asked: Make) -> None:
    stored(recording(), instrument(SPOT))
    later = recording("binance_spot_btcusdt_ws_2.gz", start_ns=START_NS + 3 * DAY_NS, frames=500)
    stored(later, instrument(SPOT))

    prepared = prepare(asked(assets=(SPOT,), read="quotes", days=1, timeframe="time:1s"))
    assert prepared.events is not None

    assert min(event.ts_recv_ns for event in prepared.events.events()) >= START_NS + 3 * DAY_NS
    assert prepared.spec.from_ns == max(event.ts_recv_ns for event in prepared.events.events()) - DAY_NS


def test_the_last_days_of_a_recording_are_counted_back_as_those_of_the_catalogue(recording: Make, asked: Make) -> None:
    files = (recording(frames=500), recording("binance_spot_btcusdt_ws_2.gz", start_ns=START_NS + 3 * DAY_NS, frames=500))

    prepared = prepare(asked(data=files, days=1, timeframe="time:1s"))

    assert prepared.spec.from_ns == prepared.spec.data[0].last_ns - DAY_NS > START_NS


# --- seals and trials --------------------------------------------------------------------------------------------------------


def by_file(path: Path) -> None:
    SealLog().seal(MARCH_NS, MARCH_NS + DAY_NS, files={file_sha256(path): path.name})


def by_marks(path: Path) -> None:
    other = path.with_name("other.parquet")
    pl.read_parquet(path).with_columns(volume=1.0, quote_volume=None).drop("quote_volume").write_parquet(other)
    SealLog().seal(MARCH_NS, MARCH_NS + DAY_NS, files={file_sha256(other): "other"}, bars=read_for_seal([other]).reading)


def by_instrument(path: Path) -> None:
    SealLog().seal(MARCH_NS, MARCH_NS + DAY_NS, instruments=["BTCUSDT"])


@pytest.mark.parametrize("seal", [by_file, by_marks, by_instrument])
def test_a_sealed_span_is_refused_from_the_catalogue_as_from_the_file(
    seal: Callable[[Path], None], candles: Make, instrument: Named, asked: Make
) -> None:
    path = candles("x.parquet")
    stored(path, instrument(PERP))
    seal(path)

    with pytest.raises(SealedError, match="288 rows"):
        prepare(asked(assets=(PERP,)))
    before = prepare(asked(assets=(PERP,), to_ns=MARCH_NS))
    around = prepare(asked(assets=(PERP,), sealed="exclude"))

    assert before.bars[0].close_ns[-1] == MARCH_NS
    assert not ((around.bars[0].open_ns >= MARCH_NS) & (around.bars[0].open_ns < MARCH_NS + DAY_NS)).any()
    assert any("288 rows left out: sealed span" in note for note in around.notes)
    if seal is not by_marks:  # a stored run keeps no prices to know it by, of a file neither
        assert any(
            "is sealed: no row of it is in these numbers" in note for note in seals_of({"data": msgspec.to_builtins(before.spec.data)})
        )


def test_a_month_file_itself_stays_sealed_with_its_source(candles: Make, instrument: Named, asked: Make) -> None:
    path = candles("x.parquet")
    stored(path, msgspec.structs.replace(instrument(PERP), symbol="Q"))
    by_file(path)
    month = Asset("binance_usdm", "Q").month_file("bars_5m", "2024-03")

    with pytest.raises(SealedError, match="288 rows"):
        prepare(asked(data=(month,), instruments=(PERP,)))


def test_sealed_events_are_refused_and_the_book_is_lost_behind_them(recording: Make, instrument: Named, asked: Make) -> None:
    path = recording()
    stored(path, instrument(SPOT))
    seal = START_NS + 10 * 1_000_000_000, START_NS + 15 * 1_000_000_000
    SealLog().seal(*seal, files={file_sha256(path): path.name})

    with pytest.raises(SealedError, match="lie in the sealed span"):
        prepare(asked(assets=(SPOT,), read="depth"))
    assert prepare(asked(assets=(SPOT,), read="depth", to_ns=seal[0] - 1)).events is not None
    prepared = prepare(asked(assets=(SPOT,), read="depth", sealed="exclude"))
    assert prepared.events is not None
    events = list(prepared.events.events())

    assert not [e for e in events if seal[0] <= e.ts_recv_ns < seal[1]]
    assert [e.ts_recv_ns for e in events if isinstance(e, FeedGap)] == [seal[1]]


def counted(request: Request) -> int:
    return counted_run(prepare(request), load_windows(*calendar_files())).tried.trials


def test_the_same_data_from_a_file_and_from_the_catalogue_is_counted_together(candles: Make, instrument: Named, asked: Make) -> None:
    path = candles("x.parquet", bars=1500)
    stored(path, instrument(PERP))

    assert counted(asked(data=(path,), instruments=(PERP,))) == 1
    assert counted(asked(assets=(PERP,))) == 2
    assert counted(asked(assets=(PERP,), to_ns=MARCH_NS)) == 3
    assert counted(asked(assets=(PERP,))) == 3


def test_grids_and_ensembles_count_what_was_tried_on_the_same_data_in_another_place(
    candles: Make, instrument: Named, asked: Make, home: Path
) -> None:
    path = candles("x.parquet", bars=400)
    stored(path, instrument(PERP))
    file, catalogue = asked(data=(path,), instruments=(PERP,), params={}), asked(assets=(PERP,), params={})
    plan = Plan(space_of("ema_cross", ["fast_period=2,4,6", "slow_period=9"]), "full", 0, 0, "sharpe")
    members = [Member("rule:ema_cross", {}), Member("rule:donchian", {})]

    asked_before = counted(msgspec.structs.replace(file, params={"fast_period": 3, "slow_period": 8}))
    with Registry() as registry:
        found = Search(prepare(catalogue), plan, home / "grids", registry, jobs=1).run()
    ensembles = [counted_fit(run_members(request, members), "equal", 4, 0, 0.99)[1] for request in (file, catalogue)]

    assert (asked_before, found.asked.trials) == (1, 4)
    assert ensembles == [4, 8]


def test_a_month_that_grew_is_the_same_trial_over_the_same_span(candles: Make, instrument: Named, asked: Make) -> None:
    stored(candles("x.parquet", bars=1000), instrument(PERP))
    span = {"from_ns": START_NS + DAY_NS, "to_ns": MARCH_NS + DAY_NS, "warm_up": 10}
    first = trial_of(prepare(asked(assets=(PERP,), **span)).spec)

    stored(candles("y.parquet", bars=1000, skip=900), instrument(PERP))
    again = trial_of(prepare(asked(assets=(PERP,), **span)).spec)

    assert again.key == first.key
    assert trial_of(prepare(asked(assets=(PERP,))).spec).key != first.key


# --- funding -----------------------------------------------------------------------------------------------------------------


def test_funding_of_the_catalogue_is_charged_as_that_of_a_file(candles: Make, instrument: Named, asked: Make, tmp_path: Path) -> None:
    path, rates = candles(), tmp_path / "rates.csv"
    rates.write_text("ts_ns,rate\n" + "".join(f"{START_NS + k * 8 * HOUR_NS},{0.0001 * (k % 5 - 1)!r}\n" for k in range(40)))
    stored(path, instrument(PERP))
    stored(rates, instrument(PERP))

    of_file = execute(prepare(asked(data=(path,), instruments=(PERP,), costs=Costs(funding=FundingCosts(kind="file", file=str(rates))))))
    prepared = prepare(asked(assets=(PERP,), costs=Costs(funding=FundingCosts(kind="catalogue"))))
    of_catalogue = execute(prepared)

    assert of_catalogue.gathered.marks.cash_e8.tolist() == of_file.gathered.marks.cash_e8.tolist()
    assert of_file.gathered.marks.cash_e8.tolist() != execute(prepare(asked(assets=(PERP,)))).gathered.marks.cash_e8.tolist()
    assert any("funding rates of the catalogue" in note for note in prepared.notes)


def test_a_perpetual_without_stored_funding_is_refused(candles: Make, instrument: Named, asked: Make) -> None:
    stored(candles(), instrument(PERP))

    with pytest.raises(ConfigError, match=r"no funding rate of binance_usdm:BTCUSDT .*mia data import FILE .* --kind funding"):
        prepare(asked(assets=(PERP,), costs=Costs(funding=FundingCosts(kind="catalogue"))))
