"""News, social posts and the predictions of slow models: what is known by now, how old it is, and whether it still counts.

An item counts from the second in which it is known (known_ns), never earlier; its age runs in whole seconds, so that the sums are
made once a second and not with every tick. A source that was silent for 24 h is taken for dead, not for quiet; an item without
impact is a heartbeat: it says that the source lives and counts for nothing else. A prediction counts from known_ns to until_ns.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip, decay, div, ln1p_pos, ratio, root
else:
    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip, decay, div, ln1p_pos, ratio, root

SLOTS = (
    "news_score", "news_impact_score", "news_count_1h", "news_dispersion", "social_score", "news_age", "predicted_vix", "pred_short",
    "pred_medium", "pred_long", "pred_agreement", "pred_age", "news_momentum", "news_negative_share", "social_count_1h", "pred_revision",
)  # fmt: skip
ITEMS = 128  # kept of each source; of more than that within six hours the newest count

_SECOND = cython.declare(cython.longlong, 1_000_000_000)
_HOUR = cython.declare(cython.longlong, 3_600_000_000_000)
_DAY = cython.declare(cython.longlong, 86_400_000_000_000)
_NEVER = cython.declare(cython.longlong, -4_000_000_000_000_000_000)


@cython.final
@cython.cclass
class Feed:
    """The last items of one source, and the sums over those that are known.

    state: 0 items ever heard, 1 when anything was heard first (0: never) and 2 last, ns. decayed: scratch, exp(-age / 1 h) of each item
    as of the sum. out: what `sum` found.
    """

    score: cython.double[::1]
    weight: cython.double[::1]
    known: cython.longlong[::1]
    state: cython.longlong[::1]
    decayed: cython.double[::1]
    out: cython.double[::1]

    def __init__(self, arena: Arena) -> None:
        self.score = arena.doubles(ITEMS)
        self.weight = arena.doubles(ITEMS)  # impact times novelty
        self.known = arena.longs(ITEMS)
        self.state = arena.longs(3)
        self.decayed = arena.doubles(ITEMS)
        self.out = arena.doubles(8)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def hear(self, t_ns: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong) -> cython.longlong:
        """Keep one item; its novelty is 1 / (1 + items of its sign known within the hour before it)."""
        if self.state[1] == 0:
            self.state[1] = t_ns
        self.state[2] = t_ns
        if impact <= 0.0:
            return 0
        same: cython.double = 0.0
        k: cython.Py_ssize_t
        for k in range(self.state[0] if self.state[0] < 128 else 128):
            if self.score[k] * score > 0.0 and self.known[k] <= known_ns and known_ns - self.known[k] <= _HOUR:
                same += 1.0
        k = self.state[0] % 128
        self.score[k] = score
        self.weight[k] = impact / (1.0 + same)
        self.known[k] = known_ns
        self.state[0] += 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def lives(self, t_ns: cython.longlong) -> cython.bint:
        """Was anything heard within 24 h?"""
        return self.state[1] != 0 and t_ns - self.state[2] <= _DAY

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def sum(self, t_ns: cython.longlong) -> cython.longlong:
        """Fill out with sums over the items known at t_ns, a whole second.

        out: 0 number within six hours; with w = exp(-age / 1 h) of those: 1 sum of w, 2 of w s, 3 of w s s, 4 of w max(-s, 0),
        5 the largest abs(s) weight within an hour, 6 how unusual the count of the last hour is, 7 ln(1 + minutes) of the newest's age.
        """
        n: cython.double = 0.0
        total: cython.double = 0.0
        first: cython.double = 0.0
        square: cython.double = 0.0
        negative: cython.double = 0.0
        top: cython.double = 0.0
        hour: cython.double = 0.0
        day: cython.double = 0.0
        w: cython.double
        x: cython.double
        newest: cython.longlong = _NEVER
        oldest: cython.longlong = t_ns
        age: cython.longlong
        k: cython.Py_ssize_t
        kept: cython.Py_ssize_t = self.state[0] if self.state[0] < 128 else 128
        for k in range(kept):  # apart from the sums, which then stay in registers
            age = t_ns - self.known[k]
            if 0 <= age <= 6 * _HOUR:
                self.decayed[k] = decay(age, 3600.0)
        for k in range(kept):
            age = t_ns - self.known[k]
            if age < 0:
                continue
            if self.known[k] > newest:
                newest = self.known[k]
            if self.known[k] < oldest:
                oldest = self.known[k]
            if age <= _DAY:
                day += 1.0
            if age > 6 * _HOUR:
                continue
            x = self.score[k]
            w = self.decayed[k]
            n += 1.0
            total += w
            first += w * x
            square += w * x * x
            negative -= w * (x if x < 0.0 else 0.0)  # no branch: the signs of scores cannot be guessed
            if age <= _HOUR:
                hour += 1.0
                x = abs(x) * self.weight[k]
                top = x if x > top else top
        self.out[0] = n
        self.out[1] = total
        self.out[2] = first
        self.out[3] = square
        self.out[4] = negative
        self.out[5] = top
        age = t_ns - self.state[1]  # how long we listen, a day at most; with a full ring, what it spans
        if self.state[0] > 128 and t_ns - oldest < age:
            age = t_ns - oldest
        if age > _DAY:
            age = _DAY
        w = age / 3_600e9
        x = div(day, w)  # the usual number an hour
        self.out[6] = ratio(hour - x, root(x), 10.0)
        self.out[7] = -1.0
        if newest > _NEVER:
            w = (t_ns - newest) / 60e9
            self.out[7] = ln1p_pos(w)
        return 0


@cython.final
@cython.cclass
class Slot:
    """What one slow series says now, what it said before, and what it will say once that is known.

    Three rows of (value, weight) and (known, until): before, now, later. A value that is heard out of order is dropped.
    """

    x: cython.double[::1]
    q: cython.longlong[::1]

    def __init__(self, arena: Arena) -> None:
        self.x = arena.doubles(6)
        self.q = arena.longs(9)  # known, until, and whether the row is filled

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def hear(
        self, t_ns: cython.longlong, value: cython.double, weight: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """Take one value."""
        if self.q[8] != 0 and self.q[6] <= t_ns:  # what was to come has come
            self._move(1, 0)
            self._move(2, 1)
            self.q[8] = 0
        if known_ns > t_ns:
            self._set(2, value, weight, known_ns, until_ns)
        elif self.q[5] == 0 or known_ns >= self.q[3]:
            self._move(1, 0)
            self._set(1, value, weight, known_ns, until_ns)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _set(
        self, row: cython.Py_ssize_t, value: cython.double, weight: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        self.x[2 * row] = value
        self.x[2 * row + 1] = weight
        self.q[3 * row] = known_ns
        self.q[3 * row + 1] = until_ns
        self.q[3 * row + 2] = 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _move(self, source: cython.Py_ssize_t, target: cython.Py_ssize_t) -> cython.longlong:
        if self.q[3 * source + 2] != 0:
            self._set(target, self.x[2 * source], self.x[2 * source + 1], self.q[3 * source], self.q[3 * source + 1])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def row(self, t_ns: cython.longlong) -> cython.Py_ssize_t:
        """The row that holds at t_ns: 1 or 2; -1 when nothing is known or it is past its until_ns."""
        k: cython.Py_ssize_t = 1
        if self.q[8] != 0 and self.q[6] <= t_ns:
            k = 2
        if self.q[3 * k + 2] == 0 or t_ns > self.q[3 * k + 1]:
            return -1
        return k


@cython.final
@cython.cclass
class NewsBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml. state: 0 the second of the last sums, 1 which must be made
    anew within it (bit 0: of news, bit 1: of posts), 2 whether any news and 3 whether any prediction was ever heard."""

    items: Feed
    posts: Feed
    vix: Slot
    vix_ahead: Slot
    short: Slot
    medium: Slot
    far: Slot
    state: cython.longlong[::1]
    lean: cython.double[::1]

    def __init__(self, arena: Arena, pool: memoryview[float], base: int, hist: BarHistory) -> None:
        Block.__init__(self, arena, pool, base, hist)
        self.items = Feed(arena)
        self.posts = Feed(arena)
        self.vix = Slot(arena)
        self.vix_ahead = Slot(arena)
        self.short = Slot(arena)
        self.medium = Slot(arena)
        self.far = Slot(arena)
        self.state = arena.longs(4)
        self.lean = arena.doubles(4)  # scratch: sum, sum of abs, number, newest known

    @cython.cfunc
    def reference(
        self, t_ns: cython.longlong, series: cython.longlong, value: cython.double, known_ns: cython.longlong, until_ns: cython.longlong
    ) -> cython.longlong:
        """VIX, number 0 of mia.features.series.REFERENCES."""
        if series == 0 and value > 0.0:
            self.vix.hear(t_ns, value, 1.0, known_ns, until_ns)
        return 0

    @cython.cfunc
    def news(
        self, t_ns: cython.longlong, source: cython.longlong, score: cython.double, impact: cython.double, known_ns: cython.longlong
    ) -> cython.longlong:
        """An item of NEWS_SOURCES: 0 news, 1 social."""
        if source == 0:
            self.items.hear(t_ns, score, impact, known_ns)
            self.state[1] |= 1
        elif source == 1:
            self.posts.hear(t_ns, score, impact, known_ns)
            self.state[1] |= 2
        self.state[2] = 1
        return 0

    @cython.cfunc
    def predicted(
        self,
        t_ns: cython.longlong,
        name: cython.longlong,
        value: cython.double,
        confidence: cython.double,
        known_ns: cython.longlong,
        until_ns: cython.longlong,
    ) -> cython.longlong:
        """A prediction of PREDICTIONS: 0 vix, a level; 1 short, 2 medium, 3 long: the probability of a rise. Others are not ours."""
        if name > 3:
            return 0
        self.state[3] = 1
        if name == 0:
            if value > 0.0:
                self.vix_ahead.hear(t_ns, value, confidence, known_ns, until_ns)
            return 0
        value = clip(value, 0.0, 1.0)
        if name == 1:
            self.short.hear(t_ns, value, confidence, known_ns, until_ns)
        elif name == 2:
            self.medium.hear(t_ns, value, confidence, known_ns, until_ns)
        elif name == 3:
            self.far.hear(t_ns, value, confidence, known_ns, until_ns)
        return 0

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        if self.state[2] == 0 and self.state[3] == 0 and self.absent[self.base] != 0:  # nothing was ever heard, and the marks stand
            return 0
        second: cython.longlong = t_ns // 1_000_000_000 * 1_000_000_000
        if self.state[3] != 0 or self.absent[self.base + 7] == 0:
            self._predictions(t_ns)
        if second != self.state[0]:
            self.state[0] = second
            self.state[1] = 3
        if self.state[1] & 1 != 0:
            self._items(second)
        if self.state[1] & 2 != 0:
            self._posts(second)
        self.state[1] = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _set(self, k: cython.Py_ssize_t, there: cython.bint, value: cython.double) -> cython.longlong:
        self.pool[self.base + k] = value if there else 0.0
        self.absent[self.base + k] = 0 if there else 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _items(self, t_ns: cython.longlong) -> cython.longlong:
        f: Feed = self.items
        lives: cython.bint = f.lives(t_ns)
        if lives:
            f.sum(t_ns)
        mean: cython.double = div(f.out[2], f.out[1])
        magnitude: cython.double = f.out[4] + (f.out[2] + f.out[4])  # of the negative and of the positive scores
        self._set(0, lives, div(f.out[2], 1.0 + f.out[0]))
        self._set(1, lives, f.out[5])
        self._set(2, lives and t_ns - f.state[1] >= _HOUR, f.out[6])
        self._set(3, lives, clip(root(div(f.out[3], f.out[1]) - mean * mean), 0.0, 1.0))
        self._set(5, lives and f.out[7] >= 0.0, clip(f.out[7] / 7.273092595999522, 0.0, 1.0))  # ln(1 + 1440)
        self._set(12, lives, self._momentum(t_ns) if lives else 0.0)
        self._set(13, lives, clip(div(f.out[4], magnitude), 0.0, 1.0) if magnitude > 1e-12 else 0.5)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _momentum(self, t_ns: cython.longlong) -> cython.double:
        """Mean score of the last hour less that of the five hours before; 0 while one of the two has no item."""
        f: Feed = self.items
        new: cython.double = 0.0
        old: cython.double = 0.0
        news: cython.double = 0.0
        olds: cython.double = 0.0
        age: cython.longlong
        k: cython.Py_ssize_t
        for k in range(f.state[0] if f.state[0] < 128 else 128):
            age = t_ns - f.known[k]
            if age < 0 or age > 6 * _HOUR:
                continue
            if age <= _HOUR:
                new += f.score[k]
                news += 1.0
            else:
                old += f.score[k]
                olds += 1.0
        if news == 0.0 or olds == 0.0:
            return 0.0
        return clip(new / news - old / olds, -2.0, 2.0)

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _posts(self, t_ns: cython.longlong) -> cython.longlong:
        f: Feed = self.posts
        lives: cython.bint = f.lives(t_ns)
        if lives:
            f.sum(t_ns)
        self._set(4, lives, div(f.out[2], 1.0 + f.out[0]))
        self._set(14, lives and t_ns - f.state[1] >= _HOUR, f.out[6])
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _lean(self, slot: Slot, k: cython.Py_ssize_t, t_ns: cython.longlong) -> cython.longlong:
        """Write (2p - 1) confidence of one prediction into slot k, and count it in."""
        row: cython.Py_ssize_t = slot.row(t_ns)
        x: cython.double = 0.0
        known: cython.double
        if row > 0:
            x = (2.0 * slot.x[2 * row] - 1.0) * slot.x[2 * row + 1]
            self.lean[0] += x
            self.lean[1] += -x if x < 0.0 else x
            self.lean[2] += 1.0
            known = (t_ns - slot.q[3 * row]) / 60e9
            if self.lean[2] == 1.0 or known < self.lean[3]:
                self.lean[3] = known
        self._set(k, row > 0, x)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _predictions(self, t_ns: cython.longlong) -> cython.longlong:
        k: cython.Py_ssize_t
        for k in range(4):
            self.lean[k] = 0.0
        self._lean(self.short, 7, t_ns)
        self._lean(self.medium, 8, t_ns)
        self._lean(self.far, 9, t_ns)
        x: cython.double = self.lean[0]
        self._set(10, self.lean[2] >= 2.0, clip(div(-x if x < 0.0 else x, self.lean[1]), 0.0, 1.0))
        self._set(11, self.lean[2] > 0.0, clip(ln1p_pos(self.lean[3]) / 7.273092595999522, 0.0, 1.0))
        k = self.short.row(t_ns)
        x = 0.0
        there: cython.bint = k > 0 and self.short.q[3 * k - 1] != 0
        if there:
            x = (2.0 * self.short.x[2 * k] - 1.0) * self.short.x[2 * k + 1] - (2.0 * self.short.x[2 * k - 2] - 1.0) * self.short.x[
                2 * k - 1
            ]
        self._set(15, there, x)
        k = self.vix_ahead.row(t_ns)
        row: cython.Py_ssize_t = self.vix.row(t_ns)
        there = k > 0 and row > 0
        x = 0.0
        if there:
            x = clip(div(self.vix_ahead.x[2 * k], self.vix.x[2 * row]) - 1.0, -1.0, 5.0)
        self._set(6, there, x)
        return 0
