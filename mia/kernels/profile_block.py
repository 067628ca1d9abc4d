"""Where the volume of the session lies by price: point of control, value area, and those of sessions before."""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from cython.cimports.mia.kernels.num import div, ratio
    from cython.cimports.mia.kernels.profile import Profile
    from cython.cimports.mia.kernels.session_watch import SessionWatch
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory, atr_of, bars_pushed, last_bar
    from mia.kernels.num import div, ratio
    from mia.kernels.profile import Profile
    from mia.kernels.session_watch import SessionWatch

SLOTS = (
    "poc_distance", "vah_distance", "val_distance", "in_value_area", "value_width", "volume_at_price_pct", "value_area_skew",
    "volume_above_share", "prev_poc_distance", "prev_vah_distance", "prev_val_distance", "value_overlap_prev", "naked_poc_pull",
)  # fmt: skip

NAKED_MAX = 10  # sessions whose point of control is remembered


@cython.final
@cython.cclass
class ProfileBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    s: 0 point of control, 1 high and 2 low of the value area of the session before, 0.0 where there is none. naked: points of control
    of sessions before, 0.0 once traded at. q: 0 points ever put there.
    """

    profile: Profile
    watch: SessionWatch
    naked_max: cython.longlong
    s: cython.double[::1]
    naked: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.profile = Profile(arena)
        self.watch = SessionWatch(arena)
        self.naked_max = NAKED_MAX
        self.s = arena.doubles(3)
        self.naked = arena.doubles(NAKED_MAX)
        self.q = arena.longs(1)

    @cython.cfunc
    def bar(self) -> cython.longlong:
        """A bar was pushed: write the features of bars."""
        x: BarHistory = self.hist
        i: cython.Py_ssize_t = last_bar(x)
        if self.watch.step(x.session):
            self._turn()
        lots: cython.double = x.v[i]
        # An empty bar changes nothing of the profile.
        if lots > 0.0 and self.profile.add(x.l[i], x.h[i], x.notional[i] / lots, lots) == 1:
            self.profile.settle()
        self._session(x.c[i], atr_of(x))
        self._before(x.c[i], atr_of(x))
        self._naked(i, atr_of(x))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _turn(self) -> cython.longlong:
        """A session begins: keep what the last one left, if it was seen from its start."""
        known: cython.bint = self.watch.was_whole() and self.profile.lots() > 0.0
        self.s[0] = self.profile.control() if known else 0.0
        self.s[1] = self.profile.value_high() if known else 0.0
        self.s[2] = self.profile.value_low() if known else 0.0
        if known:
            self.naked[self.q[0] % self.naked_max] = self.s[0]
            self.q[0] += 1
        self.profile.clear()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _session(self, c: cython.double, atr: cython.double) -> cython.longlong:
        """The profile of the session so far."""
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        empty: cython.longlong = 0 if self.profile.lots() > 0.0 else 1
        for k in range(8):
            self.absent[b + k] = empty
        if empty == 1:
            return 0
        poc: cython.double = self.profile.control()
        top: cython.double = self.profile.value_high()
        bottom: cython.double = self.profile.value_low()
        self.pool[b] = ratio(c - poc, atr, 200.0)
        self.pool[b + 1] = ratio(c - top, atr, 200.0)
        self.pool[b + 2] = ratio(c - bottom, atr, 200.0)
        self.pool[b + 3] = 1.0 if bottom <= c and c <= top else 0.0
        self.pool[b + 4] = ratio(top - bottom, atr, 200.0)
        self.pool[b + 5] = self.profile.height(c)
        self.pool[b + 6] = div(2.0 * poc - top - bottom, top - bottom)
        self.pool[b + 7] = self.profile.above(c)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _before(self, c: cython.double, atr: cython.double) -> cython.longlong:
        """The profile of the session before."""
        b: cython.Py_ssize_t = self.base
        k: cython.Py_ssize_t
        unknown: cython.longlong = 0 if self.s[0] > 0.0 else 1
        for k in range(8, 11):
            self.absent[b + k] = unknown
        self.absent[b + 11] = 1 if unknown == 1 or self.absent[b] == 1 else 0
        if unknown == 1:
            return 0
        self.pool[b + 8] = ratio(c - self.s[0], atr, 200.0)
        self.pool[b + 9] = ratio(c - self.s[1], atr, 200.0)
        self.pool[b + 10] = ratio(c - self.s[2], atr, 200.0)
        top: cython.double = self.profile.value_high()
        bottom: cython.double = self.profile.value_low()
        common: cython.double = (top if top < self.s[1] else self.s[1]) - (bottom if bottom > self.s[2] else self.s[2]) + 1.0
        span: cython.double = (top if top > self.s[1] else self.s[1]) - (bottom if bottom < self.s[2] else self.s[2]) + 1.0
        self.pool[b + 11] = div(common, span) if common > 0.0 else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _naked(self, i: cython.Py_ssize_t, atr: cython.double) -> cython.longlong:
        """The nearest point of control of past sessions that price has not come back to."""
        x: BarHistory = self.hist
        c: cython.double = x.c[i]
        high: cython.double = x.h[i]
        low: cython.double = x.l[i]
        if bars_pushed(x) > 1:  # a level between two bars was crossed
            high = x.c[i - 1] if x.c[i - 1] > high else high
            low = x.c[i - 1] if x.c[i - 1] < low else low
        nearest: cython.double = 0.0
        gap: cython.double = -1.0
        d: cython.double
        k: cython.Py_ssize_t
        for k in range(self.naked_max):
            if self.naked[k] > 0.0:
                if low <= self.naked[k] and self.naked[k] <= high:
                    self.naked[k] = 0.0
                    continue
                d = self.naked[k] - c
                if gap < 0.0 or (d if d > 0.0 else -d) < gap:
                    gap = d if d > 0.0 else -d
                    nearest = d
        pull: cython.double = div(atr, atr + gap) if gap >= 0.0 else 0.0
        self.pool[self.base + 12] = pull if nearest >= 0.0 else -pull
        self.absent[self.base + 12] = 1 if self.q[0] == 0 else 0
        return 0
