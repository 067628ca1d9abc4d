"""The frame scanner: documented shapes, hostile bytes, real recordings; compiled and interpreted alike."""

# ruff: noqa: E501 - frames are quoted as they come
from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia.domain.errors import ConfigError
from mia.domain.events import Quote, Trade
from mia.venues.binance import wire as built

SPOT_FRAMES = {
    "quote": b'{"u":50093239212,"s":"BTCUSDT","b":"60000.00","B":"3.78826","a":"60000.01","A":"1.54698"}',
    "trade": b'{"e":"trade","E":1790000000010,"s":"BTCUSDT","t":5000001,"p":"60000.10","q":"0.00200000","T":1790000000009,"m":true,"M":true}',
    "diff": b'{"e":"depthUpdate","E":1790000000100,"s":"BTCUSDT","U":50093239189,"u":50093239202,"b":[["59999.00","0.00000000"]],"a":[["60010.00","1.54698000"]]}',
    "snapshot": b'{"lastUpdateId":50093239218,"bids":[["61837.63000000","3.78826000"],["61837.62","0.617"]],"asks":[["61837.64","1.54698"]]}',
}  # fmt: skip
USDM_FRAMES = {
    "quote": b'{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","ps":"BTCUSDT","b":"60000.0","B":"2.507","a":"60000.1","A":"2.510","T":1790000000313,"E":1790000000314,"st":1}',
    "trade": b'{"e":"trade","E":1723161256322,"T":1723161256321,"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}',
    "diff": b'{"e":"depthUpdate","E":1790000000299,"T":1790000000298,"s":"BTCUSDT","U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["59990.0","0.014"]],"a":[["60010.0","0.000"]],"ps":"BTCUSDT","st":1}',
    "snapshot": b'{"lastUpdateId":5123107852948,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],"asks":[["61800.30","1.0"]]}',
}  # fmt: skip
KINDS = {"quote": built.QUOTE, "trade": built.TRADE, "diff": built.DIFF, "snapshot": built.SNAPSHOT}
ALL = [("spot", kind) for kind in SPOT_FRAMES] + [("usdm", kind) for kind in USDM_FRAMES]


def frame_of(market: str, kind: str) -> bytes:
    return (SPOT_FRAMES if market == "spot" else USDM_FRAMES)[kind]


def new(market: str, module: Any = built) -> Any:
    grid = (Decimal("0.01"), Decimal("0.00001")) if market == "spot" else (Decimal("0.10"), Decimal("0.001"))
    return module.Wire([("BTCUSDT", 0, *grid)], market == "usdm")


def result(scanner: Any, payload: bytes) -> tuple[int, Any]:
    """Kind, and the event or what there is of a book update."""
    event = scanner.scan(payload, 2, 1)
    kind = scanner.kind()
    if kind in (built.DIFF, built.SNAPSHOT):
        return kind, scanner.book()[1:]
    return kind, event


@pytest.mark.parametrize(
    ("market", "kind", "is_wrapped"),
    [(*row, False) for row in ALL] + [(*row, True) for row in ALL if row[1] != "snapshot"],  # REST answers are never wrapped
)
def test_documented_frame_is_read_exactly(market: str, kind: str, is_wrapped: bool, oracle: Any) -> None:
    payload = frame_of(market, kind)
    expected = oracle.read(payload, getattr(oracle, market))[1]

    if is_wrapped:
        payload = b'{"stream":"btcusdt@x","data":' + payload + b"}"

    assert result(new(market), payload) == (KINDS[kind], expected)


def test_values_of_the_documented_frames() -> None:
    assert result(new("spot"), SPOT_FRAMES["quote"])[1] == Quote(1, 0, 2, 0, 6000000, 6000001, 378826, 154698)
    assert result(new("spot"), SPOT_FRAMES["trade"])[1] == Trade(1, 1790000000009000000, 2, 0, 6000010, 200, -1, 5000001)
    assert result(new("usdm"), USDM_FRAMES["trade"])[1] == Trade(1, 1723161256321000000, 2, 0, 618003, 6, 1, 5266583935)
    assert result(new("usdm"), USDM_FRAMES["quote"])[1] == Quote(1, 1790000000313000000, 2, 0, 600000, 600001, 2507, 2510)


@pytest.mark.parametrize(("market", "kind"), ALL)
def test_key_order_white_space_and_unknown_fields_do_not_matter(market: str, kind: str, oracle: Any) -> None:
    payload = frame_of(market, kind)
    expected = oracle.read(payload, getattr(oracle, market))[1]
    fields = list(json.loads(payload).items())
    rng = random.Random(7)
    unknown = [("st", 1), ("zz", {"s": "ETHUSDT", "p": [1, [2.5e-3, None]], "x": '"}\\ü'}), ("n", None), ("f", False), ("l", [])]

    for _ in range(40):
        mixed = fields + unknown
        rng.shuffle(mixed)
        text = json.dumps(dict(mixed), indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5).encode()

        assert result(new(market), text) == (KINDS[kind], expected)


REFUSED = [
    ("NaN as a price", "trade", b'"60000.10"', b"NaN"),
    ("NaN in text", "trade", b'"60000.10"', b'"NaN"'),
    ("Infinity", "trade", b'"60000.10"', b'"Infinity"'),
    ("exponent", "trade", b'"60000.10"', b'"6e4"'),
    ("sign", "trade", b'"60000.10"', b'"-60000.10"'),
    ("plus", "trade", b'"60000.10"', b'"+60000.10"'),
    ("empty", "trade", b'"60000.10"', b'""'),
    ("no fraction digits", "trade", b'"60000.10"', b'"60000."'),
    ("no whole digits", "trade", b'"60000.10"', b'".10"'),
    ("leading zero", "trade", b'"60000.10"', b'"060000.10"'),
    ("blank", "trade", b'"60000.10"', b'" 60000.10"'),
    ("two points", "trade", b'"60000.10"', b'"60000.1.0"'),
    ("price as a number", "trade", b'"60000.10"', b"60000.10"),
    ("price null", "trade", b'"60000.10"', b"null"),
    ("zero price", "trade", b'"60000.10"', b'"0.00"'),
    ("zero size", "trade", b'"0.00200000"', b'"0.00000000"'),
    ("overflow", "trade", b'"60000.10"', b'"99999999999999999999.10"'),
    ("18 digits and a scale", "trade", b'"60000.10"', b'"999999999999999999"'),
    ("1e999 as a time", "trade", b"1790000000009", b"1e999"),
    ("time above int64 ns", "trade", b"1790000000009", b"9223372036855"),
    ("time as a fraction", "trade", b"1790000000009", b"1790000000009.5"),
    ("time negative", "trade", b"1790000000009", b"-1790000000009"),
    ("time as text", "trade", b"1790000000009", b'"1790000000009"'),
    ("id above int64", "trade", b"5000001", b"9223372036854775808"),
    ("id of 40 digits", "trade", b"5000001", b"1" * 40),
    ("id with a leading zero", "trade", b"5000001", b"05"),
    ("m as a number", "trade", b'"m":true', b'"m":1'),
    ("doubled key", "trade", b'"m":true', b'"m":true,"p":"1.00"'),
    ("key hidden by an escape", "trade", b'"m":true', b'"m":true,"\\u0070":"1.00"'),
    ("missing key", "trade", b'"t":5000001,', b""),
    ("kind not a text", "trade", b'"trade"', b"7"),
    ("trailing garbage", "trade", b'"M":true}', b'"M":true}}'),
    ("second value", "trade", b'"M":true}', b'"M":true} {}'),
    ("trailing comma", "trade", b'"M":true}', b'"M":true,}'),
    ("bad escape in an unknown field", "trade", b'"M":true}', b'"M":"\\q"}'),
    ("NaN in an unknown field", "trade", b'"M":true}', b'"M":NaN}'),
    ("01 in an unknown field", "trade", b'"M":true}', b'"M":01}'),
    ("control character", "trade", b'"M":true}', b'"M":"\n"}'),
    ("zero byte", "trade", b'"M":true}', b'"M":"\0"}'),
    ("nested too deep", "trade", b'"M":true}', b'"M":' + b"[" * 200 + b"]" * 200 + b"}"),
    ("brackets mixed up", "trade", b'"M":true}', b'"M":[{]}}'),
    ("u below U", "diff", b'"u":50093239202', b'"u":5'),
    ("level of one element", "diff", b'["59999.00","0.00000000"]', b'["59999.00"]'),
    ("level that is no array", "diff", b'["59999.00","0.00000000"]', b'"59999.00"'),
    ("level at zero", "diff", b'"59999.00"', b'"0.00"'),
    ("negative size", "diff", b'"1.54698000"', b'"-1.54698000"'),
    ("no asks", "diff", b',"a":[["60010.00","1.54698000"]]', b""),
    ("asks null", "diff", b'[["60010.00","1.54698000"]]', b"null"),
    ("price without size", "quote", b'"60000.00"', b'"0.00"'),
    ("missing size", "quote", b'"B":"3.78826",', b""),
    ("no asks in a snapshot", "snapshot", b',"asks":[["61837.64","1.54698"]]', b""),
]


@pytest.mark.parametrize(("kind", "old", "new_text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_bad_frame_gives_nothing_and_is_counted(kind: str, old: bytes, new_text: bytes, interpreted: Any) -> None:
    payload = SPOT_FRAMES[kind]
    assert old in payload
    payload = payload.replace(old, new_text, 1)

    for module in (built, interpreted("mia.venues.binance.wire")):
        scanner = new("spot", module)
        assert result(scanner, payload) == (built.CORRUPT, None)
        assert scanner.count(built.CORRUPT) == 1


@pytest.mark.parametrize(
    ("market", "kind", "old", "new_text", "expected"),
    [
        ("spot", "trade", b'"60000.10"', b'"60000.105"', built.OFF_GRID),
        ("usdm", "trade", b'"61800.30"', b'"61800.35"', built.OFF_GRID),
        ("spot", "diff", b'"59999.00"', b'"59999.001"', built.OFF_GRID),
        ("spot", "quote", b'"60000.01"', b'"60000.011"', built.OFF_GRID),
        ("spot", "quote", b'"60000.01"', b'"60000.00"', built.CROSSED),
        ("spot", "snapshot", b'"61837.64"', b'"61837.63"', built.CROSSED),
        ("spot", "snapshot", b'"61837.62"', b'"61837.63"', built.CROSSED),
        ("spot", "trade", b'"BTCUSDT"', b'"BTCUSDC"', built.UNKNOWN_SYMBOL),
        ("spot", "trade", b'"trade"', b'"aggTrade"', built.UNKNOWN_STREAM),
        ("usdm", "trade", b'"MARKET"', b'"INSURANCE_FUND"', built.TRADE_OFF_BOOK),
        ("usdm", "diff", b'"pu":5123107831937,', b"", built.CORRUPT),
    ],
)
def test_frame_that_is_not_for_us_has_its_own_counter(market: str, kind: str, old: bytes, new_text: bytes, expected: int) -> None:
    scanner = new(market)

    assert result(scanner, frame_of(market, kind).replace(old, new_text, 1)) == (expected, None)
    assert scanner.count(expected) == 1


def test_partial_book_of_a_combined_stream_is_not_taken_for_a_snapshot() -> None:
    payload = b'{"stream":"btcusdt@depth20","data":' + SPOT_FRAMES["snapshot"] + b"}"

    assert result(new("spot"), payload) == (built.UNKNOWN_STREAM, None)


def test_snapshot_names_no_symbol_and_is_not_guessed_among_several() -> None:
    grid = (Decimal("0.01"), Decimal("0.00001"))
    scanner = built.Wire([("BTCUSDT", 0, *grid), ("ETHUSDT", 1, *grid)], False)

    assert result(scanner, SPOT_FRAMES["snapshot"]) == (built.UNKNOWN_SYMBOL, None)
    assert result(scanner, SPOT_FRAMES["quote"].replace(b"BTCUSDT", b"ETHUSDT"))[1].instrument == 1


@pytest.mark.parametrize(
    "payload", [b'{"result":null,"id":1}', b'{"code":2,"msg":"Invalid request","id":null}', b'{"id":"x","status":200}']
)
def test_answer_to_a_request_is_control(payload: bytes) -> None:
    assert result(new("usdm"), payload) == (built.CONTROL, None)


@pytest.mark.parametrize("payload", [b"", b" ", b"{", b"[]", b"null", b"{}x", b"\xff", b'{"a"', b'{"a":', b'"', b'{"data":{"data":{}}'])
def test_fragments_are_corrupt(payload: bytes) -> None:
    assert result(new("spot"), payload) == (built.CORRUPT, None)


def test_size_finer_than_a_lot_gives_whole_lots_and_is_counted() -> None:
    """Orders older than today's lot size rest in the real book of 2024-08-08: 200000.00 x 25.42618900, lots of 0.00001."""
    scanner = new("spot")

    kind, body = result(scanner, SPOT_FRAMES["diff"].replace(b"1.54698000", b"25.42618900"))

    assert kind == built.DIFF
    assert body[5] == (6001000).to_bytes(8, "little") + (2542618).to_bytes(8, "little")
    assert scanner.count(built.SIZES_FLOORED) == 1


def test_empty_side_of_a_quote_is_size_zero() -> None:
    payload = SPOT_FRAMES["quote"].replace(b'"60000.01"', b'"0.00000000"').replace(b'"1.54698"', b'"0.00000000"')

    assert result(new("spot"), payload)[1] == Quote(1, 0, 2, 0, 6000000, 0, 378826, 0)


def trade(trade_id: int, price: str = "60000.00") -> bytes:
    return b'{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"%s","q":"1.0","T":1,"m":true}' % (trade_id, price.encode())


def test_trade_seen_before_is_dropped_and_missing_ids_are_counted() -> None:
    scanner = new("spot")

    kinds = [result(scanner, trade(i))[0] for i in (10, 11, 11, 10, 15)]

    assert kinds == [built.TRADE, built.TRADE, built.TRADE_REPEATED, built.TRADE_REPEATED, built.TRADE]
    assert scanner.count(built.TRADE_IDS_MISSING) == 3


def test_bad_tick_is_dropped_and_does_not_become_the_measure() -> None:
    scanner = new("spot")

    kinds = [result(scanner, trade(i, price))[0] for i, price in enumerate(["60000.00", "6000.00", "600000.00", "60001.00", "31000.00"], 1)]

    assert kinds == [built.TRADE, built.TRADE_OUTLIER, built.TRADE_OUTLIER, built.TRADE, built.TRADE]


def test_market_that_really_moved_is_believed_after_a_run() -> None:
    scanner = new("spot")

    kinds = [result(scanner, trade(i, "60000.00" if i == 1 else "20000.00"))[0] for i in range(1, 21)]

    assert kinds == [built.TRADE] + [built.TRADE_OUTLIER] * 16 + [built.TRADE] * 3


def test_absurd_trade_id_does_not_lock_trades_out() -> None:
    scanner = new("spot")

    kinds = [result(scanner, trade(i))[0] for i in (10, 9_000_000_000_000_000_000, 11, 12)]

    assert kinds == [built.TRADE, built.TRADE_OUTLIER, built.TRADE, built.TRADE]


@pytest.mark.parametrize(
    ("step", "expected"),
    [("0.10", (1, 1)), ("0.01", (1, 2)), ("0.25", (25, 2)), ("5", (5, 0)), ("1E+2", (100, 0)), ("0.5", (5, 1)), ("1", (1, 0))],
)
def test_grid_of_a_step(step: str, expected: tuple[int, int]) -> None:
    assert built.grid_of(Decimal(step)) == expected


@pytest.mark.parametrize("step", ["0", "-1", "NaN", "Infinity", "1E-30", "1E+30"])
def test_grid_without_exact_form_is_a_config_error(step: str) -> None:
    with pytest.raises(ConfigError, match="grid"):
        built.grid_of(Decimal(step))


@settings(max_examples=200, deadline=None)
@given(
    st.decimals(min_value=0, max_value=10**8, allow_nan=False, allow_infinity=False, places=6),
    st.sampled_from(["0.01", "0.25", "0.05", "1", "5", "10", "0.00001"]),
)
def test_price_text_becomes_exact_ticks_or_is_off_grid(price: Decimal, tick: str) -> None:
    scanner = built.Wire([("BTCUSDT", 0, Decimal(tick), Decimal(1))], False)

    kind, event = result(scanner, trade(1, f"{price:f}"))

    ticks = price / Decimal(tick)
    if ticks != int(ticks):
        assert kind == built.OFF_GRID
    elif ticks == 0:
        assert kind == built.CORRUPT
    else:
        assert (kind, event.price_ticks) == (built.TRADE, int(ticks))


def mutated(payload: bytes, rng: random.Random) -> bytes:
    data = bytearray(payload)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        how = rng.randrange(6)
        if how == 0 and data:
            data[at % len(data)] = rng.choice(b'"{}[],:.0123456789-+eE\\ \0ntf\xff')
        elif how == 1 and data:
            del data[at % len(data)]
        elif how == 2:
            data[at:at] = bytes([rng.choice(b'"{}[],:.0123456789-eE\\u\0')])
        elif how == 3:
            data = data[:at]
        elif how == 4:
            data[at:at] = data[at : at + rng.randrange(1, 30)]
        else:
            data[at : at + rng.randrange(1, 30)] = b""
    return bytes(data)


def check_hostile(payload: bytes, market: str, oracle: Any, other: Any) -> None:
    """Built and interpreted agree, and what they read is what the oracle reads."""
    kind, body = result(new(market), payload)
    assert result(new(market, other), payload) == (kind, body)
    if kind in KINDS.values():
        assert oracle.read(payload, getattr(oracle, market))[1] == body
    else:
        assert body is None


def test_mutated_frames_are_read_right_or_counted(oracle: Any, interpreted: Any) -> None:
    rng = random.Random(20240808)
    other = interpreted("mia.venues.binance.wire")

    for _ in range(4_000):
        market, kind = rng.choice(ALL)
        payload = frame_of(market, kind)
        if rng.random() < 0.5 and kind != "snapshot":
            payload = b'{"stream":"btcusdt@x","data":' + payload + b"}"
        check_hostile(mutated(payload, rng), market, oracle, other)


@pytest.mark.parametrize(("market", "kind"), ALL)
def test_every_truncation_is_corrupt(market: str, kind: str) -> None:
    payload = frame_of(market, kind)
    scanner = new(market)

    assert {result(scanner, payload[:i])[0] for i in range(len(payload))} == {built.CORRUPT}


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text(alphabet='{}[]",:0123.eE-nulltrue \\', max_size=60).map(str.encode)))
def test_any_bytes_are_survived(payload: bytes) -> None:
    kind, _ = result(new("spot"), payload)

    assert kind in (built.CORRUPT, built.UNKNOWN_STREAM, built.CONTROL)


@pytest.mark.data
@pytest.mark.parametrize(
    ("market", "name"), [("spot", "binance_spot_btcusdt_ws_20240808.gz"), ("usdm", "binance_usdm_btcusdt_ws_20240808.gz")]
)
def test_real_frames_read_alike_in_both_builds_even_when_mutated(
    market: str, name: str, recorded: Any, oracle: Any, interpreted: Any
) -> None:
    other = interpreted("mia.venues.binance.wire")
    frames = [payload for _, payload in recorded(name)[:2_000]]
    rng = random.Random(1)
    scanners = (new(market), new(market, other))

    for payload in frames:
        assert result(scanners[0], payload) == result(scanners[1], payload)
    for payload in rng.sample([p for p in frames if len(p) < 3_000], 400):
        check_hostile(mutated(payload, rng), market, oracle, other)
    assert [scanners[0].count(i) for i in range(built.KINDS)] == [scanners[1].count(i) for i in range(built.KINDS)]
