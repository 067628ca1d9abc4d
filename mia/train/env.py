"""The training environment: market columns computed beforehand by the live kernels, an exact ledger, fills one decision late.

At row t the policy sees row t and the account as it stands; what it wants is filled at the touch of row t + 1 with the
taker fee. The reward is the change of equity from row t to row t + 1 after that fill, in basis points of the cap, less a
small term for turnover. The account is marked at each row that passes, by the risk state of live. Nothing in an observation
comes from a later row.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from math import expm1, log
from typing import Any, Final, NamedTuple, Protocol

import gymnasium as gym
import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.instruments import Instrument
from mia.risk.limits import RiskSettings
from mia.risk.state import HOUR_NS, RiskState
from mia.shipped import config_file
from mia.train.ledger import Ledger

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_NEVER: Final = 1 << 62


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """One market, one row per decision.

    columns: names of features, [T, m] float32, normalised, all finite. bid_ticks, ask_ticks, ts_ns [T]. probs [T, 3]: the filter's.
    masks [T, k]: the observation's availability masks. low_ticks, high_ticks [T]: of the mids after the row before, up to this one;
    atr_ticks, bars [T]: average true range and bars closed by then. own: how the networks read the account's columns; None: as they are.
    labels [T]: hidden phase 0 range, 1 trend, 2 defensive, -1 unknown; used
    to choose where episodes start, never seen.
    """

    name: str
    instrument: Instrument
    columns: tuple[str, ...]
    features: F32
    bid_ticks: I64
    ask_ticks: I64
    ts_ns: I64
    probs: F32
    masks: F32
    labels: npt.NDArray[np.int8]
    low_ticks: F64
    high_ticks: F64
    atr_ticks: F64
    bars: I64
    own: OwnScale | None = None

    def rows(self, first: int, last: int) -> list[Row]:
        """Rows first .. last as plain numbers, which Python reads faster than arrays."""
        arrays = (self.ts_ns, self.bid_ticks, self.ask_ticks, self.low_ticks, self.high_ticks, self.atr_ticks, self.bars)
        return [Row._make(values) for values in zip(*(a[first : last + 1].tolist() for a in arrays), strict=True)]


class Row(NamedTuple):
    """The market at one row of a tape, as the account's columns need it; see Tape."""

    ts_ns: int
    bid_ticks: int
    ask_ticks: int
    low_ticks: float
    high_ticks: float
    atr_ticks: float
    bars: int

    @property
    def mid_ticks(self) -> float:
        """Half of bid and ask."""
        return (self.bid_ticks + self.ask_ticks) * 0.5


class OwnScale(msgspec.Struct, frozen=True):
    """What a policy reads of the account's columns x [k] at row t: clip(x * inv_std, +- clip) * weights[t]; weights [T, k]."""

    inv_std: F32
    clip: float
    weights: F32


class AccountColumns(Protocol):
    """Steps the account's columns with the kernel that live uses."""

    columns: tuple[str, ...]

    def fresh(self) -> AccountColumns:
        """The same columns for an account of its own."""
        ...

    def begin(self, tape: Tape, row: Row) -> None:
        """A flat account at this row, whatever was before."""
        ...

    def move(self, row: Row) -> None:
        """The market went on to this row, the next one; the account is still as it was last written."""
        ...

    def recall(self, row: Row, low: float, high: float, bars: int) -> None:
        """The open position saw these mids (in ticks) and bars before this row."""
        ...

    def write(self, row: Row, ledger: Ledger, state: AccountState, out: F32) -> None:
        """The columns at this row into out [len(columns)]."""
        ...


class AccountState(msgspec.Struct):
    """What the account remembers beside its ledger, with the lag of live: of decisions before this one."""

    cap_lots: int
    start_e8: int  # equity beside the ledger's
    risk: RiskState
    opened_ns: int = 0
    last_action: float = 0.0
    closed_ns: int = 0
    won: list[bool] = []
    score: float = 0.0
    score_until_ns: int = _NEVER  # when a closed trade is older than an hour

    def close(self, ts_ns: int, is_won: bool) -> None:
        """A round trip closed."""
        self.closed_ns = ts_ns
        self.won = [*self.won, is_won][-3:]
        self.risk.note_trade(ts_ns)
        self.score_until_ns = ts_ns

    def overtrade_score(self, ts_ns: int) -> float:
        """That of the risk state, which looks through all trades of the hour; here only when there is news."""
        if ts_ns >= self.score_until_ns:
            self.score = self.risk.overtrade_risk_score(ts_ns)
            self.score_until_ns = next((t + HOUR_NS for t in self.risk.trade_times_ns if t + HOUR_NS > ts_ns), _NEVER)  # oldest first
        return self.score


def shipped_risk() -> RiskSettings:
    """The limits of the shipped settings."""
    return msgspec.convert(tomllib.loads(config_file("miad.toml").read_text(encoding="utf-8"))["risk"], RiskSettings)


class EnvSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """cap_quote: notional at target 1. equity_quote: what the account begins with; risk: what its drawdown, day and trades are
    measured against (nothing is refused by it). dead_band: changes below this share of the cap are not traded.

    hold_rows: rows that one training step spans: the fill comes at the next row as ever, the rest is waiting, which
    tells apart a good decision from noise sooner. turnover_penalty_bps: on top of the fees, per cap traded.
    """

    cap_quote: float = 2_000.0
    equity_quote: float = 10_000.0
    risk: RiskSettings = msgspec.field(default_factory=shipped_risk)
    dead_band: float = 0.25
    episode_rows: int = 240
    hold_rows: int = 1
    turnover_penalty_bps: float = 1.5
    reward_scale: float = 0.2


class TradingEnv(gym.Env[F32, F32]):
    """One lane on randomly chosen stretches of tapes. Observation: market columns, account columns, masks. Action: target in [-1, 1]."""

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, tapes: Sequence[Tape], account: AccountColumns, settings: EnvSettings, regime: int = -1) -> None:
        """regime: start episodes only in rows of this phase; -1 anywhere."""
        self._tapes = tapes
        self._account = account.fresh()
        self._settings = settings
        self._market = len(tapes[0].columns)
        self._own = self._market + len(account.columns)
        width = self._own + tapes[0].masks.shape[1]
        self._width = width
        self._scratch = np.empty(len(account.columns), dtype=np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._starts = [self._start_rows(tape, regime) for tape in tapes]
        self._weights = np.cumsum([len(s) for s in self._starts])
        if self._weights[-1] == 0:
            raise ValueError(f"no row to start from in regime {regime}: give more or longer markets")
        self.tape = tapes[0]
        self.row = self._first = self._end = 0
        self._rows: list[Row] = []
        self.ledger = Ledger(tapes[0].instrument)
        self.state = self._flat()

    def _start_rows(self, tape: Tape, regime: int) -> I64:
        """Rows from which a whole episode fits."""
        last = len(tape.ts_ns) - self._settings.episode_rows - 1
        rows = np.arange(max(last, 0))
        return rows[tape.labels[: len(rows)] == regime] if regime >= 0 else rows

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[F32, dict[str, Any]]:
        """A new stretch; options {"tape": i, "row": r, "rows": n} choose it."""
        super().reset(seed=seed)
        if options:
            self.tape, self.row = self._tapes[options["tape"]], int(options.get("row", 0))
            rows = int(options.get("rows", len(self.tape.ts_ns) - 1 - self.row))
        else:
            pick = int(self.np_random.integers(self._weights[-1]))
            index = int(np.searchsorted(self._weights, pick, side="right"))
            starts = self._starts[index]
            self.tape, self.row = self._tapes[index], int(starts[pick - (self._weights[index] - len(starts))])
            rows = self._settings.episode_rows
        self._end = min(self.row + rows, len(self.tape.ts_ns) - 1)
        self._first, self._rows = self.row, self.tape.rows(self.row, self._end)
        self.ledger = Ledger(self.tape.instrument)
        self.state = self._flat()
        self._mark(self._rows[0])
        self._account.begin(self.tape, self._rows[0])
        if not options:
            if self.np_random.random() < 0.5:
                self._remember()
            if self.np_random.random() < 0.5:
                self._open(float(self.np_random.uniform(-1.0, 1.0)))
        return self.observe(), {}

    def _flat(self) -> AccountState:
        """An account to which nothing has happened yet."""
        settings = self._settings
        cap = cap_lots(self.tape, self.row, settings.cap_quote)
        return AccountState(cap, round(settings.equity_quote * 1e8), RiskState.of(settings.risk))

    def _mark(self, row: Row) -> int:
        """Value the account at this row; twice the ledger's equity."""
        equity_x2_e8 = self.ledger.equity_x2_e8(row.bid_ticks, row.ask_ticks)
        self.state.risk.update_equity(row.ts_ns, self.state.start_e8 + equity_x2_e8 // 2)
        return equity_x2_e8

    def _remember(self) -> None:
        """A made-up past of the account: an episode is minutes long, and live asks after hours of gains, losses and trades, too."""
        rng, state, ts = self.np_random, self.state, self._rows[0].ts_ns
        risk, limits = state.risk, self._settings.risk
        risk.peak_equity_e8 = int(risk.equity_e8 / (1.0 - limits.drawdown_max * rng.random() ** 2))
        risk.day_start_equity_e8 = int(risk.equity_e8 / (1.0 + limits.daily_loss_max * rng.uniform(-0.99, 0.99)))
        trades = int(limits.overtrade_trades_per_hour * rng.random() ** 2)
        for before_ns in sorted(rng.integers(0, HOUR_NS, trades).tolist(), reverse=True):
            state.close(ts - before_ns, bool(rng.random() < 0.5))

    def _open(self, share: float) -> None:
        """Start inside a position without cost, so that exits are learned as often as entries.

        It was opened at some price up to an hour ago, and saw better and worse ones since; what it gained before counts for nothing.
        """
        row, ledger, rng = self._rows[0], self.ledger, self.np_random
        self.state.last_action = share
        lots = int(share * self.state.cap_lots)
        if not lots:
            return
        mid, atr = row.mid_ticks, row.atr_ticks
        age_s = expm1(float(rng.uniform(0.0, log(3_600.0))))
        side = 1 if lots > 0 else -1
        entry = max(1, round(mid - atr * float(rng.normal(scale=1.0 + min(age_s, 900.0) ** 0.5))))
        ledger.fill(lots, entry)
        gained_e8 = ledger.equity_x2_e8(row.bid_ticks, row.ask_ticks) // 2
        ledger.cash_e8 -= gained_e8  # the fee among it
        ledger.start_e8 -= gained_e8 + ledger.fees_e8
        ledger.fees_e8 = 0
        self.state.opened_ns = row.ts_ns - int(age_s * 1e9)
        worst, best = (atr * abs(float(rng.normal(scale=3.0))) for _ in range(2))
        bars_per_ns = (self._rows[-1].bars - row.bars) / max(1, self._rows[-1].ts_ns - row.ts_ns)
        self._account.write(row, ledger, self.state, self._scratch)
        low, high = min(mid, entry) - (worst if side > 0 else best), max(mid, entry) + (best if side > 0 else worst)
        self._account.recall(row, low, high, int(age_s * 1e9 * bars_per_ns))

    def observe(self) -> F32:
        """The observation at the present row."""
        out = np.empty(self._width, dtype=np.float32)
        out[: self._market] = self.tape.features[self.row]
        own = out[self._market : self._own]
        self._account.write(self._rows[self.row - self._first], self.ledger, self.state, own)
        if (scale := self.tape.own) is not None:
            own *= scale.inv_std
            np.minimum(np.maximum(own, -scale.clip, out=own), scale.clip, out=own)
            own *= scale.weights[self.row]
        out[self._own :] = self.tape.masks[self.row]
        return out

    def step(self, action: F32) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        """Hold to the next row, then fill towards the action at that row's touch, then wait for the rest of hold_rows."""
        return self.act(float(action[0]), float(action[0]))

    def act(self, target: float, said: float) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        """A step towards a target that is not what the policy said, which `last_action` is: a gate stood between."""
        rows, k, state = self._rows, self.row - self._first, self.state
        before = self.ledger.equity_x2_e8(rows[k].bid_ticks, rows[k].ask_ticks)
        change = wanted_change(target, self.ledger.position_lots, state.cap_lots, self._settings.dead_band)
        row = rows[k := k + 1]
        self._account.move(row)
        was, closed = self.ledger.position_lots, self.ledger.closed
        self.ledger.fill(change, row.ask_ticks if change > 0 else row.bid_ticks)
        if self.ledger.closed > closed:
            state.close(row.ts_ns, self.ledger.profit_e8 > 0)
        if change and (was == 0 or was * self.ledger.position_lots < 0):
            state.opened_ns = row.ts_ns
        state.last_action = said
        after = self._mark(row)
        last = min(k + self._settings.hold_rows - 1, len(rows) - 1)
        if k < last:
            self._account.write(row, self.ledger, state, self._scratch)  # live sees the fill at the next row, not after the wait
        for row in rows[k + 1 : last + 1]:
            self._account.move(row)
            after = self._mark(row)
        self.row = self._first + last
        gained_e8 = (after - before) / 2.0
        unit_e8 = self._settings.cap_quote * 1e8
        bps = 1e4 * gained_e8 / unit_e8 - self._settings.turnover_penalty_bps * abs(change) / state.cap_lots
        return self.observe(), bps * self._settings.reward_scale, False, self.row >= self._end, {"gained_e8": gained_e8}


def cap_lots(tape: Tape, row: int, cap_quote: float) -> int:
    """Lots at target 1, rounded down, at least one."""
    mid_x2 = int(tape.bid_ticks[row] + tape.ask_ticks[row])
    return max(1, int(2 * round(cap_quote * 1e8) // (mid_x2 * tape.instrument.unit_e8)))


def wanted_change(action: float, position_lots: int, cap: int, dead_band: float) -> int:
    """Lots to trade towards the target; 0 inside the dead-band, which an exit passes as in live.

    Rounded towards zero: never more risk than asked for.
    """
    target = int(action * cap)
    change = target - position_lots
    return change if target == 0 or abs(change) >= dead_band * cap else 0
