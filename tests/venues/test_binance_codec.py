"""Book synchronisation by the venue's rules, and whole recordings against the slow reading of the same bytes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.domain.events import BookDelta, BookSnapshot, FeedGap, Quote, Trade
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.venues.binance import codec as codec_module
from mia.venues.binance.codec import BinanceCodec

SPOT_1, SPOT_2 = "binance_spot_btcusdt_ws_20240808.gz", "binance_spot_btcusdt_ws_20240809.gz"
USDM_1 = "binance_usdm_btcusdt_ws_20240808.gz"


class Session:
    """A codec of one market that is fed short frames; each event is shown as (name, price of its first bid)."""

    def __init__(self, market: str, oracle: Any) -> None:
        self.market = market
        self.codec = BinanceCodec({"BTCUSDT": (0, getattr(oracle, market))}, market)  # type: ignore[arg-type,dict-item]
        self.seq = 0

    def feed(self, payload: str) -> list[Any]:
        events = list(self.codec.decode(payload.encode(), 1000 + self.seq, self.seq))
        assert [event.seq for event in events] == list(range(self.seq, self.seq + len(events)))
        self.seq += len(events)
        return [self.show(event) for event in events]

    def show(self, event: Any) -> Any:
        if isinstance(event, FeedGap):
            return "gap", event.expected, event.got
        name = {BookSnapshot: "snapshot", BookDelta: "delta", Quote: "quote", Trade: "trade"}[type(event)]
        ticks_per_unit = 10 if self.market == "usdm" else 100
        return name, struct.unpack("<qq", event.bids)[0] // ticks_per_unit if name in ("snapshot", "delta") else 0

    def diff(self, first: int, last: int, before: int = 0, mark: int = 1) -> list[Any]:
        pu = f',"T":5,"pu":{before}' if self.market == "usdm" else ""
        return self.feed(f'{{"e":"depthUpdate","E":5{pu},"s":"BTCUSDT","U":{first},"u":{last},"b":[["{mark}.00","1"]],"a":[]}}')

    def snapshot(self, last: int) -> list[Any]:
        return self.feed(f'{{"lastUpdateId":{last},"bids":[["100.00","1"]],"asks":[["101.00","1"]]}}')


@pytest.fixture
def spot(oracle: Any) -> Session:
    return Session("spot", oracle)


@pytest.fixture
def usdm(oracle: Any) -> Session:
    return Session("usdm", oracle)


SNAPSHOT = ("snapshot", 100)


def test_spot_drops_what_the_snapshot_holds_and_applies_the_rest(spot: Session) -> None:
    assert spot.diff(1, 10, mark=1) == []
    assert spot.diff(11, 20, mark=2) == []
    assert spot.diff(21, 30, mark=3) == []

    assert spot.snapshot(15) == [SNAPSHOT, ("delta", 2), ("delta", 3)]
    assert spot.diff(31, 40, mark=4) == [("delta", 4)]
    assert spot.codec.counters()["dropped_old"] == 1
    assert spot.codec.is_book_live("BTCUSDT")


def test_spot_first_diff_may_begin_right_behind_the_snapshot(spot: Session) -> None:
    assert spot.snapshot(20) == [SNAPSHOT]
    assert spot.diff(21, 30) == [("delta", 1)]


def test_spot_diff_that_ends_at_the_snapshot_is_old(spot: Session) -> None:
    spot.snapshot(20)

    assert spot.diff(15, 20) == []
    assert spot.codec.counters()["dropped_old"] == 1


def test_spot_snapshot_before_the_first_buffered_diff_is_refused(spot: Session) -> None:
    spot.diff(21, 30)

    assert spot.snapshot(19) == []
    assert spot.codec.counters()["snapshots_refused"] == 1
    assert not spot.codec.is_book_live("BTCUSDT")
    assert spot.snapshot(25) == [SNAPSHOT, ("delta", 1)]


def test_spot_gap_is_told_once_and_the_next_snapshot_mends_it(spot: Session) -> None:
    spot.snapshot(20)
    spot.diff(21, 30)

    assert spot.diff(32, 40, mark=2) == [("gap", 31, 32)]
    assert spot.diff(41, 50, mark=3) == []
    assert not spot.codec.is_book_live("BTCUSDT")
    assert "lost at a gap" in spot.codec.warnings()[0]
    assert spot.snapshot(35) == [SNAPSHOT, ("delta", 2), ("delta", 3)]
    assert spot.diff(51, 60, mark=4) == [("delta", 4)]
    assert spot.codec.counters()["gaps"] == 1


def test_spot_overlapping_diff_continues(spot: Session) -> None:
    spot.snapshot(20)

    assert spot.diff(18, 25) == [("delta", 1)]
    assert spot.diff(24, 30) == [("delta", 1)]


def test_usdm_first_diff_must_contain_the_snapshot_then_pu_chains(usdm: Session) -> None:
    usdm.diff(1, 10, 0, mark=1)
    usdm.diff(15, 20, 10, mark=2)
    usdm.diff(27, 30, 20, mark=3)

    assert usdm.snapshot(18) == [SNAPSHOT, ("delta", 2), ("delta", 3)]
    assert usdm.diff(39, 40, 30, mark=4) == [("delta", 4)]
    assert usdm.codec.counters()["dropped_old"] == 1


def test_usdm_keeps_the_first_diff_that_ends_at_the_snapshot(usdm: Session) -> None:
    usdm.diff(15, 20, 10, mark=2)

    assert usdm.snapshot(20) == [SNAPSHOT, ("delta", 2)]


def test_usdm_first_diff_whose_pu_is_the_snapshot_continues(usdm: Session) -> None:
    usdm.snapshot(20)

    assert usdm.diff(25, 30, 20) == [("delta", 1)]


def test_usdm_consecutive_ids_without_pu_are_a_gap(usdm: Session) -> None:
    usdm.snapshot(20)
    usdm.diff(18, 30, 17)

    assert usdm.diff(31, 40, 29) == [("gap", 30, 29)]
    assert usdm.diff(45, 50, 40) == []


def test_usdm_snapshot_between_two_diffs_is_refused(usdm: Session) -> None:
    usdm.diff(15, 20, 10)
    usdm.diff(27, 30, 20)

    assert usdm.snapshot(23) == []
    assert usdm.snapshot(28) == [SNAPSHOT, ("delta", 1)]


def test_break_inside_the_buffered_diffs_is_a_gap_behind_the_snapshot(spot: Session) -> None:
    spot.diff(1, 10, mark=1)
    spot.diff(11, 20, mark=2)
    spot.diff(25, 30, mark=3)

    assert spot.snapshot(15) == [SNAPSHOT, ("delta", 2), ("gap", 21, 25)]
    assert not spot.codec.is_book_live("BTCUSDT")


@pytest.mark.parametrize("market", ["spot", "usdm"])
def test_repeated_diff_is_dropped_but_ids_that_start_anew_are_a_gap(market: str, oracle: Any) -> None:
    session = Session(market, oracle)
    session.snapshot(2000)
    session.diff(1995, 2010, 1994)

    assert session.diff(1995, 2010, 1994) == []
    shown = [session.diff(i, i, i - 1) for i in range(1, codec_module.OLD_RUN_MAX + 1)]

    assert [row for row in shown if row] == [[("gap", 2011 if market == "spot" else 2010, 50 if market == "spot" else 49)]]


def test_older_snapshot_does_not_set_a_live_book_back(spot: Session) -> None:
    spot.snapshot(20)
    spot.diff(21, 30)

    assert spot.snapshot(25) == []
    assert spot.snapshot(30) == [SNAPSHOT]
    assert spot.diff(31, 40) == [("delta", 1)]


def test_corrupt_diff_shows_as_a_gap_at_the_next_one(spot: Session) -> None:
    spot.snapshot(20)

    assert spot.feed('{"e":"depthUpdate","E":5,"s":"BTCUSDT","U":21,"u":30,"b":[["1.00"') == []
    assert spot.diff(31, 40) == [("gap", 21, 31)]


def test_buffer_before_the_snapshot_is_bounded(spot: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "DIFFS_BUFFERED_MAX", 3)
    for i in range(1, 6):
        spot.diff(10 * i, 10 * i + 9)

    assert spot.codec.counters()["buffered"] == 3
    assert spot.codec.counters()["buffer_overflow"] == 2
    assert spot.snapshot(15) == []
    assert spot.snapshot(35) == [SNAPSHOT, ("delta", 1), ("delta", 1), ("delta", 1)]


def test_book_that_waits_for_a_snapshot_is_warned_about(spot: Session) -> None:
    spot.diff(21, 30)

    (line,) = spot.codec.warnings()

    assert "binance_spot BTCUSDT: no depth snapshot fits, 1 book updates wait" in line
    assert "put the recording that holds the snapshot first" in line


def test_wrong_grid_is_warned_about(spot: Session) -> None:
    spot.feed('{"u":1,"s":"BTCUSDT","b":"1.001","B":"1","a":"2.00","A":"1"}')

    assert "tick_size under [[instruments]]" in spot.codec.warnings()[0]


def test_codec_without_instrument_or_of_an_unknown_market_is_a_config_error(oracle: Any) -> None:
    with pytest.raises(ConfigError, match="no instrument"):
        BinanceCodec({}, "spot")
    with pytest.raises(ConfigError, match="'coinm'"):
        BinanceCodec({"BTCUSDT": (0, oracle.spot)}, "coinm")  # type: ignore[arg-type,dict-item]


class Exchange:
    """A tiny true exchange: a dict of levels, an id for each change."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {100: 1}
        self.id = 1000
        self.last_sent = 1000

    def change(self, updates: list[tuple[int, int]]) -> tuple[int, int, int, list[tuple[int, int]]]:
        first, before = self.id + 1, self.last_sent
        for price, lots in updates:
            self.id += 1
            if lots:
                self.bids[price] = lots
            else:
                self.bids.pop(price, None)
        self.last_sent = self.id
        return first, self.id, before, updates


ACTION = st.one_of(
    st.tuples(st.just("diff"), st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=4)),
    st.tuples(st.just("lost"), st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=4)),
    st.tuples(st.just("snapshot"), st.none()),
    st.tuples(st.just("corrupt"), st.lists(st.tuples(st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=4)),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["spot", "usdm"]), st.lists(ACTION, max_size=40))
def test_a_live_book_is_always_the_exchanges_book(oracle: Any, market: str, actions: list[Any]) -> None:
    session, exchange, book = Session(market, oracle), Exchange(), Book(Arena(1 << 16), 64)

    for what, updates in actions:
        if what == "snapshot":
            levels = ",".join(f'["{p if market == "usdm" else p / 100}","{n}"]' for p, n in sorted(exchange.bids.items(), reverse=True))
            text = f'{{"lastUpdateId":{exchange.id},"bids":[{levels}],"asks":[]}}'
        else:
            first, last, before, rows = exchange.change(updates)
            levels = ",".join(f'["{p if market == "usdm" else p / 100}","{n}"]' for p, n in rows)
            pu = f'"T":1,"pu":{before},' if market == "usdm" else ""
            text = f'{{"e":"depthUpdate","E":1,{pu}"s":"BTCUSDT","U":{first},"u":{last},"b":[{levels}],"a":[]}}'
        if what == "corrupt":
            text = text[:-1]
        if what == "lost":
            continue
        for event in session.codec.decode(text.encode(), 1, 0):
            if isinstance(event, BookSnapshot):
                book.load(event.bids, event.asks)
            elif isinstance(event, BookDelta):
                book.apply(event.bids, event.asks)
            else:
                book.invalidate()
        if what in ("diff", "snapshot") and book.is_valid():
            scale, lot = (10, 1_000) if market == "usdm" else (1, 100_000)
            mine = {book.bid_ticks_at(i): book.bid_lots_at(i) for i in range(book.n_bids())}
            assert mine == {p * scale: n * lot for p, n in exchange.bids.items()}
    assert book.is_valid() == session.codec.is_book_live("BTCUSDT")


@pytest.mark.data
@pytest.mark.parametrize(
    ("market", "names", "expected"),
    [
        ("usdm", [USDM_1], {"diffs": 6_551, "quotes": 66_089, "trades": 21_313, "snapshots": 1, "sizes_floored": 0}),
        ("spot", [SPOT_1, SPOT_2], {"diffs": 6_495, "quotes": 73_174, "trades": 19_904, "snapshots": 1, "sizes_floored": 7}),
    ],
    ids=["usdm", "spot"],
)
def test_whole_recording_equals_the_slow_reading(market: str, names: list[str], expected: Any, recorded: Any, oracle: Any) -> None:
    item = getattr(oracle, market)
    frames = [frame for name in names for frame in recorded(name)]
    codec = BinanceCodec({"BTCUSDT": (0, item)}, market)  # type: ignore[arg-type,dict-item]

    events: list[Any] = []
    for ts, payload in frames:
        events += codec.decode(payload, ts, len(events))

    assert events == oracle.events_of(frames, item)
    counters = codec.counters()
    assert {key: counters[key] for key in expected} == expected
    assert counters["events"] == len(events)
    for name in ("corrupt", "off_grid", "gaps", "crossed", "trades_repeated", "trades_outlier", "trade_ids_missing", "buffered"):
        assert counters[name] == 0, name
    assert codec.warnings() == []


@pytest.mark.data
@pytest.mark.parametrize(("market", "name"), [("usdm", USDM_1), ("spot", SPOT_1)], ids=["usdm", "spot"])
def test_book_follows_the_quotes_of_the_recording(market: str, name: str, recorded: Any, oracle: Any) -> None:
    """The book's touch, kept by diffs, was quoted by the independent bookTicker stream at about the same time."""
    codec = BinanceCodec({"BTCUSDT": (0, getattr(oracle, market))}, market)  # type: ignore[arg-type,dict-item]
    book = Book(Arena(1 << 20))
    quoted: set[tuple[int, int]] = set()
    touched = []

    for ts, payload in recorded(name):
        for event in codec.decode(payload, ts, 0):
            if isinstance(event, BookSnapshot):
                book.load(event.bids, event.asks)
            elif isinstance(event, BookDelta):
                book.apply(event.bids, event.asks)
                assert not book.is_crossed()
                touched.append((book.best_bid_ticks(), book.best_ask_ticks()))
            elif isinstance(event, Quote):
                quoted.add((event.bid_ticks, event.ask_ticks))

    assert len(touched) > 3_000
    assert sum(touch in quoted for touch in touched) >= 0.99 * len(touched)


@pytest.mark.data
def test_second_spot_file_alone_gives_quotes_and_trades_but_never_a_book(recorded: Any, oracle: Any) -> None:
    codec = BinanceCodec({"BTCUSDT": (0, oracle.spot)}, "spot")  # type: ignore[dict-item]

    kinds = {type(event) for ts, payload in recorded(SPOT_2) for event in codec.decode(payload, ts, 0)}

    assert kinds == {Quote, Trade}
    assert not codec.is_book_live("BTCUSDT")
    assert "no depth snapshot fits, 3044 book updates wait" in codec.warnings()[0]
