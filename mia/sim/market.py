"""The simulated market as columns (training, backtest) and as a pull feed (paper); the dynamics live in mia.kernels.market."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from mia.domain.errors import ConfigError, DataError
from mia.domain.events import TIMER_INTERVAL_NS, AnyEvent, BookDelta, BookSnapshot, Quote, Trade
from mia.domain.instruments import MONEY_SCALE, Instrument
from mia.features.columns import BOOK_DELTA as DELTA
from mia.features.columns import BOOK_SNAPSHOT as SNAPSHOT
from mia.features.columns import QUOTE, TIMER, TRADE, EventColumns, from_events
from mia.kernels.arena import Arena
from mia.kernels.market import STEP_ROWS_MAX, MarketKernel
from mia.sim.settings import SimMarketSettings

PHASES: Final = ("calm", "trending", "violent")
ARENA_BYTES: Final = 4096  # what one SimMarket takes of an arena
_FOREVER: Final = 1 << 62
_BURN_IN_ROWS: Final = 4_000
_CHUNK_ROWS: Final = 2_048
_ROW: Final = struct.Struct("<6q")  # kind, ts_event_ns, a, b, c, d

Longs = NDArray[np.int64]


@dataclass(frozen=True)
class SimColumns:
    """Events as int64 arrays of one length n, in order of receive time; `phase` is the label that no event carries.

    The fields mean what they mean in mia.features.columns.EventColumns, which `events` gives.
    """

    kind: Longs
    ts_recv_ns: Longs
    ts_event_ns: Longs
    a: Longs
    b: Longs
    c: Longs
    d: Longs
    level_offset: Longs
    level_count: Longs
    levels: Longs
    phase: Longs

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def events(self) -> EventColumns:
        """The events without the label, sharing the arrays."""
        none = np.zeros(len(self.kind))
        return EventColumns(
            self.kind, self.ts_recv_ns, self.ts_event_ns, self.a, self.b, self.c, self.d, self.level_offset, self.level_count,
            none, none, self.levels,
        )  # fmt: skip


class SimMarket:
    """One simulated instrument. All changing state lies in the arena: restore it and the same events follow."""

    def __init__(self, settings: SimMarketSettings, instrument: Instrument, instrument_id: int = 0, arena: Arena | None = None) -> None:
        """arena: needs ARENA_BYTES free; a private one when None. ConfigError when the grid cannot carry the start price."""
        self.settings = settings
        self.instrument = instrument
        self.instrument_id = instrument_id
        self.arena = Arena(ARENA_BYTES) if arena is None else arena
        start_ticks = int(settings.start_price / instrument.tick_size)
        order_units = float(settings.order_notional) * MONEY_SCALE / instrument.unit_e8
        if not (1_000 <= start_ticks <= 10**12):
            raise ConfigError(f"[sim] start_price {settings.start_price} is {start_ticks} ticks of {instrument.symbol}, need 1000 to 10^12")
        if not (start_ticks <= order_units <= 1e9 * start_ticks):
            raise ConfigError(f"[sim] order_notional {settings.order_notional} is not between 1 and 10^9 lots of {instrument.symbol}")
        s = settings
        self._kernel: Any = MarketKernel(
            self.arena,
            settings.seed,
            start_ticks,
            order_units,
            (s.calm.row(), s.trending.row(), s.violent.row()),
            s.transitions,
            (s.placement_bps, s.gap_bps, s.maker_lag_s, s.vol_of_vol, s.vol_tau_s, s.jump_bps, s.momentum, s.persistence),
        )
        self._out = [np.zeros(_CHUNK_ROWS, dtype=np.int64) for _ in range(7)]
        self._kernel.bind(*self._out)
        for _ in range(_BURN_IN_ROWS // _CHUNK_ROWS + 1):  # the first book is tidy; let the flow make it real
            self._kernel.run(_CHUNK_ROWS, _FOREVER)
        self._kernel.rebase(0)

    @property
    def phase(self) -> int:
        """The hidden phase now: 0 calm, 1 trending, 2 violent."""
        return int(self._kernel.phase())

    @property
    def latent_ticks(self) -> float:
        """The hidden price now, in ticks."""
        return float(self._kernel.latent_ticks())

    @property
    def now_ns(self) -> int:
        """Venue time of the last event."""
        return int(self._kernel.now_ns())

    def start(self, start_ns: int) -> None:
        """Set the market's clock; the dynamics do not depend on it."""
        self._kernel.rebase(start_ns)

    def levels(self, is_ask: bool) -> list[tuple[int, int]]:
        """(price_ticks, lots) of one side, best first."""
        k = self._kernel
        return [(k.level_ticks(is_ask, i), k.level_lots(is_ask, i)) for i in range(k.level_count(is_ask))]

    def step_rows(self, rows_max: int = _CHUNK_ROWS, until_ns: int = _FOREVER) -> tuple[list[Longs], int]:
        """(kind, ts_event_ns, a, b, c, d, phase) views that the next call overwrites, and how many rows of them hold."""
        return self._out, int(self._kernel.run(min(rows_max, _CHUNK_ROWS), until_ns))

    def generate(self, n: int | None = None, *, duration_s: float | None = None, snapshot: bool = True, timers: bool = False) -> SimColumns:
        """The next events: at most n of the flow (whole arrivals, so up to 47 fewer), or those of duration_s seconds, or both.

        snapshot: open with the whole book (one row more); timers: a row at every multiple of 100 ms of receive time.
        """
        if n is None and duration_s is None:
            raise ValueError("generate needs n or duration_s")
        until = _FOREVER if duration_s is None else self.now_ns + int(duration_s * 1e9)
        left = 1 << 40 if n is None else n
        opening = self._opening() if snapshot else []
        parts: list[list[Longs]] = []
        while left >= STEP_ROWS_MAX:
            out, rows = self.step_rows(left, until)
            if rows == 0:
                break
            parts.append([column[:rows].copy() for column in out])
            left -= rows
            if duration_s is not None and rows + STEP_ROWS_MAX <= min(left + rows, _CHUNK_ROWS):
                break  # stopped by time, not by space
        empty: list[Longs] = [np.zeros(0, dtype=np.int64) for _ in range(7)]
        rows_of = [np.concatenate([p[i] for p in parts] or [empty[i]]) for i in range(7)]
        return self.columns_of(rows_of, opening, timers)

    def _opening(self) -> list[tuple[int, int]]:
        """The levels of a snapshot, bids then asks, with their counts in front."""
        bids, asks = self.levels(False), self.levels(True)
        return [(len(bids), len(asks)), *bids, *asks]

    def columns_of(self, rows: Sequence[Longs], opening: list[tuple[int, int]], timers: bool) -> SimColumns:
        """Rows of `step_rows` as events received after the feed's latency."""
        kind, ts, a, b, c, d, phase = rows
        latency = self.settings.feed_latency_us * 1000
        is_delta = kind == DELTA
        offset = np.where(is_delta, np.cumsum(is_delta) - 1, 0)
        count = is_delta.astype(np.int64)
        levels = np.stack([b[is_delta], c[is_delta]], axis=1)
        a, b = np.where(is_delta, a > 0, a), np.where(is_delta, a < 0, b)  # one pair, on one of the sides
        c, d = np.where(is_delta, 0, c), np.where(is_delta, 0, d)
        recv = ts + latency
        if opening:
            (n_bids, n_asks), pairs = opening[0], opening[1:]
            first = int(ts[0]) if len(ts) else self.now_ns
            head = (SNAPSHOT, first, n_bids, n_asks, 0, 0, int(phase[0]) if len(phase) else self.phase)
            kind, ts, a, b, c, d, phase = (np.concatenate([[h], x]) for h, x in zip(head, (kind, ts, a, b, c, d, phase), strict=True))
            recv = np.concatenate([[first + latency], recv])
            offset = np.concatenate([[0], np.where(is_delta, offset + len(pairs), 0)])
            count = np.concatenate([[len(pairs)], count])
            levels = np.concatenate([np.asarray(pairs, dtype=np.int64).reshape(-1, 2), levels])
        columns = [kind, recv, ts, a, b, c, d, offset, count, phase]
        if timers and len(recv):
            columns = _with_timers(columns)
        kind, recv, ts, a, b, c, d, offset, count, phase = columns
        return SimColumns(kind, recv, ts, a, b, c, d, offset, count, levels, phase)


def _with_timers(columns: list[Longs]) -> list[Longs]:
    """Timer rows at the multiples of 100 ms inside the span, after the market rows of the same time."""
    recv = columns[1]
    ticks = np.arange(-(-int(recv[0]) // TIMER_INTERVAL_NS), int(recv[-1]) // TIMER_INTERVAL_NS + 1, dtype=np.int64) * TIMER_INTERVAL_NS
    at = np.searchsorted(recv, ticks, side="right")
    zeros = np.zeros(len(ticks), dtype=np.int64)
    fill = [zeros + TIMER, ticks, zeros, zeros, zeros, zeros, zeros, zeros, zeros, columns[9][np.maximum(at - 1, 0)]]
    return [np.insert(column, at, values) for column, values in zip(columns, fill, strict=True)]


class SimCodec:
    """Payloads of SimFeed -> domain events of one instrument. Stateless but for its counters."""

    def __init__(self, instrument_id: int) -> None:
        self._instrument = instrument_id
        self._counters = {"bad_frames": 0}

    def decode(self, payload: bytes, ts_recv_ns: int, seq: int) -> Sequence[AnyEvent]:
        """One event a frame; none, and a count, when the frame is not ours."""
        if len(payload) < _ROW.size:
            self._counters["bad_frames"] += 1
            return ()
        kind, ts, a, b, c, d = _ROW.unpack_from(payload)
        if kind == DELTA:
            level = payload[24:40]  # price and lots lie side by side, packed as a level already
            if a > 0:
                return (BookDelta(seq, ts, ts_recv_ns, self._instrument, level, b""),)
            return (BookDelta(seq, ts, ts_recv_ns, self._instrument, b"", level),)
        if kind == QUOTE:
            return (Quote(seq, ts, ts_recv_ns, self._instrument, a, b, c, d),)
        if kind == TRADE:
            return (Trade(seq, ts, ts_recv_ns, self._instrument, a, b, c, d),)
        if kind == SNAPSHOT and len(payload) == _ROW.size + 16 * (a + b):
            split = _ROW.size + 16 * a
            return (BookSnapshot(seq, ts, ts_recv_ns, self._instrument, payload[_ROW.size : split], payload[split:]),)
        self._counters["bad_frames"] += 1
        return ()

    def counters(self) -> dict[str, int]:
        """Frames dropped."""
        return dict(self._counters)


class _FeedState(msgspec.Struct, array_like=True):
    frames: int  # delivered so far
    at: int  # rows of the present chunk already delivered
    shift_ns: int  # what resume_at added to the market's own clock
    opening_ns: int  # receive time of the opening snapshot
    chunk: bytes  # the arena as it was before the present chunk


class SimFeed:
    """The simulated market as an endless pull feed: one BookSnapshot, then quotes, trades and deltas, one a frame.

    Give it a market of its own, with a private arena: the feed runs ahead of what it has delivered by up to one chunk.
    """

    def __init__(self, market: SimMarket, start_ns: int) -> None:
        """start_ns: receive time of the first frame."""
        self.market = market
        self._latency = market.settings.feed_latency_us * 1000
        market.start(start_ns - self._latency)
        self._opening_ns = start_ns
        self._opening_levels = (market.levels(False), market.levels(True))
        self._opening = self._opening_at(start_ns)
        self._frames = 0
        self._at = 0
        self._shift_ns = 0
        self._chunk_state = b""
        self._rows = np.zeros((0, 6), dtype=np.int64)
        self._recv: list[int] = []
        self._payloads = b""
        self._phases: list[int] = []
        self._fill()

    @property
    def delivered(self) -> int:
        """Frames handed out or skipped so far."""
        return self._frames

    @property
    def phase(self) -> int:
        """Hidden phase at the last delivered frame: a label, never part of an event."""
        return self._phases[max(self._at - 1, 0)]

    def codec(self) -> SimCodec:
        """A codec of the payloads."""
        return SimCodec(self.market.instrument_id)

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """(ts_recv_ns, payload) without end, going on after what was delivered, skipped or restored."""
        if self._frames == 0:
            self._frames = 1
            yield self._opening
        size = _ROW.size
        while True:
            if self._at == len(self._recv):
                self._fill()
            at = self._at
            self._at = at + 1
            self._frames += 1
            yield self._recv[at], self._payloads[at * size : (at + 1) * size]

    def events(self, until_ns: int) -> Iterator[AnyEvent]:
        """What the codec makes of all frames until then, number 0 each: for history, which has no use for frames. Uses the feed up."""
        instrument, size = self.market.instrument_id, _ROW.size
        if self._frames == 0 and self._opening_ns <= until_ns:
            self._frames = 1
            yield from self.codec().decode(self._opening[1], self._opening_ns, 0)
        while True:
            if self._at == len(self._recv):
                self._fill()
            start, self._at = self._at, len(self._recv)
            self._frames += self._at - start
            payloads = self._payloads
            at = start * size + 24  # price and lots of a delta lie side by side, packed as a level already
            columns = np.frombuffer(payloads, "<i8").reshape(-1, 6)[start:].T.tolist()
            for ts, kind, event_ns, a, b, c, d in zip(self._recv[start:], *columns, strict=True):
                if ts > until_ns:
                    return
                if kind == DELTA:
                    if a > 0:
                        yield BookDelta(0, event_ns, ts, instrument, payloads[at : at + 16], b"")
                    else:
                        yield BookDelta(0, event_ns, ts, instrument, b"", payloads[at : at + 16])
                elif kind == QUOTE:
                    yield Quote(0, event_ns, ts, instrument, a, b, c, d)
                else:
                    yield Trade(0, event_ns, ts, instrument, a, b, c, d)
                at += size

    def columns(self, until_ns: int) -> Iterator[EventColumns]:
        """What `events` gives, a chunk at a time, in columns. Uses the feed up."""
        if self._frames == 0 and self._opening_ns <= until_ns:
            self._frames = 1
            yield from_events(self.codec().decode(self._opening[1], self._opening_ns, 0))
        while True:
            if self._at == len(self._recv):
                self._fill()
            start, self._at = self._at, len(self._recv)
            self._frames += self._at - start
            recv = np.asarray(self._recv, dtype=np.int64)
            stop = int(np.searchsorted(recv, until_ns, side="right"))
            if stop > start:
                rows = self._rows[start:stop].T.copy()
                rows[1] += self._shift_ns
                yield self.market.columns_of([*rows, rows[0]], [], False).events
            if stop < self._at:
                return

    def skip(self, n_frames: int) -> None:
        """Go on as if n_frames more had been delivered."""
        if n_frames > 0 and self._frames == 0:
            self._frames = 1
            n_frames -= 1
        while n_frames > 0:
            if self._at == len(self._recv):
                self._fill()
            step = min(n_frames, len(self._recv) - self._at)
            self._at += step
            self._frames += step
            n_frames -= step

    def resume_at(self, start_ns: int) -> None:
        """The next frame comes at start_ns and all later ones as much later: the time in between did not happen."""
        if self._frames == 0:
            self._opening = self._opening_at(start_ns)
            self._shift_ns += start_ns - self._opening_ns
            self._opening_ns = start_ns
        else:
            if self._at == len(self._recv):
                self._fill()
            self._shift_ns += start_ns - self._recv[self._at]
        self._stamp()

    def snapshot(self, used: int | None = None) -> bytes:
        """Where the feed stands; `restore` it into a feed of the same settings, instrument and start.

        used: frames that the reader has worked off, when it may hold one that is not due yet; default all that were delivered.
        """
        held = 0 if used is None else self._frames - used
        if not (0 <= held <= 1):
            raise ValueError(f"simulated feed: {used} frames used of {self._frames} delivered")
        at = max(self._at - held, 0)
        return msgspec.msgpack.encode(_FeedState(self._frames - held, at, self._shift_ns, self._opening_ns, self._chunk_state))

    def restore(self, data: bytes) -> None:
        """Go on where `data` was taken; DataError when it is not a snapshot of such a feed."""
        try:
            state = msgspec.msgpack.decode(data, type=_FeedState)
            self.market.arena.restore(state.chunk)
        except (msgspec.MsgspecError, ValueError) as e:
            raise DataError(f"simulated feed: the snapshot does not fit this version or its settings: {e}") from e
        self._shift_ns, self._opening_ns = state.shift_ns, state.opening_ns
        self._opening = self._opening_at(state.opening_ns)
        self._fill()
        self._frames, self._at = state.frames, min(state.at, len(self._recv))

    def _fill(self) -> None:
        self._chunk_state = self.market.arena.snapshot()
        out, rows = self.market.step_rows()
        self._rows = np.stack([column[:rows] for column in out[:6]], axis=1)
        self._phases = out[6][:rows].tolist()
        self._at = 0
        self._stamp()

    def _stamp(self) -> None:
        """Frames of the present chunk, at the feed's clock."""
        rows = self._rows.copy()
        rows[:, 1] += self._shift_ns
        self._recv = (rows[:, 1] + self._latency).tolist()
        self._payloads = rows.astype("<i8").tobytes()

    def _opening_at(self, start_ns: int) -> tuple[int, bytes]:
        bids, asks = self._opening_levels
        levels = b"".join(struct.pack("<2q", *level) for level in (*bids, *asks))
        return start_ns, _ROW.pack(SNAPSHOT, start_ns - self._latency, len(bids), len(asks), 0, 0) + levels
