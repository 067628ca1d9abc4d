"""Runs a decision function over tapes after costs, all tapes in step, with the alpha gate as the engine applies it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from mia.train.env import F32, AccountColumns, EnvSettings, Tape, TradingEnv

Decide = Callable[[F32, F32], tuple[F32, F32]]  # obs [S, n], probs [S, 3] -> action [S], alpha [S]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One tape. return_bps: net of fees and spread, of the cap; fills and turnover (multiples of the cap) per hour."""

    tape: str
    return_bps: float
    return_bps_per_hour: float
    fees_bps: float
    fills_per_hour: float
    turnover_per_hour: float
    time_in_market: float
    drawdown_bps: float
    openings: int
    refused: int


def evaluate(decide: Decide, tapes: Sequence[Tape], account: AccountColumns, settings: EnvSettings, alpha_min: float = 0.0) -> list[Result]:
    """Every tape from its first to its last row, starting flat; the last position is valued at mid."""
    envs = [TradingEnv(tapes, account, settings) for _ in tapes]
    obs = np.stack([env.reset(options={"tape": i})[0] for i, env in enumerate(envs)])
    books = [_Book() for _ in tapes]
    alive = list(range(len(envs)))
    while alive:
        probs = np.stack([envs[i].tape.probs[envs[i].row] for i in alive])
        action, alpha = decide(obs[alive], probs)
        for j, i in enumerate(list(alive)):
            env = envs[i]
            target = books[i].gate(float(action[j]), float(alpha[j]), env, alpha_min)
            before = env.ledger.traded_e8
            obs[i], _, _, done, info = env.act(target, float(action[j]))
            books[i].take(info["gained_e8"], env, env.ledger.traded_e8 - before)
            if done:
                alive.remove(i)
    return [book.result(env, settings.cap_quote) for book, env in zip(books, envs, strict=True)]


class _Book:
    """Sums of one run."""

    def __init__(self) -> None:
        self.equity = self.peak = self.drawdown = 0.0
        self.fills = self.rows = self.held = self.openings = self.refused = 0

    def gate(self, action: float, alpha: float, env: TradingEnv, alpha_min: float) -> float:
        """Openings below alpha_min are refused: a flip becomes an exit, a growth is held; what reduces passes."""
        position = env.ledger.position_lots / env.state.cap_lots
        grows = abs(action) > abs(position) + env._settings.dead_band or action * position < 0.0
        if not grows:
            return action
        self.openings += 1
        if alpha >= alpha_min:
            return action
        self.refused += 1
        return 0.0 if action * position < 0.0 else position

    def take(self, gained_e8: float, env: TradingEnv, traded_e8: int) -> None:
        """One row's outcome."""
        self.equity += gained_e8
        self.peak = max(self.peak, self.equity)
        self.drawdown = max(self.drawdown, self.peak - self.equity)
        self.fills += traded_e8 > 0
        self.rows += 1
        self.held += env.ledger.position_lots != 0

    def result(self, env: TradingEnv, cap_quote: float) -> Result:
        """In basis points of the cap and per hour."""
        unit = cap_quote * 1e8 / 1e4
        hours = max((int(env.tape.ts_ns[env.row]) - int(env.tape.ts_ns[0])) / 3.6e12, 1e-9)
        return Result(
            tape=env.tape.name,
            return_bps=self.equity / unit,
            return_bps_per_hour=self.equity / unit / hours,
            fees_bps=env.ledger.fees_e8 / unit,
            fills_per_hour=self.fills / hours,
            turnover_per_hour=env.ledger.traded_e8 / (cap_quote * 1e8) / hours,
            time_in_market=self.held / max(self.rows, 1),
            drawdown_bps=self.drawdown / unit,
            openings=self.openings,
            refused=self.refused,
        )
