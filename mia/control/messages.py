"""What travels over the control socket: one JSON object a line, request and answer, in Structs that both sides share.

The socket is `control.sock` in the state directory, for its owner only (0600 in a 0700 folder): whoever can open it may command.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

SOCKET_NAME: Final = "control.sock"
LINE_BYTES_MAX: Final = 1 << 20
# Verbs that change what the daemon does; the rest only read.
COMMANDS: Final = ("pause", "resume", "flatten", "kill", "reload")
READS: Final = ("status", "ping")


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question or command."""

    verb: str
    args: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: `result` when ok, else one line of why and the exit code that `mia` gives."""

    ok: bool
    result: Any = None
    error: str = ""
    exit_code: int = 0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a command did: the result of every verb in COMMANDS. args: pause, flatten, kill take `reason` (text), resume `reset` (bool)."""

    before: str  # daemon state before the command
    after: str  # right after it; what takes longer (a flatten) is in `follows`
    reasons: tuple[str, ...] = ()  # why not READY, after it
    follows: str = ""  # what happens next, in words: "closes 0.02 BTCUSDT at market", "took over risk.daily_loss_max"


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One connection of the daemon: feed, broker, mqtt, metrics."""

    name: str
    state: str  # connecting | up | degraded | down
    detail: str = ""
    since_s: float = 0.0  # seconds in this state


class InstrumentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument: what it costs now and what we hold. Prices as plain text on its grid, "" where not known."""

    name: str  # venue:SYMBOL
    bid: str = ""
    ask: str = ""
    quote_age_ms: float | None = None  # None: never seen
    position: str = "0"  # signed, in units of the base
    entry: str = ""
    stop: str = ""
    take: str = ""
    unrealized: str = "0"  # account currency
    open_orders: int = 0


class MaskedColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Columns of a lane that have no value for one reason."""

    why: str
    columns: list[str]
    is_warming: bool = False
    is_waited_for: bool = False  # nothing is decided until they have one


class LaneStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One lane: who decides, and the last decision in short."""

    instrument: str
    strategy: str
    last_decision: str = ""  # buy, sell, reduce, flat, hold, refused; "" before the first
    code: str = ""  # why refused, held or shrunk
    signal: float | None = None
    alpha: float | None = None
    regime_probs: tuple[float, float, float] | None = None
    decided_age_s: float | None = None
    cold_column: str = ""  # the first feature that is not warm yet
    columns: int = 0  # that the lane computes
    masked: list[MaskedColumns] = []
    drift: float | None = None  # largest PSI of the model's most important columns; None: not measured (yet)
    drift_column: str = ""  # whose it is


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution in milliseconds; n = 0: nothing measured yet."""

    n: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon at one moment; the answer to `status`, and what MQTT's `health` carries."""

    version: str
    instance: str
    mode: str  # paper | live | replay
    venue: str
    run: int
    pid: int
    state: str  # STARTING READY DEGRADED NO_NEW SAFE HALTED KILLED STOPPING
    reasons: tuple[str, ...] = ()  # why not READY, in words
    ts: str  # UTC, of this answer
    engine_ts: str = ""  # UTC, engine time
    uptime_s: float = 0.0
    state_dir: str = ""
    config_file: str = ""
    currency: str = ""
    equity: str = ""
    cash: str = ""
    start_cash: str = ""
    day_profit: str = ""  # since the start of the UTC day
    drawdown: float = 0.0
    reconciled_day: str = ""  # UTC, the last that was compared with its backtest (`mia backtest reconcile --record`)
    reconciled_difference: str = ""  # of it, live less backtest
    reconciled_trades: int = 0
    seq: int = 0
    events: int = 0
    decisions: int = 0
    orders: int = 0
    fills: int = 0
    trades: int = 0
    refused: dict[str, int] = {}  # decisions by code
    alerts: dict[str, int] = {}  # raised in this run, by severity
    last_alert: str = ""  # its severity and text
    instruments: tuple[InstrumentStatus, ...] = ()
    lanes: tuple[LaneStatus, ...] = ()
    links: tuple[LinkStatus, ...] = ()
    loop_delay: Latency = Latency()  # of the event loop
    decision_latency: Latency = Latency()  # frame to order, inside the process
    queues: dict[str, int] = {}  # alerts, logs, projection lag in events, ...
    dropped: dict[str, int] = {}  # alerts, logs, frames by reason
    journal_bytes: int = 0
    wal_bytes: int = 0
    rss_mb: float = 0.0
    cpu_percent: float = 0.0
    tasks: tuple[str, ...] = ()
