"""One decision: features -> regimes -> policies -> gate -> risk and windows -> orders, and its record, acted on or not."""

from __future__ import annotations

from math import isfinite, nan, sqrt
from typing import TYPE_CHECKING, Final
from zlib import crc32

from mia.domain.codes import Code
from mia.domain.effects import AnyEffect, RaiseAlert, RecordDecision
from mia.domain.orders import Approved, Refused
from mia.execution.exposure import others_notional_e8
from mia.execution.planner import Plan, cap_lots, plan, target_lots
from mia.policy.ensemble import Ensemble
from mia.policy.strategy import Target
from mia.risk.review import gate_code, review

if TYPE_CHECKING:
    from mia.engine.engine import Engine
    from mia.engine.lane import Lane

DRIFT_MAJOR: Final = 0.25  # Siddiqi (2006): above it the inputs are not those of training any more
DRIFT_OVER: Final = 0.1  # below it an alert may come again
_NOTHING: Final = Target(nan, nan, (nan, nan, nan))
# Looked up once: until Python 3.12 a member is fetched from its enum by a call.
_OK: Final = Code.OK
_SESSION_EXIT: Final = Code.SESSION_EXIT
_OUT_OF_RANGE: Final = Code.FEATURE_OUT_OF_RANGE


class Decider:
    """Works on the engine's state; holds none of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine: Final = engine

    def set_limits(self, lane: Lane) -> None:
        """Take over limits that were lowered."""
        limits = self._engine.state.risk.limits
        lane.question.position_lots_max = limits.position_lots(lane.market.symbol)
        lane.question.order_lots_max = limits.order_lots(lane.market.symbol)

    def decide(self, lane: Lane, ts: int, out: list[AnyEffect]) -> None:
        """Run the lane's chain at ts and append what follows from it."""
        engine = self._engine
        state, known, market = engine.state, lane.state, lane.market
        known.last_decision_ns = ts
        state.decision_id = decision_id = state.decision_id + 1
        state.ids.begin(decision_id)
        state.counters.decisions += 1
        equity = engine.update_equity(ts, out)
        gate, target = self._ask(lane, ts, equity)
        held = market.position
        position = held.lots
        verdict = self._review(lane, ts, equity, gate, target)
        planned = self._plan(lane, verdict, position)
        slot = len(out)
        order_ids = engine.orders.emit(planned.effects, lane.index, ts, out)
        code = planned.code
        limit = actual = 0.0
        if type(verdict) is Refused:
            code, limit, actual = verdict.code, verdict.limit, verdict.actual
            verb = "refused"
        else:
            verb = _verb(position, planned) if order_ids else "hold"
            assert type(verdict) is Approved
            own = self._own_target(lane, verdict)
            if own != known.target_lots:
                known.target_lots = own
        self._count(code, verb)
        record = RecordDecision(
            decision_id,
            ts,
            lane.index,
            market.index,
            held.trade.trade_id if held.trade is not None else "",
            verb,
            target.signal,
            target.alpha,
            known.regime_probs,
            target.actions,
            code,
            limit,
            actual,
            position,
            planned.target_lots,
            crc32(lane.obs) if target is not _NOTHING and lane.width else 0,
            order_ids,
        )
        out.insert(slot, record)
        if gate is _OUT_OF_RANGE or known.out_of_range_row:
            self._note_range(lane, gate, out)
        if lane.drift is not None and (known.model_drift > DRIFT_MAJOR or known.is_drift_told):
            self._note_drift(lane, out)

    def _note_range(self, lane: Lane, gate: Code, out: list[AnyEffect]) -> None:
        """A model that is asked about a market it never saw stays silent: after many times in a row somebody should know."""
        known = lane.state
        known.out_of_range_row = known.out_of_range_row + 1 if gate is _OUT_OF_RANGE else 0
        if known.out_of_range_row == self._engine.config.out_of_range_max:
            column = lane.strategy.columns[lane.check_inputs() - lane.width]
            text = (
                f"lane {lane.index} ({lane.market.symbol}): {column} out of the model's range, {known.out_of_range_row} decisions in a row"
            )
            out.append(RaiseAlert("warning", "out_of_range", text))

    @staticmethod
    def _note_drift(lane: Lane, out: list[AnyEffect]) -> None:
        """Told once, and again only after the inputs were those of training in between."""
        known, meter = lane.state, lane.drift
        assert meter is not None
        if known.model_drift < DRIFT_OVER:
            known.is_drift_told = False
        elif known.model_drift > DRIFT_MAJOR and not known.is_drift_told:
            known.is_drift_told = True
            column = lane.drift_columns[meter.worst()]
            text = (
                f"lane {lane.index} ({lane.market.symbol}, {lane.strategy.name}): {column} is not spread as in training any more "
                f"(PSI {known.model_drift:.2f}, above {DRIFT_MAJOR}): look at `mia features drift`, fit the model again"
            )
            out.append(RaiseAlert("warning", "model_drift", text))

    def rehearse(self, lane: Lane) -> None:
        """Read what the lane's next decision will read, into its buffers; no state changes."""
        lane.plan.observe(self._engine.state.now_ns)
        lane.check_inputs()
        review(lane.question, self._engine.state.risk)

    def _ask(self, lane: Lane, ts: int, equity: int) -> tuple[Code, Target]:
        """Observe and infer; the gate's code, and what the policy said when it was asked at all."""
        self._set_account(lane, equity)
        plan = lane.plan
        plan.observe(ts)
        if lane.drift is not None:  # the account's columns hear of it at the next decision
            lane.drift.count()
            lane.state.model_drift = lane.drift.score()
        cold = plan.first_cold()
        if cold >= 0:
            return (Code.FEATURE_MISSING if plan.is_warm(cold) else Code.WARM_UP), _NOTHING
        bad = lane.check_inputs()
        if bad >= 0:
            return (Code.FEATURE_NOT_FINITE if bad < lane.width else _OUT_OF_RANGE), _NOTHING
        known, strategy = lane.state, lane.strategy
        if isinstance(strategy, Ensemble):
            target, known.said = strategy.blend(lane.obs, known.regime_probs, known.said)
        else:
            target = strategy.evaluate(lane.obs, known.regime_probs)
        gate = gate_code(target.signal, target.alpha, lane.alpha_min)
        if gate is _OK or (isfinite(target.signal) and isfinite(target.alpha)):
            known.last_action, known.last_alpha = target.signal, target.alpha
            known.dispersion = _dispersion(target.actions)
        return gate, target

    def _set_account(self, lane: Lane, equity: int) -> None:
        state, market = self._engine.state, lane.market
        risk, position = state.risk, market.position
        share_e9 = risk.limits.equity_share_max_e9
        lane.cap = cap = cap_lots(lane.question.position_lots_max, equity, share_e9, state.mid2[market.index], market.terms)
        if not lane.reads_account:
            return
        share = position.lots / cap if cap > 0 else 0.0
        known = lane.state
        lane.plan.set_account(
            max(-1.0, min(1.0, share)),
            position.average_entry_ticks,
            position.opened_ns,
            risk.drawdown_ratio,
            risk.day_pnl_ratio,
            state.overtrade_score,
            known.last_action,
            known.dispersion,
            known.last_alpha,
        )
        trades = market.state
        lane.plan.set_record(trades.closed_ns, len(trades.won), trades.won.count(True), known.model_drift)

    def _review(self, lane: Lane, ts: int, equity: int, gate: Code, target: Target) -> Approved | Refused:
        engine = self._engine
        state, market, q = engine.state, lane.market, lane.question
        known = market.state
        exposure = state.table.exposure(market.index)
        q.ts_ns = ts
        q.position_lots = market.position.lots
        q.buy_lots = exposure.buy_lots
        q.sell_lots = exposure.sell_lots
        q.reduce_buy_lots = exposure.reduce_buy_lots
        q.reduce_sell_lots = exposure.reduce_sell_lots
        if state.mid2[market.index] > 0:
            q.bid_ticks, q.ask_ticks = known.bid_ticks, known.ask_ticks
        else:
            q.bid_ticks = q.ask_ticks = 0
        q.quote_age_ns = ts - known.quote_ns
        q.equity_e8 = equity
        if len(engine.markets) > 1:
            q.others_notional_e8 = others_notional_e8(state.portfolio, state.table, state.marks2, market.index)
        q.is_enabled = state.is_enabled
        q.is_book_valid = not lane.needs_book or (market.book.is_valid() and not market.book.is_crossed())
        q.gate = gate
        window = lane.window
        if not (window.from_ns <= ts < window.until_ns):
            window = lane.window = engine.config.windows.state(ts, market.definition.family)
        q.window = window.code
        if window.is_flatten and q.position_lots:  # whatever the policy says, or when it cannot say anything
            q.target_lots = 0
            verdict = review(q, state.risk)
            return Approved(0, _SESSION_EXIT) if type(verdict) is Approved else verdict
        if not (-1.0 <= target.signal <= 1.0):
            # Nothing usable was said: judged as an opening, so that the record names the first rule in the way.
            q.target_lots = q.position_lots + 1
            verdict = review(q, state.risk)
            return verdict if type(verdict) is Refused else Refused(q.position_lots, gate)
        q.target_lots = lane.wish_lots = target_lots(target.signal, lane.cap)
        if len(market.lanes) > 1:
            q.target_lots = self._sum(lane, q.target_lots)
        return review(q, state.risk)

    @staticmethod
    def _sum(lane: Lane, own_lots: int) -> int:
        """What all lanes of the instrument want together; on spot a lane that wants to be short wants nothing."""
        total = own_lots if lane.market.terms.is_derivative or own_lots > 0 else 0
        for other in lane.market.lanes:
            if other is not lane:
                total += other.state.target_lots
        return total

    @staticmethod
    def _own_target(lane: Lane, verdict: Approved) -> int:
        """What the lane itself adds to the sum from here on: its own wish, not what limits left of all of them."""
        if verdict.code is _SESSION_EXIT or not (verdict.code is _OK or verdict.code.shrinks):
            return 0  # told to be flat, or only the closing half of a flip was granted
        own = lane.wish_lots
        return own if lane.market.terms.is_derivative or own > 0 else 0

    def _plan(self, lane: Lane, verdict: Approved | Refused, position: int) -> Plan:
        engine = self._engine
        config, state, market = engine.config, engine.state, lane.market
        if isinstance(verdict, Refused):
            if config.execution.entry != "limit" or state.mid2[market.index] == 0:
                return Plan(verdict.code, position)
            verdict = Approved(position, verdict.code)  # a resting entry is no longer wanted
        known = market.state
        return plan(verdict, position, lane.cap, known.bid_ticks, known.ask_ticks, market.terms, config.execution, state.table, state.ids)

    def _count(self, code: Code, verb: str) -> None:
        counters = self._engine.state.counters
        counters.verbs[verb] = counters.verbs.get(verb, 0) + 1
        if code is not _OK:
            counters.codes[code] = counters.codes.get(code, 0) + 1


def _verb(position: int, planned: Plan) -> str:
    """The word for what the position is about to do by an order."""
    target = planned.target_lots
    if target == position:
        return "hold"
    if target == 0:
        return "flat"
    if 0 < target < position or position < target < 0:
        return "reduce"
    return "buy" if target > position else "sell"


def _dispersion(actions: tuple[float, float, float]) -> float:
    """Population standard deviation of the three policies' actions."""
    a, b, c = actions
    mean = (a + b + c) / 3.0
    variance = ((a - mean) * (a - mean) + (b - mean) * (b - mean) + (c - mean) * (c - mean)) / 3.0
    return sqrt(variance) if variance > 0.0 else 0.0
