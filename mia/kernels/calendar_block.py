"""Clock and calendar features from integer arithmetic on UTC nanoseconds; changes of clocks by the rules of law, no time zone data.

US: second Sunday of March to first Sunday of November at 02:00 local time (before 2007: first of April to last of October).
EU: last Sunday of March to last Sunday of October at 01:00 UTC. Both change on Sundays, so a weekday has one offset.
Columns that move by the minute are those of the minute's first nanosecond and are written once in it.
"""

from __future__ import annotations

import cython

from mia.kernels.arena import Arena

if cython.compiled:
    from cython.cimports.libc.math import cos, sin
    from cython.cimports.mia.kernels.block import Block
    from cython.cimports.mia.kernels.history import BarHistory
    from cython.cimports.mia.kernels.num import clip
else:
    from math import cos, sin

    from mia.kernels.block import Block
    from mia.kernels.history import BarHistory
    from mia.kernels.num import clip

SLOTS = (
    "tod_sin", "tod_cos", "dow_sin", "dow_cos", "hour_sin", "hour_cos", "funding_progress", "is_weekend", "us_session",
    "eu_session", "minutes_to_close", "minutes_since_open", "closure_ahead", "minutes_to_event", "minutes_since_event",
    "next_event_impact", "is_expiry_day", "days_to_roll", "us_session_left", "asia_session", "turn_of_month", "opex_week",
    "days_to_quarter_end", "quarter_hour",
)  # fmt: skip
IMPACT_MIN = 0.7  # an event above it is one that minutes_to_event and minutes_since_event look at
# Literals above 2^31 would be Python integers in the compiled form: divisors are seconds, products take declared numbers.
_SEC_NS = cython.declare(cython.longlong, 1_000_000_000)
_MINUTE_NS = cython.declare(cython.longlong, 60_000_000_000)
_DAY_NS = cython.declare(cython.longlong, 86_400_000_000_000)
_EVENT_NS = cython.declare(cython.longlong, 14_400_000_000_000)  # 4 h
_TOKYO_LATER = cython.declare(cython.longlong, 20_032)  # 2024-11-05, days since 1970: Tokyo closes at 15:30 instead of 15:00


@cython.cfunc
@cython.exceptval(-1, check=True)
def day_number(year: cython.longlong, month: cython.longlong, day: cython.longlong) -> cython.longlong:
    """Days since 1970-01-01 of a date of the Gregorian calendar."""
    y: cython.longlong = year - 1 if month <= 2 else year
    m: cython.longlong = month + 9 if month <= 2 else month - 3
    return 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719_469


@cython.cfunc
@cython.exceptval(-1, check=True)
def first_weekday(year: cython.longlong, month: cython.longlong, weekday: cython.longlong) -> cython.longlong:
    """Day number of the first such weekday (Monday 0) of a month."""
    first: cython.longlong = day_number(year, month, 1)
    return first + (weekday - (first + 3) % 7) % 7


@cython.cfunc
@cython.exceptval(-1, check=True)
def up_to(x: cython.longlong[::1], n: cython.Py_ssize_t, t_ns: cython.longlong) -> cython.Py_ssize_t:
    """How many of n rising times are at or before t_ns."""
    low: cython.Py_ssize_t = 0
    high: cython.Py_ssize_t = n
    middle: cython.Py_ssize_t
    while low < high:
        middle = (low + high) // 2
        if x[middle] <= t_ns:
            low = middle + 1
        else:
            high = middle
    return low


@cython.final
@cython.cclass
class CalendarBlock(Block):  # type: ignore[misc]
    """Slots as in SLOTS; formulas in config/feature_sets.yaml.

    q: 0 minute and 1 day that the columns stand for, plus one; of that day 2 minute of the UTC day at which New York and
    3 London open, 4 day number at which the next quarter begins.
    """

    q: cython.longlong[::1]
    opens: cython.longlong[::1]
    closes: cython.longlong[::1]
    events: cython.longlong[::1]
    impacts: cython.double[::1]
    strong: cython.longlong[::1]
    expiries: cython.longlong[::1]
    rolls: cython.longlong[::1]
    n_sessions: cython.Py_ssize_t
    n_events: cython.Py_ssize_t
    n_strong: cython.Py_ssize_t
    n_expiries: cython.Py_ssize_t
    n_rolls: cython.Py_ssize_t
    valid_until: cython.longlong

    def __init__(
        self,
        arena: Arena,
        pool: memoryview[float],
        base: int,
        hist: BarHistory,
        opens: memoryview[int],
        closes: memoryview[int],
        events: memoryview[int],
        impacts: memoryview[float],
        strong: memoryview[int],
        expiries: memoryview[int],
        rolls: memoryview[int],
        valid_until_ns: int,
    ) -> None:
        """Unix ns, each rising: sessions row for row (none: UTC days), events with their impacts, those of impact above 0.7 again."""
        Block.__init__(self, arena, pool, base, hist)
        self.q = arena.longs(5)
        self.opens, self.closes = opens, closes
        self.events, self.impacts, self.strong = events, impacts, strong
        self.expiries, self.rolls = expiries, rolls
        self.n_sessions, self.n_events, self.n_strong = len(opens), len(events), len(strong)
        self.n_expiries, self.n_rolls = len(expiries), len(rolls)
        self.valid_until = valid_until_ns

    @cython.cfunc
    def emit(self, t_ns: cython.longlong, mid: cython.double) -> cython.longlong:
        """Write the features that change between bars."""
        b: cython.Py_ssize_t = self.base
        second: cython.longlong = t_ns // 1_000_000_000
        minute: cython.longlong = second // 60
        if self.q[0] != minute + 1:
            self.q[0] = minute + 1
            self._minute(minute)
        x: cython.double = (t_ns - second // 86_400 * _DAY_NS) * (6.283185307179586 / 86_400e9)
        self.pool[b] = sin(x)
        self.pool[b + 1] = cos(x)
        x = (t_ns - second // 3600 * 3600 * _SEC_NS) * (6.283185307179586 / 3_600e9)
        self.pool[b + 4] = sin(x)
        self.pool[b + 5] = cos(x)
        self.pool[b + 6] = (t_ns - second // 28_800 * 28_800 * _SEC_NS) / 28_800e9
        self.pool[b + 23] = (t_ns - second // 900 * 900 * _SEC_NS) / 900e9
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _minute(self, minute: cython.longlong) -> cython.longlong:
        b: cython.Py_ssize_t = self.base
        day: cython.longlong = minute // 1440
        if self.q[1] != day + 1:
            self.q[1] = day + 1
            self._day(day)
        m: cython.longlong = minute - 1440 * day
        weekday: cython.longlong = (day + 3) % 7
        is_us: cython.bint = weekday < 5 and m >= self.q[2] and m < self.q[2] + 390
        self.pool[b + 8] = 1.0 if is_us else 0.0
        self.pool[b + 9] = 1.0 if weekday < 5 and m >= self.q[3] and m < self.q[3] + 510 else 0.0
        self.pool[b + 18] = (self.q[2] + 390 - m) / 390.0 if is_us else 0.0
        self.pool[b + 19] = 1.0 if weekday < 5 and m < (390 if day >= _TOKYO_LATER else 360) else 0.0
        self.pool[b + 22] = clip((1440 * self.q[4] - minute) / 28_800.0, 0.0, 1.0)
        k: cython.Py_ssize_t
        for k in range(10, 18):
            self.absent[b + k] = 1
        t_ns: cython.longlong = minute * _MINUTE_NS
        if t_ns < self.valid_until:
            self._session(t_ns, day)
            self._events(t_ns)
            k = up_to(self.rolls, self.n_rolls, t_ns) if self.n_rolls > 0 else 0
            if k < self.n_rolls:
                self._state(17, clip((self.rolls[k] - t_ns) / 864_000e9, 0.0, 10.0))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _state(self, k: cython.Py_ssize_t, value: cython.double) -> cython.longlong:
        self.pool[self.base + k] = value
        self.absent[self.base + k] = 0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _day(self, day: cython.longlong) -> cython.longlong:
        """What holds for a whole UTC day."""
        b: cython.Py_ssize_t = self.base
        z: cython.longlong = day + 719_468  # since 0000-03-01; Howard Hinnant's "chrono-compatible low-level date algorithms"
        era: cython.longlong = z // 146_097
        doe: cython.longlong = z - 146_097 * era
        yoe: cython.longlong = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
        doy: cython.longlong = doe - (365 * yoe + yoe // 4 - yoe // 100)
        mp: cython.longlong = (5 * doy + 2) // 153
        date: cython.longlong = doy - (153 * mp + 2) // 5 + 1
        month: cython.longlong = mp + 3 if mp < 10 else mp - 9
        year: cython.longlong = yoe + 400 * era
        if month <= 2:
            year += 1
        weekday: cython.longlong = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
        x: cython.double = weekday * (6.283185307179586 / 7.0)
        self.pool[b + 2] = sin(x)
        self.pool[b + 3] = cos(x)
        self.pool[b + 7] = 1.0 if weekday >= 5 else 0.0
        self.q[2] = 810 if self._is_us_summer(day, year) else 870
        self.q[3] = 420 if day >= first_weekday(year, 4, 6) - 7 and day < first_weekday(year, 11, 6) - 7 else 480
        quarter: cython.longlong = (month - 1) // 3 + 1
        self.q[4] = day_number(year, 3 * quarter + 1, 1) if quarter < 4 else day_number(year + 1, 1, 1)
        self.pool[b + 20] = self._turn(day, date, year, month)
        friday: cython.longlong = first_weekday(year, month, 4) + 14
        self.pool[b + 21] = 1.0 if day >= friday - 4 and day <= friday else 0.0
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _is_us_summer(self, day: cython.longlong, year: cython.longlong) -> cython.bint:
        november: cython.longlong = first_weekday(year, 11, 6)
        if year >= 2007:
            return day >= first_weekday(year, 3, 6) + 7 and day < november
        return day >= first_weekday(year, 4, 6) and day < november - 7

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _turn(self, day: cython.longlong, date: cython.longlong, year: cython.longlong, month: cython.longlong) -> cython.double:
        """1 from the last weekday of a month to the third of the next. Source: Lakonishok and Smidt (1988)."""
        first: cython.longlong = day - date + 1
        behind: cython.longlong = 0  # weekdays of the month before this day
        k: cython.longlong
        for k in range(first, day if date <= 6 else first):
            if (k + 3) % 7 < 5:
                behind += 1
        if date <= 6 and behind < 3:
            return 1.0
        last: cython.longlong = day_number(year, month + 1, 1) - 1 if month < 12 else day_number(year + 1, 1, 1) - 1
        while (last + 3) % 7 >= 5:
            last -= 1
        return 1.0 if day >= last else 0.0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _session(self, t_ns: cython.longlong, day: cython.longlong) -> cython.longlong:
        """Columns of the session in progress; none outside of the sessions."""
        open_ns: cython.longlong = day * _DAY_NS
        close_ns: cython.longlong = open_ns + _DAY_NS
        k: cython.Py_ssize_t
        if self.n_sessions > 0:
            k = up_to(self.opens, self.n_sessions, t_ns)
            if k == 0 or t_ns >= self.closes[k - 1]:
                return 0
            open_ns = self.opens[k - 1]
            close_ns = self.closes[k - 1]
            if k < self.n_sessions:
                self._state(12, clip((self.opens[k] - close_ns) / 345_600e9, 0.0, 1.0))
        self._state(10, (1.0 * (close_ns - t_ns)) / (close_ns - open_ns))
        self._state(11, clip((t_ns - open_ns) / 14_400e9, 0.0, 1.0))
        k = up_to(self.expiries, self.n_expiries, open_ns - 1) if self.n_expiries > 0 else 0
        if k < self.n_expiries:
            self._state(16, 1.0 if self.expiries[k] < close_ns else 0.0)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _events(self, t_ns: cython.longlong) -> cython.longlong:
        """Columns of scheduled events. Once the list has run out nothing is known of what comes."""
        if self.n_events == 0:
            return 0
        k: cython.Py_ssize_t = up_to(self.strong, self.n_strong, t_ns)
        if k < self.n_strong:
            self._state(13, clip((self.strong[k] - t_ns) / 14_400e9, 0.0, 1.0))
        if k > 0 and (k < self.n_strong or t_ns - self.strong[k - 1] < _EVENT_NS):
            self._state(14, clip((t_ns - self.strong[k - 1]) / 14_400e9, 0.0, 1.0))
        k = up_to(self.events, self.n_events, t_ns)
        if k == self.n_events:
            return 0
        impact: cython.double = 0.0
        next_ns: cython.longlong = self.events[k]
        if next_ns - t_ns <= _DAY_NS:
            while k < self.n_events and self.events[k] == next_ns:
                if self.impacts[k] > impact:
                    impact = self.impacts[k]
                k += 1
        self._state(15, impact)
        return 0
