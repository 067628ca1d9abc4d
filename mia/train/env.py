"""The training environment: market columns computed beforehand by the live kernels, an exact ledger, fills one decision late.

At row t the policy sees row t and the account as it stands; what it wants is filled at the touch of row t + 1 with the
taker fee. The reward is the change of equity from row t to row t + 1 after that fill, in basis points of the cap, less a
small term for turnover. Nothing in an observation comes from a later row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import msgspec
import numpy as np
import numpy.typing as npt

from mia.domain.instruments import Instrument
from mia.train.ledger import Ledger

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class Tape(msgspec.Struct, frozen=True, kw_only=True):
    """One market, one row per decision.

    columns: names of features, [T, m] float32, normalised, all finite. bid_ticks, ask_ticks, ts_ns [T]. probs [T, 3]: the filter's.
    masks [T, k]: the observation's availability masks. labels [T]: hidden phase 0 range, 1 trend, 2 defensive, -1 unknown; used
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


class AccountColumns(Protocol):
    """Steps the account's columns with the kernel that live uses."""

    columns: tuple[str, ...]

    def write(self, tape: Tape, row: int, ledger: Ledger, state: AccountState, out: F32) -> None:
        """The columns at this row into out [len(columns)]."""
        ...


class AccountState(msgspec.Struct):
    """What the account remembers beside its ledger, with the lag of live: of decisions before this one."""

    cap_lots: int
    opened_ns: int = 0
    last_action: float = 0.0
    closed_ns: int = 0
    won: list[bool] = []


class EnvSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """cap_quote: notional at target 1. dead_band: changes below this share of the cap are not traded.

    hold_rows: rows that one training step spans: the fill comes at the next row as ever, the rest is waiting, which
    tells apart a good decision from noise sooner. turnover_penalty_bps: on top of the fees, per cap traded.
    """

    cap_quote: float = 2_000.0
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
        self._account = account
        self._settings = settings
        self._market = len(tapes[0].columns)
        self._own = self._market + len(account.columns)
        width = self._own + tapes[0].masks.shape[1]
        self._width = width
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._starts = [self._start_rows(tape, regime) for tape in tapes]
        self._weights = np.cumsum([len(s) for s in self._starts])
        if self._weights[-1] == 0:
            raise ValueError(f"no row to start from in regime {regime}: give more or longer markets")
        self.tape = tapes[0]
        self.row = self._end = 0
        self.ledger = Ledger(tapes[0].instrument)
        self.state = AccountState(1)

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
        self.ledger = Ledger(self.tape.instrument)
        self.state = AccountState(cap_lots(self.tape, self.row, self._settings.cap_quote))
        if not options and self.np_random.random() < 0.5:
            self._open(float(self.np_random.uniform(-1.0, 1.0)))
        return self.observe(), {}

    def _open(self, share: float) -> None:
        """Start inside a position at mid without cost, so that exits are learned as often as entries."""
        tape, row = self.tape, self.row
        lots = int(share * self.state.cap_lots)
        mid = int(tape.bid_ticks[row] + tape.ask_ticks[row]) // 2
        self.ledger.fill(lots, mid)
        self.ledger.cash_e8 += self.ledger.fees_e8
        self.ledger.fees_e8 = 0
        self.state.opened_ns = int(tape.ts_ns[row])
        self.state.last_action = share

    def observe(self) -> F32:
        """The observation at the present row."""
        out = np.empty(self._width, dtype=np.float32)
        out[: self._market] = self.tape.features[self.row]
        self._account.write(self.tape, self.row, self.ledger, self.state, out[self._market : self._own])
        out[self._own :] = self.tape.masks[self.row]
        return out

    def step(self, action: F32) -> tuple[F32, float, bool, bool, dict[str, Any]]:
        """Hold to the next row, then fill towards the action at that row's touch, then wait for the rest of hold_rows."""
        tape, row, state = self.tape, self.row, self.state
        before = self.ledger.equity_x2_e8(int(tape.bid_ticks[row]), int(tape.ask_ticks[row]))
        change = wanted_change(float(action[0]), self.ledger.position_lots, state.cap_lots, self._settings.dead_band)
        row = self.row = row + 1
        bid, ask = int(tape.bid_ticks[row]), int(tape.ask_ticks[row])
        was, closed = self.ledger.position_lots, self.ledger.closed
        self.ledger.fill(change, ask if change > 0 else bid)
        if self.ledger.closed > closed:
            state.closed_ns = int(tape.ts_ns[row])
            state.won = [*state.won, self.ledger.profit_e8 > 0][-3:]
        if change and (was == 0 or was * self.ledger.position_lots < 0):
            state.opened_ns = int(tape.ts_ns[row])
        state.last_action = float(action[0])
        row = self.row = min(row + self._settings.hold_rows - 1, self._end)
        bid, ask = int(tape.bid_ticks[row]), int(tape.ask_ticks[row])
        gained_e8 = (self.ledger.equity_x2_e8(bid, ask) - before) / 2.0
        unit_e8 = self._settings.cap_quote * 1e8
        bps = 1e4 * gained_e8 / unit_e8 - self._settings.turnover_penalty_bps * abs(change) / state.cap_lots
        return self.observe(), bps * self._settings.reward_scale, False, row >= self._end, {"gained_e8": gained_e8}


def cap_lots(tape: Tape, row: int, cap_quote: float) -> int:
    """Lots at target 1, rounded down, at least one."""
    mid_x2 = int(tape.bid_ticks[row] + tape.ask_ticks[row])
    return max(1, int(2 * round(cap_quote * 1e8) // (mid_x2 * tape.instrument.unit_e8)))


def wanted_change(action: float, position_lots: int, cap: int, dead_band: float) -> int:
    """Lots to trade towards the target; 0 inside the dead-band. Rounded towards zero: never more risk than asked for."""
    change = int(action * cap) - position_lots
    return change if abs(change) >= dead_band * cap else 0
