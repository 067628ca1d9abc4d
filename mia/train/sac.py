"""One soft actor-critic per regime with stable-baselines3; gives back plain arrays and a log, never a pickle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from mia.policy.manifest import REGIMES
from mia.train.env import F32, AccountColumns, EnvSettings, Tape, TradingEnv
from mia.train.graph import Layer


class SacSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """steps: environment steps per regime. One gradient step follows every steps_per_update of them.

    target_entropy: far below SB3's default of -1: fees are paid on |change|, and a policy that explores with wide noise
    pays them anyway, so its mean never learns to stand still.
    """

    steps: int
    hidden: int  # units of each of the two hidden layers
    environments: int = 8
    steps_per_update: int = 4
    batch_size: int = 256
    learning_rate: float = 1e-3
    gamma: float = 0.95
    buffer_rows: int = 100_000
    learning_starts: int = 500
    entropy_start: float = 0.05
    target_entropy: float = -3.0
    hold_rows: int = 3
    log_every_steps: int = 2_000


class Trained(msgspec.Struct, frozen=True):
    """layers: of the deterministic actor, the last before tanh. predicted [N]: what SB3's own predict says to the check inputs."""

    regime: str
    layers: list[Layer]
    predicted: F32
    log: list[dict[str, Any]]
    seconds: float


class _Log(BaseCallback):
    """Collects rows of train_sac_performance.csv."""

    def __init__(self, regime: str, every: int) -> None:
        super().__init__()
        self._regime, self._every, self._next = regime, every, every
        self._rewards: list[float] = []
        self._started = time.perf_counter()
        self.rows: list[dict[str, Any]] = []
        self._process = psutil.Process()
        self._process.cpu_percent()

    def _on_step(self) -> bool:
        self._rewards.extend(self.locals["rewards"].tolist())
        if self.num_timesteps >= self._next:
            self._next += self._every
            self.rows.append(
                {
                    "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "algo": "sac",
                    "regime": self._regime,
                    "reward": round(float(np.mean(self._rewards)), 6),
                    "finetune_loss": "",
                    "maml_steps": 0,
                    "online_steps": self.num_timesteps,
                    "operation": "fit",
                    "latency": round(1e3 * (time.perf_counter() - self._started), 1),
                    "success": 1,
                    "memory_usage_mb": round(self._process.memory_info().rss / 1e6, 1),
                    "cpu_percent": self._process.cpu_percent(),
                }
            )
            self._rewards = []
        return True


def train_regime(
    regime: int, tapes: Sequence[Tape], account: AccountColumns, env: EnvSettings, settings: SacSettings, seed: int, check: F32
) -> Trained:
    """Train on episodes that start in one phase. Tapes are normalised already; check [N, n]: normalised inputs for the export's gate."""
    torch.set_num_threads(1)  # two threads on a shared machine were ten times slower
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    held = msgspec.structs.replace(env, hold_rows=settings.hold_rows)
    envs = DummyVecEnv([lambda: TradingEnv(tapes, account, held, regime) for _ in range(settings.environments)])
    model = SAC(
        "MlpPolicy",
        envs,
        seed=seed,
        device="cpu",
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        gamma=settings.gamma,
        buffer_size=settings.buffer_rows,
        learning_starts=settings.learning_starts,
        train_freq=1,
        gradient_steps=max(1, settings.environments // settings.steps_per_update),
        target_entropy=settings.target_entropy,
        ent_coef=f"auto_{settings.entropy_start}",
        policy_kwargs={"net_arch": [settings.hidden, settings.hidden]},
    )
    log = _Log(REGIMES[regime], settings.log_every_steps)
    model.learn(settings.steps, callback=log)
    predicted = model.predict(check, deterministic=True)[0][:, 0]
    return Trained(REGIMES[regime], actor_layers(model), predicted.astype(np.float32), log.rows, time.perf_counter() - started)


def actor_layers(model: SAC) -> list[Layer]:
    """The deterministic actor as arrays: hidden layers, then the mean."""
    actor = model.actor
    linear = [m for m in [*actor.latent_pi.children(), actor.mu] if isinstance(m, torch.nn.Linear)]
    return [Layer(m.weight.detach().numpy().T.copy(), m.bias.detach().numpy().copy()) for m in linear]
