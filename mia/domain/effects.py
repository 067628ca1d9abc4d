"""Effects: wishes of the engine. Nothing of them happens before they are in the journal."""

from __future__ import annotations

import msgspec


class Effect(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """Root of all effects."""


class SubmitOrder(Effect, frozen=True, gc=False, array_like=True, tag="submit"):
    """Send one order, once. Never sent again: an unknown outcome is queried."""

    client_order_id: str
    instrument: int
    side: int
    order_type: str
    qty_lots: int
    price_ticks: int
    stop_ticks: int
    reduce_only: bool
    post_only: bool
    purpose: str
    decision_id: int
    group: str  # orders of one group cancel each other (stop and take of one position); "" for none


class CancelOrder(Effect, frozen=True, gc=False, array_like=True, tag="cancel"):
    """Cancel one order."""

    client_order_id: str
    instrument: int


class ReplaceOrder(Effect, frozen=True, gc=False, array_like=True, tag="replace"):
    """Change size or prices of one working order; qty_lots is the new total size including what filled."""

    client_order_id: str
    instrument: int
    qty_lots: int
    price_ticks: int
    stop_ticks: int


class QueryOrder(Effect, frozen=True, gc=False, array_like=True, tag="query"):
    """Ask the venue what became of an order."""

    client_order_id: str
    instrument: int


class RequestReconciliation(Effect, frozen=True, gc=False, array_like=True, tag="reconcile"):
    """Ask the venue for open orders, positions and balances."""

    venue: str


class RecordDecision(Effect, frozen=True, gc=False, array_like=True, tag="decision"):
    """One decision, acted on or not. NaN where a value was not reached (no inference while warming up)."""

    decision_id: int
    ts_ns: int
    lane: int
    instrument: int
    trade_id: str  # of the open trade; "" when flat
    decision: str  # buy | sell | reduce | flat | hold | refused
    signal: float  # the blended target in [-1, 1]
    alpha: float
    regime_probs: tuple[float, float, float]  # range, trend, defensive
    actions: tuple[float, float, float]  # of the three policies
    code: str
    limit: float
    actual: float
    position_lots: int
    target_lots: int
    inputs_crc: int
    order_ids: tuple[str, ...]


class RecordTrade(Effect, frozen=True, gc=False, array_like=True, tag="trade_record"):
    """A round trip at its opening (is_closed False) and at its close."""

    trade_id: str
    instrument: int
    is_closed: bool
    side: int
    opened_ns: int
    closed_ns: int
    entry_price: float  # average, quote currency
    exit_price: float
    max_lots: int
    profit_e8: int  # net of fees and of cash flows
    fees_e8: int
    fills: int
    regime_probs: tuple[float, float, float]  # at the opening decision
    flows_e8: int = 0  # funding, borrow and the like while it was open: above 0 was received


class RecordRisk(Effect, frozen=True, gc=False, array_like=True, tag="risk_record"):
    """The state of the risk rules, once a minute and when a stop trips."""

    ts_ns: int
    equity_e8: int
    cash_e8: int
    drawdown: float
    overtrade_risk_score: float
    penalty_active: bool


class RaiseAlert(Effect, frozen=True, gc=False, array_like=True, tag="alert"):
    """Tell a human."""

    severity: str  # info | warning | error | urgent
    code: str
    text: str


class Halt(Effect, frozen=True, gc=False, array_like=True, tag="halt"):
    """No orders but protective ones until the operator clears it."""

    reason: str


AnyEffect = (
    SubmitOrder | CancelOrder | ReplaceOrder | QueryOrder | RequestReconciliation
    | RecordDecision | RecordTrade | RecordRisk | RaiseAlert | Halt
)  # fmt: skip
