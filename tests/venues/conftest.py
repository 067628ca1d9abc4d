"""A second, slow reading of Binance frames with json and Decimal: the oracle of the codec's tests."""

from __future__ import annotations

import importlib.util
import json
import struct
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mia.domain.events import BookDelta, BookSnapshot, Quote, Trade
from mia.domain.instruments import Instrument, InstrumentId

ROOT = Path(__file__).resolve().parents[2]
SPOT = Instrument(
    venue="binance_spot", symbol="BTCUSDT", kind="spot", family="crypto", quote_currency="USDT",
    tick_size=Decimal("0.01"), lot_size=Decimal("0.00001"), maker_fee=Decimal("0.001"), taker_fee=Decimal("0.001"),
)  # fmt: skip
USDM = Instrument(
    venue="binance_usdm", symbol="BTCUSDT", kind="perpetual", family="crypto", quote_currency="USDT",
    tick_size=Decimal("0.10"), lot_size=Decimal("0.001"), maker_fee=Decimal("0.0002"), taker_fee=Decimal("0.0005"),
)  # fmt: skip


class NotAFrame(Exception):
    """The reference cannot read it as one of the four kinds."""


@lru_cache(maxsize=200_000)
def units(text: str, step: Decimal, is_size: bool) -> int:
    if not (text.isascii() and text.replace(".", "", 1).isdigit()):
        raise NotAFrame(text)
    count = Decimal(text) / step
    if count != int(count) and not is_size:
        raise NotAFrame(f"{text} is off the grid")
    return int(count)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def _constant(text: str) -> None:
    raise NotAFrame(text)


def _levels(rows: Any, item: Instrument) -> bytes:
    out = []
    for row in rows:
        out.append(struct.pack("<qq", units(row[0], item.tick_size, False), units(row[1], item.lot_size, True)))
    return b"".join(out)


def read(payload: bytes, item: Instrument) -> tuple[str, Any]:
    """("quote" | "trade", event) or ("diff" | "snapshot", (U, u, pu, ts_event_ns, bids, asks)), seq 1, receive time 2, id 0."""
    frame = json.loads(payload.decode("latin-1"), parse_constant=_constant, object_pairs_hook=_pairs)
    data = frame.get("data", frame)
    is_usdm = item.venue == "binance_usdm"
    if "lastUpdateId" in data and "e" not in data:
        ts = data.get("T", data.get("E", 0)) * 1_000_000
        last = data["lastUpdateId"]
        return "snapshot", (last, last, 0, ts, _levels(data["bids"], item), _levels(data["asks"], item))
    if data["s"] != item.symbol:
        raise NotAFrame(data["s"])
    kind = data.get("e", "bookTicker")
    if kind == "bookTicker":
        prices = [units(data[key], item.tick_size, False) for key in ("b", "a")]
        sizes = [units(data[key], item.lot_size, True) for key in ("B", "A")]
        return "quote", Quote(1, data["T"] * 1_000_000 if is_usdm else 0, 2, 0, *prices, *sizes)
    if kind == "trade":
        price, size = units(data["p"], item.tick_size, False), units(data["q"], item.lot_size, True)
        return "trade", Trade(1, data["T"] * 1_000_000, 2, 0, price, size, -1 if data["m"] else 1, data["t"])
    if kind == "depthUpdate":
        ts = (data["T"] if is_usdm else data["E"]) * 1_000_000
        before = data["pu"] if is_usdm else 0
        return "diff", (data["U"], data["u"], before, ts, _levels(data["b"], item), _levels(data["a"], item))
    raise NotAFrame(kind)


def events_of(frames: list[tuple[int, bytes]], item: Instrument) -> list[Any]:
    """All events of a recording that begins before its snapshot and has no gap, by the letter of the venue's rules."""
    out: list[Any] = []
    waiting: list[tuple[int, int, int, int, bytes, bytes]] = []
    local = None
    for ts, payload in frames:
        kind, body = read(payload, item)
        if kind in ("quote", "trade"):
            fields = [getattr(body, name) for name in body.__struct_fields__]
            out.append(type(body)(len(out), fields[1], ts, *fields[3:]))
            continue
        if kind == "snapshot":
            local = body[0]
            out.append(BookSnapshot(len(out), body[3], ts, 0, body[4], body[5]))
            todo = [d for d in waiting if (d[1] >= local if item is USDM else d[1] > local)]
            if todo:
                assert todo[0][0] <= local + (item is SPOT) <= todo[0][1] + 1
        else:
            waiting.append(body)
            todo = [body] if local is not None else []
        for diff in todo:
            out.append(BookDelta(len(out), diff[3], ts, 0, diff[4], diff[5]))
    return out


class Oracle:
    """What tests use of this file."""

    spot = SPOT
    usdm = USDM
    not_a_frame = NotAFrame
    read = staticmethod(read)
    events_of = staticmethod(events_of)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    return Oracle


@pytest.fixture(scope="session")
def interpreted() -> Callable[[str], ModuleType]:
    """The .py source of a compiled module, run by Python."""

    def load(name: str) -> ModuleType:
        alias = "interpreted_" + name.replace(".", "_")
        if alias not in sys.modules:
            spec = importlib.util.spec_from_file_location(alias, ROOT / (name.replace(".", "/") + ".py"))
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[alias] = module
            spec.loader.exec_module(module)
        return sys.modules[alias]

    return load


@pytest.fixture(scope="session")
def recorded(market_data: Path) -> Callable[[str], list[tuple[int, bytes]]]:
    """Frames of a recording, read the slow and simple way."""
    import gzip

    @lru_cache
    def load(name: str) -> list[tuple[int, bytes]]:
        lines = gzip.decompress((market_data / name).read_bytes()).splitlines()
        return [(int(ns), payload) for ns, payload in (line.split(b" ", 1) for line in lines)]

    return load


@pytest.fixture(scope="session")
def instruments() -> list[tuple[InstrumentId, Instrument]]:
    return [(InstrumentId(0), SPOT), (InstrumentId(1), USDM)]
