"""The answer to `mia status`: everything that tells an operator what the daemon does, holds and waits for."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from mia import __version__
from mia.control.messages import InstrumentStatus, LaneStatus, Latency, MaskedColumns, Status
from mia.domain.effects import RecordDecision
from mia.domain.instruments import MONEY_SCALE
from mia.engine.engine import Engine
from mia.engine.lane import Lane, Market
from mia.features.plan import Missing, missing_columns
from mia.store.reconciled import LastReconciled
from miad.core import Core
from miad.latency import Latencies
from miad.links import Links
from miad.states import StateKeeper

_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Identity:
    """What does not change in a life."""

    def __init__(self, *, instance: str, mode: str, venue: str, run: int, state_dir: Path, config_file: Path, start_cash: Decimal) -> None:
        self.instance, self.mode, self.venue, self.run = instance, mode, venue, run
        self.state_dir, self.config_file, self.start_cash = state_dir, config_file, start_cash


class Reporter:
    """Builds `Status`; called by the control socket, the heartbeat and MQTT's health."""

    def __init__(
        self,
        identity: Identity,
        core: Core,
        keeper: StateKeeper,
        links: Links,
        *,
        now_ns: Callable[[], int],
        loop_delay: Callable[[], Latency],
        tasks: Callable[[], tuple[str, ...]],
        decisions: dict[int, RecordDecision],
        queues: Callable[[], dict[str, int]],
        dropped: Callable[[], dict[str, int]],
        alerts: Callable[[], tuple[dict[str, int], str]],
    ) -> None:
        """now_ns: engine time as the shell sees it; queues, dropped: of all parts, by name; alerts: raised by severity, and the newest."""
        self._identity: Final = identity
        self._core: Final = core
        self._keeper: Final = keeper
        self._links: Final = links
        self._loop_delay: Final = loop_delay
        self._now_ns: Final = now_ns
        self._tasks: Final = tasks
        self._decisions: Final = decisions
        self._queues: Final = queues
        self._dropped: Final = dropped
        self._alerts: Final = alerts
        self._compared: Final = LastReconciled(identity.state_dir)
        self._started_s: Final = time.monotonic()
        self._cpu_seen: tuple[float, float] = (time.monotonic(), time.process_time())
        self._cpu_percent = 0.0

    def status(self) -> Status:
        """A fresh one."""
        engine, condition, who = self._core.engine, self._keeper.look(), self._identity
        state = engine.state
        counters, portfolio, risk = state.counters, state.portfolio, state.risk
        equity = portfolio.equity_e8(state.marks2)
        alerts, last_alert = self._alerts()
        compared = self._compared.look()
        return Status(
            version=__version__,
            instance=who.instance,
            mode=who.mode,
            venue=who.venue,
            run=who.run,
            pid=os.getpid(),
            state=condition.word,
            reasons=condition.reasons,
            ts=utc(time.time_ns()),
            engine_ts=utc(state.now_ns) if state.now_ns else "",
            uptime_s=round(time.monotonic() - self._started_s, 1),
            state_dir=str(who.state_dir),
            config_file=str(who.config_file),
            currency=portfolio.currency,
            equity=money(equity),
            cash=money(portfolio.cash_e8),
            start_cash=f"{who.start_cash:f}",
            day_profit=money(equity - risk.day_start_equity_e8) if risk.is_started else "",
            drawdown=round(risk.drawdown, 6),
            reconciled_day=compared.day if compared else "",
            reconciled_difference=money(compared.difference_e8) if compared else "",
            reconciled_trades=compared.trades if compared else 0,
            seq=self._core.seq,
            events=counters.market_events,
            decisions=counters.decisions,
            orders=counters.orders,
            fills=counters.fills,
            trades=counters.trades,
            refused={str(code): n for code, n in sorted(counters.codes.items(), key=lambda item: (-item[1], str(item[0])))},
            alerts=alerts,
            last_alert=last_alert,
            instruments=tuple(self._instrument(engine, market) for market in engine.markets),
            lanes=tuple(self._lane(lane) for lane in engine.lanes),
            links=self._links.statuses(),
            loop_delay=self._loop_delay(),
            decision_latency=_latency(self._core.latencies),
            queues=self._queues(),
            dropped={name: n for name, n in self._dropped().items() if n},
            journal_bytes=_bytes((who.state_dir / "journal").glob("journal-*")),
            wal_bytes=_bytes([who.state_dir / "miad.db-wal"]),
            rss_mb=round(int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MB, 1),
            cpu_percent=self._cpu(),
            tasks=self._tasks(),
        )

    def _instrument(self, engine: Engine, market: Market) -> InstrumentStatus:
        known, position, definition = market.state, market.position, market.definition
        mid2 = engine.state.marks2[market.index]
        entry = Decimal(position.average_entry_ticks).quantize(Decimal("0.01")) * definition.tick_size if position.lots else None
        return InstrumentStatus(
            name=market.symbol,
            bid=f"{definition.price(known.bid_ticks):f}" if known.bid_lots > 0 else "",
            ask=f"{definition.price(known.ask_ticks):f}" if known.ask_lots > 0 else "",
            quote_age_ms=round(max(0, self._now_ns() - known.quote_ns) / 1e6, 1) if known.quote_ns else None,
            position=f"{definition.quantity(position.lots):f}",
            entry=f"{entry:f}" if entry is not None else "",
            stop=f"{definition.price(position.stop_ticks):f}" if position.lots and position.stop_ticks else "",
            take=f"{definition.price(position.take_ticks):f}" if position.lots and position.take_ticks else "",
            unrealized=money(position.unrealized_e8(mid2)) if position.lots else "0",
            open_orders=len(engine.state.table.exposure(market.index).open_ids),
        )

    def _lane(self, lane: Lane) -> LaneStatus:
        last = self._decisions.get(lane.index)
        cold = lane.plan.first_cold()
        columns = lane.strategy.columns
        name = columns[cold] if 0 <= cold < len(columns) else f"column {cold} of the regime" if cold >= 0 else ""
        return LaneStatus(
            instrument=lane.market.symbol,
            strategy=lane.strategy.name,
            last_decision=last.decision if last is not None else "",
            code=str(last.code) if last is not None else "",
            signal=finite(last.signal) if last is not None else None,
            alpha=finite(last.alpha) if last is not None else None,
            regime_probs=lane.state.regime_probs,
            decided_age_s=round(max(0, self._now_ns() - last.ts_ns) / 1e9, 2) if last is not None else None,
            cold_column=name,
            columns=len(lane.plan.columns),
            masked=masked(lane),
            **drift(lane),
        )

    def _cpu(self) -> float:
        """Percent of one core since the last look that is a second old."""
        now = (time.monotonic(), time.process_time())
        since_s = now[0] - self._cpu_seen[0]
        if since_s >= 1.0:
            self._cpu_percent = round(100 * (now[1] - self._cpu_seen[1]) / since_s, 1)
            self._cpu_seen = now
        return self._cpu_percent


def utc(ns: int) -> str:
    """ISO 8601 to the millisecond."""
    return datetime.fromtimestamp(ns // 1_000_000 / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def money(e8: int) -> str:
    """Plain decimal with cents."""
    return f"{(Decimal(e8) / MONEY_SCALE).quantize(Decimal('0.01')):f}"


def finite(value: float) -> float | None:
    """None for NaN, which JSON cannot say."""
    return round(value, 6) if value == value else None


def _latency(ring: Latencies) -> Latency:
    """A ring in milliseconds."""
    found = ring.percentiles_us(50, 99, 100)
    if found is None:
        return Latency()
    p50, p99, top = (round(us / 1000, 4) for us in found)
    return Latency(n=ring.count, p50_ms=p50, p99_ms=p99, max_ms=top)


def _bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):  # compressed or removed meanwhile
            total += path.stat().st_size
    return total


def drift(lane: Lane) -> dict[str, Any]:
    """drift and drift_column of LaneStatus."""
    worst = lane.drift.worst() if lane.drift is not None else -1
    return {"drift": round(lane.state.model_drift, 4), "drift_column": lane.drift_columns[worst]} if worst >= 0 else {}


def masked(lane: Lane) -> list[MaskedColumns]:
    """The lane's columns without a value, together where the reason is the same; those that warm up by the slowest of them."""
    groups: dict[tuple[str, bool, bool], list[str]] = {}
    warming: dict[bool, list[Missing]] = {}
    for missing in missing_columns(lane.plan):
        if missing.is_warming:
            warming.setdefault(missing.is_waited_for, []).append(missing)
        else:
            groups.setdefault((missing.why, False, missing.is_waited_for), []).append(missing.column)
    for is_waited_for, columns in warming.items():
        groups[_how_long(columns), True, is_waited_for] = [missing.column for missing in columns]
    return [
        MaskedColumns(why=why, columns=names, is_warming=is_warming, is_waited_for=is_waited_for)
        for (why, is_warming, is_waited_for), names in groups.items()
    ]


def _how_long(warming: list[Missing]) -> str:
    """`warms up, about 40 s left (ret_60: 21 of 61 bars)`, of the slowest; and of the first that waits for what nobody can time."""
    timed = [missing for missing in warming if missing.left_s is not None]
    parts = []
    if timed:
        slowest = max(timed, key=lambda missing: missing.left_s or 0.0)
        parts.append(f"about {_duration(slowest.left_s or 0.0)} left ({slowest.column}: {slowest.why.removeprefix('warms up: ')})")
    if other := next((missing for missing in warming if missing.left_s is None), None):
        parts.append(f"{other.column}: {other.why.removeprefix('warms up: ')}")
    return f"warms up, {'; '.join(parts)}"


def _duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 5 h."""
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{math.ceil(seconds / size)} {unit}"
    return f"{math.ceil(seconds / 86_400)} days"
