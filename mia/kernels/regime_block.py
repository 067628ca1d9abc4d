"""Regime features: a hidden Markov model filtered forward over other columns of the same plan, one step per closed bar."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import log
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, bars_pushed
    from cython.cimports.mia.kernels.hmm import HmmFilter
    from cython.cimports.mia.kernels.num import clip, div, ln1p_pos, ratio, root
    from cython.cimports.mia.kernels.roll import Ring
else:
    from math import log

    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, bars_pushed
    from mia.kernels.hmm import HmmFilter
    from mia.kernels.num import clip, div, ln1p_pos, ratio, root
    from mia.kernels.roll import Ring

SLOTS = (
    "p_range", "p_trend", "p_defensive", "regime_entropy", "p_switch", "regime_age", "expected_dwell", "loglik_z", "dp_trend_10",
    "vol_state",
)  # fmt: skip

_ENTER = cython.declare(cython.double, 0.6)  # probabilities at which the discrete label, which only regime_age reads, comes and goes
_LEAVE = cython.declare(cython.double, 0.4)


@cython.final
@cython.cclass
class RegimeBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. Its inputs must have been written before it is called.

    s: 0 mean and 1 variance of past log-likelihoods. q: 0 label (1, 2, 3; 0: undecided), 1 bars since it was entered, 2 steps.
    """

    hmm: HmmFilter
    bars: cython.longlong
    trend: Ring
    s: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(
        self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory, hmm: HmmFilter | None = None, bars: int = 0
    ) -> None:
        """hmm: its index holds slots of the pool; None: no model, all is absent. bars: closed bars after which its inputs are warm."""
        Block.__init__(self, arena, pool, base, hist)
        self.hmm = hmm
        self.bars = bars
        self.trend = Ring(arena, 11)
        self.s = arena.doubles(2)
        self.q = arena.longs(3)

    def probs(self) -> tuple[float, ...] | None:
        """Range, trend and defensive after the last step, also while an input is absent; None until warm."""
        return self.hmm.state() if self.hmm is not None and self.hmm.is_warm() else None

    @cython.cfunc
    def cool(self) -> cython.longlong:
        """After a long pause the filter begins again from its start, and with it what is measured against its past."""
        k: cython.Py_ssize_t
        if self.hmm is None:
            return 0
        self.hmm.reset()
        for k in range(3):
            self.q[k] = 0
        self.s[0] = 0.0
        self.s[1] = 0.0
        for k in range(10):
            self.absent[self.base + k] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _step(self) -> cython.bint:
        """Let the filter take this bar, if all of its inputs are there."""
        f: HmmFilter = self.hmm
        if f is None or bars_pushed(self.hist) < self.bars:
            return False
        i: cython.Py_ssize_t
        for i in range(f._d):
            if self.absent[f._index[i]] != 0:
                return False
        return f.step(self.pool)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed and all other blocks have written theirs: step the filter and write."""
        b: cython.Py_ssize_t = self.base
        if self.hmm is None and self.absent[b] != 0:  # no model, and the marks stand
            return 0
        k: cython.Py_ssize_t
        stepped: cython.bint = self._step()
        if stepped:
            self._write()
        there: cython.bint = stepped and self.hmm.is_warm()
        for k in range(10):
            self.absent[b + k] = 0 if there else 1
        if there:
            if self.q[2] <= 20:
                self.absent[b + 7] = 1
            if self.q[2] <= 10:
                self.absent[b + 8] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _write(self) -> cython.longlong:
        f: HmmFilter = self.hmm
        b: cython.Py_ssize_t = self.base
        entropy: cython.double = 0.0
        leaving: cython.double = 1.0
        x: cython.double
        k: cython.Py_ssize_t
        top: cython.Py_ssize_t = 0
        for k in range(3):
            x = f.prob(k)
            self.pool[b + k] = x
            if x > 0.0:
                entropy -= x * log(x)
            leaving -= x * f.stay(k)
            if x > f.prob(top):
                top = k
        self.pool[b + 3] = clip(entropy / 1.0986122886681098, 0.0, 1.0)  # ln 3
        self.pool[b + 4] = clip(leaving, 0.0, 1.0)
        self._label(top)
        x = 1.0 * self.q[1]
        self.pool[b + 5] = ln1p_pos(clip(x, 0.0, 1e6))
        x = 1.0 - f.stay(top)
        self.pool[b + 6] = clip(-log(x) / 6.907755278982137, 0.0, 1.0) if x > 1e-300 else 1.0  # ln 1000
        x = f.loglik()
        self.pool[b + 7] = ratio(x - self.s[0], root(self.s[1]), 10.0)
        self.q[2] += 1
        k = self.q[2] if self.q[2] < 100 else 100
        x -= self.s[0]
        weight: cython.double = div(1.0, 1.0 * k)
        self.s[0] += weight * x
        self.s[1] = (1.0 - weight) * (self.s[1] + weight * x * x)
        self.trend.push(self.pool[b + 1])
        self.pool[b + 8] = self.pool[b + 1] - self.trend.back(10) if self.q[2] > 10 else 0.0
        self.pool[b + 9] = clip(f.surprise(), -10.0, 10.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _label(self, top: cython.Py_ssize_t) -> cython.longlong:
        """Hysteresis: a label is left below _LEAVE and entered above _ENTER; between the two nothing is decided anew."""
        f: HmmFilter = self.hmm
        if self.q[0] > 0 and f.prob(self.q[0] - 1) >= _LEAVE:
            self.q[1] += 1
        elif f.prob(top) > _ENTER:
            self.q[0] = top + 1
            self.q[1] = 0
        else:
            self.q[0] = 0
            self.q[1] = 0
        return 0
