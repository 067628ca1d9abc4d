"""Events: facts that entered the engine, in the order of `seq`. Frozen, journaled exactly as step saw them.

Every event opens with seq (our arrival order), ts_event_ns (venue clock, may step back, 0 where there is none)
and ts_recv_ns (our clock, Unix ns, never steps back). Prices are ticks, sizes lots, money e8 (1e-8 of the quote currency).
"""

from __future__ import annotations

from typing import Final

import msgspec

from mia.domain.instruments import Instrument

BUY: Final = 1
SELL: Final = -1
NO_INSTRUMENT: Final = -1  # a cash flow of the account as a whole, a prediction for every instrument


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """Root of all events."""

    seq: int
    ts_event_ns: int
    ts_recv_ns: int


# --- run ----------------------------------------------------------------------------------------------------
class RunStarted(Event, frozen=True, gc=False, array_like=True, tag="run_started"):
    """One process life begins. Everything a replay needs to build the same engine."""

    run: int
    instance: str
    mode: str  # paper | live
    versions: dict[str, str]  # wheels and machine class that byte-identical replay depends on
    config: str  # merged settings, canonical JSON
    config_hash: str


class ConfigChanged(Event, frozen=True, gc=False, array_like=True, tag="config_changed"):
    """A reload of what may be reloaded."""

    config: str
    config_hash: str


class InstrumentDefined(Event, frozen=True, gc=False, array_like=True, tag="instrument"):
    """An instrument and its grid; ids are small ints in order of definition."""

    instrument: int
    definition: Instrument


class HistoryLoaded(Event, frozen=True, gc=False, array_like=True, tag="history_loaded"):
    """Past market data of an instrument went in before the live data: how much, from where to where."""

    instrument: int
    source: str
    events: int
    from_ns: int
    until_ns: int


class ModelReady(Event, frozen=True, gc=False, array_like=True, tag="model_ready"):
    """A bundle was loaded and verified by the shell."""

    name: str
    bundle_sha256: str


class SwitchModel(Event, frozen=True, gc=False, array_like=True, tag="switch_model"):
    """Use the bundle `name` on `lane` from the next flat moment on."""

    lane: int
    name: str


class TradingEnabled(Event, frozen=True, gc=False, array_like=True, tag="trading_enabled"):
    """Recovery is complete (no reason), or one reason of TradingDisabled is over. Openings may be decided when none is left."""

    reason: str = ""


class TradingDisabled(Event, frozen=True, gc=False, array_like=True, tag="trading_disabled"):
    """Openings stop (NO_NEW) until the same reason is over; exits go on."""

    reason: str


# --- market -------------------------------------------------------------------------------------------------
class Quote(Event, frozen=True, gc=False, array_like=True, tag="quote"):
    """Top of book as one venue published it; a size of 0 means that side is empty."""

    instrument: int
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int


class Trade(Event, frozen=True, gc=False, array_like=True, tag="trade"):
    """One public trade; aggressor is +1 (buyer took) or -1 (seller took), 0 unknown."""

    instrument: int
    price_ticks: int
    qty_lots: int
    aggressor: int
    venue_trade_id: int


class Bar(Event, frozen=True, gc=False, array_like=True, tag="bar"):
    """One finished bar of a market that is known by its bars alone (history); ts_recv_ns: its end, and the lag until it was known.

    Beside it no quote and no trade of the instrument enters: its close is the price at which the account is valued.
    """

    instrument: int
    open_ticks: int
    high_ticks: int
    low_ticks: int
    close_ticks: int
    volume_lots: int
    buy_lots: int = 0  # of buyers who took, 0 with sell_lots 0: nobody knows who took
    sell_lots: int = 0
    notional: float = 0.0  # ticks x lots
    trades: int = 0
    buys: int = 0
    sells: int = 0


class BookDelta(Event, frozen=True, gc=False, array_like=True, tag="book_delta"):
    """Changed levels: packed little-endian int64 pairs (price_ticks, qty_lots); qty 0 removes the level."""

    instrument: int
    bids: bytes
    asks: bytes


class BookSnapshot(Event, frozen=True, gc=False, array_like=True, tag="book_snapshot"):
    """The whole book, best level first on each side, packed as in BookDelta; replaces what was known."""

    instrument: int
    bids: bytes
    asks: bytes


class Reference(Event, frozen=True, gc=False, array_like=True, tag="reference"):
    """One value of an outside series, as the world could know it from known_at_ns on."""

    series: str
    value: float
    known_at_ns: int
    valid_until_ns: int


class NewsScored(Event, frozen=True, gc=False, array_like=True, tag="news_scored"):
    """One piece of news, scored by the slow lane: score in [-1, 1], impact in [0, 1]."""

    source: str
    topic: str
    score: float
    impact: float
    known_at_ns: int
    valid_until_ns: int


class Predicted(Event, frozen=True, gc=False, array_like=True, tag="predicted"):
    """One prediction of a slow model, or a signal from outside: its name, value and confidence in [0, 1].

    instrument: the only one that it is about, NO_INSTRUMENT for all.
    """

    name: str
    value: float
    confidence: float
    known_at_ns: int
    valid_until_ns: int
    instrument: int = NO_INSTRUMENT


# --- venue ----------------------------------------------------------------------------------------------------
class OrderAccepted(Event, frozen=True, gc=False, array_like=True, tag="order_accepted"):
    """The venue works the order."""

    client_order_id: str
    venue_order_id: str


class OrderRejected(Event, frozen=True, gc=False, array_like=True, tag="order_rejected"):
    """A definitive no: the order does not and will not exist."""

    client_order_id: str
    code: str
    reason: str


class OrderCanceled(Event, frozen=True, gc=False, array_like=True, tag="order_canceled"):
    """The rest of the order is gone."""

    client_order_id: str
    reason: str


class OrderExpired(Event, frozen=True, gc=False, array_like=True, tag="order_expired"):
    """The venue ended the order by a rule (post-only would match, one-cancels-other, time in force)."""

    client_order_id: str
    reason: str


class OrderReplaced(Event, frozen=True, gc=False, array_like=True, tag="order_replaced"):
    """A working order changed price or size; 0 keeps a field that does not apply."""

    client_order_id: str
    price_ticks: int
    stop_ticks: int
    qty_lots: int


class CancelRejected(Event, frozen=True, gc=False, array_like=True, tag="cancel_rejected"):
    """The cancel did not work (usually: already filled)."""

    client_order_id: str
    reason: str


class ReplaceRejected(Event, frozen=True, gc=False, array_like=True, tag="replace_rejected"):
    """The replace did not work; the order stands as it was, or is gone if a report says so."""

    client_order_id: str
    reason: str


class OrderFilled(Event, frozen=True, gc=False, array_like=True, tag="order_filled"):
    """One fill of ours. fill_id is the venue's trade id: applied once, whoever repeats it."""

    client_order_id: str
    fill_id: str
    instrument: int
    side: int
    price_ticks: int
    qty_lots: int
    fee_e8: int  # in quote currency, or worth that much at the fill's price; positive is a cost, negative a rebate
    is_maker: bool
    base_fee_e8: int = 0  # above 0: the fee was taken out of the bought coins, so many 1e-8 of the base; cash paid none


class PositionReported(Event, frozen=True, gc=False, array_like=True, tag="position_reported"):
    """The venue's word on a position (signed lots) and its average entry in 1e-8 ticks."""

    instrument: int
    position_lots: int
    cost_e8: int


class BalanceReported(Event, frozen=True, gc=False, array_like=True, tag="balance_reported"):
    """The venue's word on cash."""

    currency: str
    cash_e8: int


class CashFlow(Event, frozen=True, gc=False, array_like=True, tag="cash_flow"):
    """Money that came (above 0) or went without a fill of ours; kind says why.

    kind: funding | borrow | commission | roll | liquidation_fee, or a word of the venue's own. flow_id is the venue's id of it: applied
    once, whoever repeats it; "" where the venue never repeats one.
    """

    flow_id: str
    instrument: int  # NO_INSTRUMENT: of the account as a whole
    kind: str
    amount_e8: int


class OpenOrder(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One line of the venue's list of open orders."""

    client_order_id: str
    venue_order_id: str
    instrument: int
    side: int
    order_type: str
    price_ticks: int
    stop_ticks: int
    qty_lots: int
    filled_lots: int
    reduce_only: bool


class OpenOrdersReported(Event, frozen=True, gc=False, array_like=True, tag="open_orders_reported"):
    """Every order the venue holds open for us, and perhaps for others on the account."""

    venue: str
    orders: tuple[OpenOrder, ...]


class RequestTimedOut(Event, frozen=True, gc=False, array_like=True, tag="request_timed_out"):
    """Nothing is known about the outcome of a request; never a rejection."""

    client_order_id: str
    request: str  # submit | cancel | replace | query


# --- health ---------------------------------------------------------------------------------------------------
class FeedUp(Event, frozen=True, gc=False, array_like=True, tag="feed_up"):
    """A feed delivers."""

    venue: str


class FeedDown(Event, frozen=True, gc=False, array_like=True, tag="feed_down"):
    """A feed is gone; its books are invalid."""

    venue: str
    reason: str


class FeedStale(Event, frozen=True, gc=False, array_like=True, tag="feed_stale"):
    """A feed is up and silent."""

    venue: str
    age_ms: int


class FeedGap(Event, frozen=True, gc=False, array_like=True, tag="feed_gap"):
    """The sequence of an instrument's book broke: the book is invalid until its next BookSnapshot."""

    instrument: int
    expected: int
    got: int


class ClockSkewed(Event, frozen=True, gc=False, array_like=True, tag="clock_skewed"):
    """The wall clock jumped against the monotonic one."""

    jump_ms: int


# --- operator and time ------------------------------------------------------------------------------------------
class Pause(Event, frozen=True, gc=False, array_like=True, tag="pause"):
    """No new exposure."""

    reason: str


class Resume(Event, frozen=True, gc=False, array_like=True, tag="resume"):
    """Undo Pause, Halt or Kill by the operator's word."""

    reset: bool


class Flatten(Event, frozen=True, gc=False, array_like=True, tag="flatten"):
    """Close every position at market, then no new exposure."""

    reason: str


class Kill(Event, frozen=True, gc=False, array_like=True, tag="kill"):
    """Stop trading until an explicit reset."""

    level: str
    reason: str


class LowerLimit(Event, frozen=True, gc=False, array_like=True, tag="lower_limit"):
    """Tighten one risk limit; a value above the present one is ignored."""

    name: str
    value: float


class Timer(Event, frozen=True, gc=False, array_like=True, tag="timer"):
    """A multiple of 100 ms of receive time has passed."""


AnyEvent = (
    RunStarted | ConfigChanged | InstrumentDefined | HistoryLoaded | ModelReady | SwitchModel | TradingEnabled | TradingDisabled
    | Quote | Trade | Bar | BookDelta | BookSnapshot | Reference | NewsScored | Predicted
    | OrderAccepted | OrderRejected | OrderCanceled | OrderExpired | OrderReplaced | CancelRejected | ReplaceRejected
    | OrderFilled | PositionReported | BalanceReported | CashFlow | OpenOrdersReported | RequestTimedOut
    | FeedUp | FeedDown | FeedStale | FeedGap | ClockSkewed
    | Pause | Resume | Flatten | Kill | LowerLimit | Timer
)  # fmt: skip

MARKET_EVENTS: Final = (Quote, Trade, Bar, BookDelta, BookSnapshot, FeedGap)
VENUE_REPORTS: Final = (
    OrderAccepted, OrderRejected, OrderCanceled, OrderExpired, OrderReplaced, CancelRejected, ReplaceRejected,
    OrderFilled, PositionReported, BalanceReported, CashFlow, OpenOrdersReported, RequestTimedOut,
)  # fmt: skip
TIMER_INTERVAL_NS: Final = 100_000_000
