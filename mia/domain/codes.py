"""Codes of refusals and shrinks: one enum, from which the documentation's table is generated."""

from __future__ import annotations

import enum


class Code(enum.StrEnum):
    """Why a decision did not become the order it asked for. The docstring of each member is its line in the docs."""

    explanation: str
    shrinks: bool

    def __new__(cls, value: str, explanation: str, shrinks: bool = False) -> Code:
        """value is what the journal and the exports show; a code that shrinks lets a smaller order pass."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        member.shrinks = shrinks
        return member

    OK = "ok", "Nothing stood in the way."
    # market data and features
    TRADING_DISABLED = "trading_disabled", "Recovery is not complete, or the operator or a rule paused openings (NO_NEW)."
    KILLED = "killed", "The kill switch is set; it survives a restart and is cleared by the operator only."
    QUOTE_MISSING = "quote_missing", "No two-sided quote of the instrument is known."
    QUOTE_STALE = "quote_stale", "The last quote is older than quote_age_ms_max."
    BOOK_INVALID = "book_invalid", "The order book lost its sequence, or is crossed; it waits for a new snapshot."
    WARM_UP = "warm_up", "A feature that the strategy reads has not seen enough data yet."
    FEATURE_MISSING = "feature_missing", "A feature that the strategy reads lost its input: a book that waits, a reference that is too old."
    FEATURE_NOT_FINITE = "feature_not_finite", "A feature is NaN or infinite."
    FEATURE_OUT_OF_RANGE = "feature_out_of_range", "A feature lies far outside of the range the policy was trained on."
    ACTION_INVALID = "action_invalid", "The policy's action is not a finite number in [-1, 1]."
    ALPHA_INVALID = "alpha_invalid", "The trade probability is not a finite number in [0, 1]."
    ALPHA_BELOW_MIN = "alpha_below_min", "The trade probability is below the manifest's alpha_min; exits pass."
    # sessions and windows
    OUTSIDE_SESSION = "outside_session", "The instrument's trading session is closed by config/trade_windows.toml."
    BLACKOUT_WINDOW = "blackout_window", "A blackout window of config/trade_windows.toml is active."
    MACRO_EVENT = "macro_event", "A calendar event of impact above 0.7 is near (config/macro_events.csv)."
    CALENDAR_EXPIRED = "calendar_expired", "The session table is past its valid_until date."
    # limits that refuse
    ORDER_RATE = "order_rate", "More orders within a minute than orders_per_minute_max."
    DAILY_LOSS = "daily_loss", "The loss of the UTC day reached daily_loss_max; openings wait for the next day."
    DRAWDOWN_STOP = "drawdown_stop", "The fall of equity from its peak reached drawdown_max; the operator resets it."
    PRICE_COLLAR = "price_collar", "The order's price is further from the mid than price_collar_bps_max."
    COOL_DOWN = "cool_down", "The lane waits after a rejection or a protective exit."
    ORDER_IN_FLIGHT = "order_in_flight", "An earlier order of the instrument is not yet resolved."
    # limits that shrink
    POSITION_MAX = "position_max", "Shrunk to position_lots_max.", True
    EQUITY_SHARE = "equity_share", "Shrunk to the share of equity one instrument may use (20 % as shipped).", True
    ORDER_LOTS_MAX = "order_lots_max", "Shrunk to the largest single order in lots.", True
    ORDER_NOTIONAL_MAX = "order_notional_max", "Shrunk to the largest single order in quote currency.", True
    EXPOSURE_MAX = "exposure_max", "Shrunk to the largest exposure over all instruments.", True
    # execution
    DEAD_BAND = "dead_band", "The change is smaller than the dead-band; the position is held."
    BELOW_LOT = "below_lot", "The change rounds to less than one lot."
    MIN_NOTIONAL = "min_notional", "The order would be below the venue's smallest notional."
    SPOT_NO_SHORT = "spot_no_short", "Spot cannot be sold short: a target below zero becomes flat.", True
    SESSION_EXIT = "session_exit", "The window asked for a flat position."
