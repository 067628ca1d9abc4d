"""The review: a wanted position, judged against every rule. Pure integers; a refusal is a value with its figures.

Order of the rules; the first one that is broken is reported:
1. kill, missing quote, stale quote: refuse whatever is asked, exits too;
2. spot cannot be short: the target becomes flat;
3. a target between flat and the present position is a reduction: approved as it is, nothing below applies;
4. trading disabled, invalid book, gate (warm-up, features, action, alpha), session and calendar, daily loss, drawdown
   stop, cool-down, order rate, price collar: refuse an opening; of a flip only the closing half is left;
5. position, share of equity, order lots, order notional, exposure: shrink to the largest allowed size; of a flip the
   closing half is always left.
Sizes are judged with everything in flight filled against us and no cancel working: other opening orders of the
instrument, and before a flip the reduce-only orders that may flatten the position first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from mia.domain.codes import Code
from mia.domain.orders import Approved, Refused
from mia.domain.sizing import SHARE_SCALE, Terms
from mia.risk.limits import Limits
from mia.risk.state import RiskState

_UNKNOWN_AGE: Final = -1
_OK: Final = Code.OK  # looked up once: until Python 3.12 a member is fetched from its enum by a call


@dataclass(slots=True)
class Question:
    """What review reads of the world, reused by the caller from decision to decision (one per lane).

    No Struct: nothing is encoded, and setting a field of one costs four times as much.
    """

    # of the instrument; set once, and again when a limit was lowered
    lane: int
    unit_e8: int
    margin_e9: int
    is_derivative: bool
    position_lots_max: int
    order_lots_max: int
    # of this decision
    ts_ns: int = 0
    target_lots: int = 0
    position_lots: int = 0
    buy_lots: int = 0  # open orders of the instrument, as mia.execution.table.Exposure counts them
    sell_lots: int = 0
    reduce_buy_lots: int = 0
    reduce_sell_lots: int = 0
    bid_ticks: int = 0  # 0: no quote
    ask_ticks: int = 0
    quote_age_ns: int = _UNKNOWN_AGE  # negative counts as stale
    price_ticks: int = 0  # of the order; 0: the touch it takes or joins
    equity_e8: int = 0
    others_notional_e8: int = 0  # worst case of all other instruments
    is_enabled: bool = False
    is_book_valid: bool = False
    gate: Code = Code.OK  # warm-up, features, action and alpha, see `gate_code`
    window: Code = Code.OK  # of mia.risk.windows

    @staticmethod
    def of(lane: int, terms: Terms, symbol: str, limits: Limits) -> Question:
        """The fixed part for one lane."""
        lots, order_lots = limits.position_lots(symbol), limits.order_lots(symbol)
        return Question(lane, terms.unit_e8, terms.margin_e9, terms.is_derivative, lots, order_lots)


def gate_code(signal: float, alpha: float, alpha_min: float) -> Code:
    """Is what the policy said usable: ACTION_INVALID, ALPHA_INVALID (no target can be made of it), ALPHA_BELOW_MIN (exits pass)."""
    if not (-1.0 <= signal <= 1.0):
        return Code.ACTION_INVALID
    if not (0.0 <= alpha <= 1.0):
        return Code.ALPHA_INVALID
    if not (alpha >= alpha_min and math.isfinite(alpha_min)):
        return Code.ALPHA_BELOW_MIN
    return _OK


def review(q: Question, state: RiskState) -> Approved | Refused:
    """Judge q.target_lots; see the module for the order of rules."""
    target, position, limits = q.target_lots, q.position_lots, state.limits
    if state.is_killed:
        return Refused(target, Code.KILLED)
    bid, ask = q.bid_ticks, q.ask_ticks
    if not (bid > 0 and ask > 0):
        return Refused(target, Code.QUOTE_MISSING)
    if not (0 <= q.quote_age_ns <= limits.quote_age_max_ns):
        return Refused(target, Code.QUOTE_STALE, limits.quote_age_max_ns / 1e6, q.quote_age_ns / 1e6)
    code = _OK
    if target < 0 and not q.is_derivative:
        target, code = 0, Code.SPOT_NO_SHORT
    if 0 <= target <= position or position <= target <= 0:
        return Approved(target, code)
    refused = _refusal(q, state)
    if refused is not None:
        if target * position < 0:
            return Approved(0, refused.code)
        return refused
    if _fits(q, limits):
        return Approved(target)
    return _shrink(q, limits)


def _refusal(q: Question, state: RiskState) -> Refused | None:
    """The first rule that forbids to open, or None."""
    limits = state.limits
    target = q.target_lots
    if not q.is_enabled:
        return Refused(target, Code.TRADING_DISABLED)
    mid2 = q.bid_ticks + q.ask_ticks
    if not (q.is_book_valid and q.bid_ticks <= q.ask_ticks):
        return Refused(target, Code.BOOK_INVALID)
    if q.gate is not _OK:
        return Refused(target, q.gate)
    if q.window is not _OK:
        return Refused(target, q.window)
    if state.is_daily_loss_reached:
        limit_e8 = limits.daily_loss_max_e9 * state.day_start_equity_e8 // SHARE_SCALE
        return Refused(target, Code.DAILY_LOSS, limit_e8 / 1e8, (state.day_start_equity_e8 - state.equity_e8) / 1e8)
    if state.is_drawdown_tripped:
        return Refused(target, Code.DRAWDOWN_STOP, limits.drawdown_max_e9 / SHARE_SCALE, state.drawdown)
    if state.cool_until_ns and q.ts_ns < state.cool_until_ns.get(q.lane, 0):
        return Refused(target, Code.COOL_DOWN, state.cool_until_ns[q.lane] / 1e9, q.ts_ns / 1e9)
    if state.is_order_rate_reached(q.ts_ns):
        rate = float(limits.orders_per_minute_max)  # an int would come back from the journal as other bytes
        return Refused(target, Code.ORDER_RATE, rate, rate)
    price = q.price_ticks or (q.ask_ticks if target > q.position_lots else q.bid_ticks)
    if not (abs(2 * price - mid2) * SHARE_SCALE <= limits.price_collar_max_e9 * mid2):
        return Refused(target, Code.PRICE_COLLAR, limits.price_collar_max_e9 / 1e5, abs(2 * price - mid2) * 1e4 / mid2)
    return None


def _fits(q: Question, limits: Limits) -> bool:
    """True when no size limit cuts an opening: the common case, by products instead of divisions."""
    if q.target_lots > 0:
        size, held, reserved, reducing = q.target_lots, q.position_lots, q.buy_lots, q.reduce_buy_lots
    else:
        size, held, reserved, reducing = -q.target_lots, -q.position_lots, q.sell_lots, q.reduce_sell_lots
    if held < 0:
        reserved += min(reducing, -held)
    reach = size + reserved
    change = size - held
    if not (reach <= q.position_lots_max and change <= q.order_lots_max):
        return False
    value2 = (q.bid_ticks + q.ask_ticks) * q.unit_e8  # doubled notional of one lot at the mid
    reach2 = reach * value2
    return (
        change * value2 <= 2 * limits.order_notional_max_e8
        and reach2 + 2 * q.others_notional_e8 <= 2 * limits.exposure_notional_max_e8
        and reach2 * q.margin_e9 <= 2 * q.equity_e8 * limits.equity_share_max_e9
    )


def _shrink(q: Question, limits: Limits) -> Approved:
    """The target, cut to the largest allowed size; the code is of the first limit that cut."""
    target = q.target_lots
    value2 = (q.bid_ticks + q.ask_ticks) * q.unit_e8  # doubled notional of one lot at the mid
    equity_e8 = q.equity_e8 if q.equity_e8 > 0 else 0
    if target > 0:
        sign, size, held = 1, target, q.position_lots
        reserved = q.buy_lots + (min(q.reduce_buy_lots, -held) if held < 0 else 0)
    else:
        sign, size, held = -1, -target, -q.position_lots
        reserved = q.sell_lots + (min(q.reduce_sell_lots, -held) if held < 0 else 0)
    floor = held if held > 0 else 0  # what is in flight elsewhere is no reason to sell what we hold
    code = Code.OK

    cap = q.position_lots_max
    allowed = max(cap - reserved, min(cap, floor))
    if not (size <= allowed):
        size, code = allowed, Code.POSITION_MAX

    cap = 2 * equity_e8 * limits.equity_share_max_e9 // (value2 * q.margin_e9)
    allowed = max(cap - reserved, min(cap, floor))
    if not (size <= allowed):
        size, code = allowed, code if code is not Code.OK else Code.EQUITY_SHARE

    allowed = held + q.order_lots_max
    if not (size <= allowed):
        size, code = allowed, code if code is not Code.OK else Code.ORDER_LOTS_MAX

    allowed = held + 2 * limits.order_notional_max_e8 // value2
    if not (size <= allowed):
        size, code = allowed, code if code is not Code.OK else Code.ORDER_NOTIONAL_MAX

    room_e8 = limits.exposure_notional_max_e8 - q.others_notional_e8
    cap = 2 * room_e8 // value2 if room_e8 > 0 else 0
    allowed = max(cap - reserved, min(cap, floor))
    if not (size <= allowed):
        size, code = allowed, code if code is not Code.OK else Code.EXPOSURE_MAX
    if size < 0:
        size = 0  # of a flip the closing half is a reduction: no size limit cuts it
    return Approved(sign * size, code)
