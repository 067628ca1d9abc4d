"""The engine's changing state that is not an array: small, mutable, encoded whole into each snapshot.

Arrays (books, features, filters) live in the Arena. Together they are everything a decision reads.
"""

from __future__ import annotations

import msgspec

from mia.execution.planner import OrderIds
from mia.execution.portfolio import Portfolio
from mia.execution.table import OrderTable
from mia.policy.ensemble import Said
from mia.risk.state import RiskState


class MarketState(msgspec.Struct, kw_only=True):
    """What is known of one instrument's market."""

    bid_ticks: int = 0
    ask_ticks: int = 0
    bid_lots: int = 0
    ask_lots: int = 0
    quote_ns: int = 0  # receive time of the last quote; 0 = none
    last_stop_ns: int = 0  # of the engine's own protective exit
    trade_ticks: int = 0
    trade_ns: int = 0
    down_ns: int = 0  # since when its feed is down; 0 = it is not
    closed_ns: int = 0  # when our last round trip closed; 0 = none
    won: list[bool] = []  # of the last three that closed: was the net profit above 0? Oldest first

    @property
    def has_quote(self) -> bool:
        """Both sides known and not crossed."""
        return self.bid_lots > 0 and self.ask_lots > 0 and 0 < self.bid_ticks < self.ask_ticks


class LaneState(msgspec.Struct, kw_only=True):
    """What a lane remembers between decisions."""

    last_decision_ns: int = 0
    target_lots: int = 0
    last_action: float = 0.0
    last_alpha: float = 0.0
    dispersion: float = 0.0  # of the three policies, one decision ago
    model_drift: float = -1.0  # largest PSI of the most important inputs, as of the last decision; below 0: not known (yet)
    is_drift_told: bool = False  # an alert said so, and it has not come back since
    regime_probs: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    out_of_range_row: int = 0  # decisions refused in a row because a feature was out of range
    said: tuple[Said, ...] = ()  # by the members of an ensemble, one decision ago


class Counters(msgspec.Struct, kw_only=True):
    """For the summary and status; part of the state so that a restart goes on counting."""

    market_events: int = 0  # Quote, Trade, BookDelta, BookSnapshot, FeedGap: where a replay goes on
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    trades: int = 0
    gaps: int = 0
    first_ns: int = 0
    codes: dict[str, int] = {}  # of decisions that were refused, held or shrunk
    verbs: dict[str, int] = {}  # buy, sell, reduce, flat, hold, refused


class EngineState(msgspec.Struct, kw_only=True):
    """Everything but the arrays."""

    now_ns: int = 0
    last_seq: int = 0
    last_timer_ns: int = 0
    run: int = 0
    is_enabled: bool = False
    is_recovering: bool = False  # between RunStarted and TradingEnabled: the venue's word on positions is taken
    blocks: list[str] = []  # reasons of TradingDisabled that are not over, sorted; while there is one nothing opens
    paused: str = ""  # reason; "" = not paused
    halted: str = ""
    decision_id: int = 0  # also counts batches of protective orders: an order id names its batch
    overtrade_score: float = 0.0
    last_risk_record_ns: int = 0
    last_rearm_ns: int = 0
    mid2: list[int] = []  # bid + ask in half ticks, by instrument; 0 = none
    marks2: list[int] = []  # the last mid2 that was not 0: what positions are valued at
    is_flattening: bool = False  # positions that fills still open are closed at once; Resume clears it
    references: dict[str, tuple[int, int]] = {}  # series -> when the newest value was known, and what it describes, in ns
    config_hash: str = ""  # of the settings that the limits were taken from
    markets: list[MarketState] = []
    lanes: list[LaneState] = []
    ids: OrderIds
    portfolio: Portfolio
    table: OrderTable
    risk: RiskState
    counters: Counters = msgspec.field(default_factory=Counters)
