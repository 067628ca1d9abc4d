"""The replay venue: recordings of exchange frames as a pull feed, decoded by the codec that decodes them live.

Pacing (recorded speed, X times, as fast as possible) is the daemon's. Resuming is by counting market events (`resume`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import AnyEvent
from mia.domain.instruments import Instrument, InstrumentId
from mia.ports import Codec, Feed
from mia.venues.binance.codec import VENUES, BinanceCodec, Market
from mia.venues.replay.recording import Recording

_NAME: Final = re.compile(r"binance_(spot|usdm)_([a-z0-9]+)_ws")


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed replays."""

    venue: str
    market: str
    symbols: tuple[str, ...]
    files: tuple[str, ...]
    first_ns: int  # receive time of the first frame


class ReplayFeed:
    """Recorded frames of one Binance market (`mia.ports.Feed`)."""

    def __init__(self, paths: Sequence[Path | str], instruments: Iterable[tuple[InstrumentId, Instrument]]) -> None:
        """paths: files in order of time. instruments: those of the settings; the recorded ones are picked by venue and symbol.

        DataError for a file that is missing, empty, no recording, or of an unknown venue; ConfigError when no instrument fits.
        """
        self._recording = Recording([Path(path) for path in paths])
        self.market, symbols = self._identify()
        venue = VENUES[self.market]
        known = {item.symbol: (number, item) for number, item in instruments if item.venue == venue}
        self.instruments = {symbol: known[symbol] for symbol in sorted(symbols) if symbol in known}
        if not self.instruments:
            wanted = ", ".join(sorted(symbols)) or "its symbol"
            first = self._recording.paths[0]
            raise ConfigError(f"{first}: no instrument for {wanted}; add one under [[instruments]] with venue = '{venue}'")
        self._codec = BinanceCodec(self.instruments, self.market)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(ts_recv_ns, payload) from the first frame on, in order of receive time."""
        return self._recording.frames()

    def codec(self) -> BinanceCodec:
        """The codec of the payloads: one for the whole feed, it keeps the books' sequence over file borders."""
        return self._codec

    def describe(self) -> Described:
        """Venue, market, symbols, files and beginning."""
        return Described(
            venue=VENUES[self.market],
            market=self.market,
            symbols=tuple(self.instruments),
            files=tuple(str(path) for path in self._recording.paths),
            first_ns=self._recording.heads[0][0][0],
        )

    def counters(self) -> dict[str, int]:
        """Of the files and of the codec."""
        return self._recording.counters() | self._codec.counters()

    def warnings(self) -> list[str]:
        """One line for each thing that was skipped or is missing."""
        return self._recording.warnings() + self._codec.warnings()

    def _identify(self) -> tuple[Market, set[str]]:
        """Market and symbols of all files, by name and by frames; DataError when unknown or mixed."""
        found: dict[Market, Path] = {}
        symbols: set[str] = set()
        for path, head in zip(self._recording.paths, self._recording.heads, strict=True):
            name = _NAME.search(path.name)
            market, seen = guess(payload for _, payload in head)
            if name is not None:
                named: Market = "usdm" if name[1] == "usdm" else "spot"
                if market is not None and market != named:
                    raise DataError(f"{path}: its name says {named}, its frames are {market}; rename it")
                market = named
                seen.add(name[2].upper())
            if market is None:
                raise DataError(f"{path}: unknown venue; give a binance_spot_<symbol>_ws_* or binance_usdm_<symbol>_ws_* recording")
            found.setdefault(market, path)
            symbols |= seen
        if len(found) > 1:
            names = " and ".join(str(path) for path in found.values())
            raise DataError(f"{names}: recordings of different markets cannot be replayed as one")
        return next(iter(found)), symbols


def guess(payloads: Iterable[bytes]) -> tuple[Market | None, set[str]]:
    """Market and symbols of Binance frames; None when the frames do not tell."""
    market: Market | None = None
    symbols: set[str] = set()
    for payload in payloads:
        try:
            frame: Any = msgspec.json.decode(payload)
        except msgspec.DecodeError:
            continue
        data = frame.get("data", frame) if isinstance(frame, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("s"), str):
            continue
        kind = data.get("e")
        if kind == "bookTicker" or (kind == "depthUpdate" and "pu" in data):
            market = market or "usdm"
        elif kind == "depthUpdate" or (kind is None and {"u", "b", "B", "a", "A"} <= data.keys()):
            market = market or "spot"
        elif kind != "trade":
            continue
        symbols.add(data["s"])
    return market, symbols


def resume(feed: Feed, codec: Codec, events_done: int, next_seq: int = 0) -> tuple[Iterator[tuple[int, bytes]], list[AnyEvent]]:
    """Bring a fresh feed and codec to where events_done market events had been produced.

    Returns the frames that follow, and those events of the frame at the border that are not done yet, numbered from
    next_seq on (a snapshot and the deltas behind it leave in one frame). A feed that ends before gives no frames.
    """
    frames = feed.frames()
    done = 0
    while done < events_done:
        frame = next(frames, None)
        if frame is None:
            break
        events = codec.decode(frame[1], frame[0], 0)
        done += len(events)
        if done > events_done:
            rest = events[len(events) - (done - events_done) :]
            return frames, [msgspec.structs.replace(event, seq=next_seq + i) for i, event in enumerate(rest)]
    return frames, []
