"""The trade-probability head: does a trade opened now and closed after the horizon make money after costs?

One small net over the normalised market columns and the regime probabilities gives two logits, for a long and for a
short trade. Account columns have zero weight: the chance of a trade does not depend on what is held.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from mia.train.env import F32, Tape
from mia.train.graph import Layer
from mia.train.stats import auc, brier

F64 = npt.NDArray[np.float64]


class AlphaReport(msgspec.Struct, frozen=True, kw_only=True):
    """Out of sample, both sides pooled. brier_constant: of the training base rate, the score to beat."""

    base_rate: float
    brier: float
    brier_constant: float
    auc: float
    rows: int


def labels(tape: Tape, horizon_s: float) -> tuple[npt.NDArray[np.bool_], F64]:
    """(usable [T], pays [T, 2] for long and short): buy at the next row's ask, sell at the bid horizon_s later, taker fee on both."""
    ts = tape.ts_ns
    entry = np.minimum(np.arange(len(ts)) + 1, len(ts) - 1)
    leave = np.searchsorted(ts, ts[entry] + int(horizon_s * 1e9))
    usable = leave < len(ts)
    leave = np.minimum(leave, len(ts) - 1)
    fee = float(tape.instrument.taker_fee)
    bid, ask = tape.bid_ticks.astype(np.float64), tape.ask_ticks.astype(np.float64)
    long_net = bid[leave] * (1.0 - fee) - ask[entry] * (1.0 + fee)
    short_net = bid[entry] * (1.0 - fee) - ask[leave] * (1.0 + fee)
    return usable, np.stack([long_net > 0.0, short_net > 0.0], axis=1).astype(np.float64)


def dataset(tapes: Sequence[Tape], horizon_s: float) -> tuple[F32, F64]:
    """Inputs [N, m + 3] (normalised market columns, regime probabilities) and what paid [N, 2]."""
    inputs, targets = [], []
    for tape in tapes:
        usable, pays = labels(tape, horizon_s)
        inputs.append(np.concatenate([tape.features, tape.probs], axis=1)[usable])
        targets.append(pays[usable])
    return np.concatenate(inputs), np.concatenate(targets)


def fit_alpha(
    train: Sequence[Tape], validation: Sequence[Tape], horizon_s: float, seed: int, *, hidden: int = 32, epochs: int = 12
) -> tuple[list[Layer], float]:
    """Two layers over [market, probabilities], and the base rate in training. Early stop and Platt scaling on validation."""
    torch.manual_seed(seed)
    x, y = (torch.from_numpy(a.astype(np.float32)) for a in dataset(train, horizon_s))
    xv, yv = (torch.from_numpy(a.astype(np.float32)) for a in dataset(validation, horizon_s))
    base = float(y.mean().clamp(1e-3, 1.0 - 1e-3))
    last_layer = torch.nn.Linear(hidden, 2)
    torch.nn.init.zeros_(last_layer.weight)
    torch.nn.init.constant_(last_layer.bias, float(np.log(base / (1.0 - base))))
    net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], hidden), torch.nn.ReLU(), last_layer)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    loss = torch.nn.BCEWithLogitsLoss()
    best, kept = float("inf"), [p.detach().clone() for p in net.parameters()]
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x), generator=generator), 512):
            optimiser.zero_grad()
            loss(net(x[rows]), y[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            score = float(loss(net(xv), yv))
        if score < best:
            best, kept = score, [p.detach().clone() for p in net.parameters()]
    first, first_bias, last, last_bias = kept
    with torch.no_grad():
        logits = torch.relu(xv @ first.T + first_bias) @ last.T + last_bias
    slope, shift = _platt(logits, yv)
    return [
        Layer(first.T.contiguous().numpy(), first_bias.numpy()),
        Layer((last * slope).T.contiguous().numpy(), (last_bias * slope + shift).numpy()),
    ], base


def _platt(logits: torch.Tensor, y: torch.Tensor) -> tuple[float, float]:
    """slope and shift of the logits that fit best; slope in [0.2, 2], so that a bad validation cannot turn the order."""
    slope, shift = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, shift], max_iter=50)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits * slope + shift, y)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(slope.detach().clamp(0.2, 2.0)), float(shift.detach())


def probabilities(layers: Sequence[Layer], inputs: F32) -> F64:
    """P(pays) for long and short, [N, 2]."""
    hidden = np.maximum(inputs @ layers[0].weight + layers[0].bias, 0.0)
    out: F64 = 1.0 / (1.0 + np.exp(-(hidden @ layers[1].weight + layers[1].bias).astype(np.float64)))
    return out


def report(layers: Sequence[Layer], base: float, tapes: Sequence[Tape], horizon_s: float) -> AlphaReport:
    """Scores on tapes that neither training nor calibration saw."""
    x, y = dataset(tapes, horizon_s)
    p, outcome = probabilities(layers, x).ravel(), y.ravel()
    constant = np.full_like(outcome, base)
    return AlphaReport(
        base_rate=base, brier=brier(p, outcome), brier_constant=brier(constant, outcome), auc=auc(p, outcome), rows=len(outcome)
    )


def with_account(layers: Sequence[Layer], account_columns: int) -> list[Layer]:
    """The same head over the full observation: zero weight for the account's columns, which lie between market and probabilities."""
    weight = layers[0].weight
    zeros = np.zeros((account_columns, weight.shape[1]), dtype=np.float32)
    return [Layer(np.concatenate([weight[:-3], zeros, weight[-3:]]), layers[0].bias), layers[1]]
