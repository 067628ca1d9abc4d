"""What the risk rules remember: equity marks, order rate, stops, cool-downs. Time and equity come in as data."""

from __future__ import annotations

from typing import Final

import msgspec

from mia.domain.sizing import SHARE_SCALE
from mia.risk.limits import RATE_CEILING, Limits, RiskSettings

DAY_NS: Final = 86_400_000_000_000
MINUTE_NS: Final = 60_000_000_000
HOUR_NS: Final = 3_600_000_000_000
_DOUBLINGS_MAX: Final = 6


def is_penalty(overtrade_risk_score: float) -> bool:
    """True at an overtrade score of 1."""
    return not (overtrade_risk_score < 1.0)


class RiskState(msgspec.Struct):
    """All changing state of the risk rules; one msgpack encode is its snapshot."""

    limits: Limits
    cool_down_ns: int
    overtrade_trades_per_hour: int
    is_started: bool = False
    equity_e8: int = 0
    peak_equity_e8: int = 0
    day: int = -1  # UTC day number since 1970
    day_start_equity_e8: int = 0
    is_daily_loss_reached: bool = False  # the loss of the UTC day is not below daily_loss_max of its starting equity
    is_drawdown_tripped: bool = False  # sticky: reset_stops only
    is_killed: bool = False  # the engine sets it on Kill; reset_stops clears it
    order_ring_ns: list[int] = []  # the last orders_per_minute_max send times
    order_next: int = 0
    trade_times_ns: list[int] = []  # closed round trips of the last hour, oldest first
    cool_until_ns: dict[int, int] = {}  # by lane
    rejects: dict[int, int] = {}  # in a row, by lane

    @staticmethod
    def of(settings: RiskSettings) -> RiskState:
        """A fresh state: nothing has happened yet."""
        return RiskState(
            Limits.of(settings),
            int(settings.cool_down_s * 1_000_000_000),
            settings.overtrade_trades_per_hour,
            order_ring_ns=[-MINUTE_NS] * settings.orders_per_minute_max,
        )

    def take_limits(self, settings: RiskSettings) -> None:
        """Changed settings: new limits; what was counted against the old ones stays counted."""
        kept = sorted(self.order_ring_ns)[-settings.orders_per_minute_max :]
        self.limits = Limits.of(settings)
        self.cool_down_ns = int(settings.cool_down_s * 1_000_000_000)
        self.overtrade_trades_per_hour = settings.overtrade_trades_per_hour
        self.order_ring_ns = [-MINUTE_NS] * (settings.orders_per_minute_max - len(kept)) + kept
        self.order_next = 0

    def update_equity(self, ts_ns: int, equity_e8: int) -> bool:
        """Take a new equity; True when the drawdown stop trips by it.

        A new UTC day starts from the last equity of the day before, so that a loss over midnight counts.
        """
        day = ts_ns // DAY_NS
        if not self.is_started:
            self.is_started = True
            self.day, self.day_start_equity_e8, self.peak_equity_e8 = day, equity_e8, equity_e8
        elif day > self.day:
            self.day, self.day_start_equity_e8 = day, self.equity_e8
        self.equity_e8 = equity_e8
        start, peak = self.day_start_equity_e8, self.peak_equity_e8
        loss = start - equity_e8
        is_reached = loss > 0 and not (loss * SHARE_SCALE < self.limits.daily_loss_max_e9 * start)
        if is_reached is not self.is_daily_loss_reached:
            self.is_daily_loss_reached = is_reached
        if equity_e8 >= peak:
            self.peak_equity_e8 = peak = equity_e8
            if equity_e8 > 0:
                return False
        if self.is_drawdown_tripped:
            return False
        if (peak - equity_e8) * SHARE_SCALE < self.limits.drawdown_max_e9 * peak:
            return False
        self.is_drawdown_tripped = True
        return True

    @property
    def drawdown(self) -> float:
        """Fall from the peak as a share of it, in [0, 1]."""
        peak = self.peak_equity_e8
        if not (peak > 0):
            return 0.0 if not self.is_started else 1.0
        fall = peak - self.equity_e8
        return min(1.0, fall / peak) if fall > 0 else 0.0

    @property
    def drawdown_ratio(self) -> float:
        """The drawdown as a share of its limit; 1 at a limit of 0."""
        limit_e9 = self.limits.drawdown_max_e9
        return self.drawdown * 1e9 / limit_e9 if limit_e9 else 1.0

    @property
    def day_pnl_ratio(self) -> float:
        """Profit (+) or loss (-) of the UTC day as a share of the daily loss limit; 0 without a limit above 0."""
        limit = self.limits.daily_loss_max_e9 * self.day_start_equity_e8
        return (self.equity_e8 - self.day_start_equity_e8) * 1e9 / limit if limit > 0 else 0.0

    def reset_stops(self) -> None:
        """The operator's word: clear kill and drawdown stop; the peak starts again at the present equity."""
        self.is_killed = False
        self.is_drawdown_tripped = False
        self.peak_equity_e8 = self.equity_e8

    def note_order(self, ts_ns: int) -> None:
        """An order was sent (of any purpose: exits count, only openings are refused by the count)."""
        ring = self.order_ring_ns
        ring[self.order_next] = ts_ns
        self.order_next = self.order_next + 1 if self.order_next + 1 < len(ring) else 0

    def is_order_rate_reached(self, ts_ns: int) -> bool:
        """True when orders_per_minute_max orders were sent within the last 60 s."""
        limit = self.limits.orders_per_minute_max
        size = len(self.order_ring_ns)
        if not (0 < limit <= size):
            return True
        return not (ts_ns - self.order_ring_ns[(self.order_next - limit) % size] >= MINUTE_NS)

    def note_trade(self, ts_ns: int) -> None:
        """A round trip closed."""
        times = self.trade_times_ns
        times.append(ts_ns)
        while times[0] <= ts_ns - HOUR_NS or len(times) > RATE_CEILING:
            del times[0]

    def overtrade_risk_score(self, ts_ns: int) -> float:
        """Round trips of the last 60 min over overtrade_trades_per_hour, clipped to [0, 1]."""
        times = self.trade_times_ns
        if not times or times[-1] <= ts_ns - HOUR_NS:
            return 0.0  # they are in order of time
        recent = 0
        for closed_ns in times:
            if closed_ns > ts_ns - HOUR_NS:
                recent += 1
        return min(1.0, recent / self.overtrade_trades_per_hour)

    def note_reject(self, lane: int, ts_ns: int) -> None:
        """An order of the lane was rejected: wait cool_down_s, doubled with each rejection in a row (64 times at most)."""
        rejects = self.rejects.get(lane, 0)
        self.rejects[lane] = rejects + 1
        self.cool_until_ns[lane] = ts_ns + (self.cool_down_ns << min(rejects, _DOUBLINGS_MAX))

    def note_fill(self, lane: int) -> None:
        """An order of the lane was filled: rejections start to count anew."""
        if lane in self.rejects:
            self.rejects[lane] = 0

    def cool_down(self, lane: int, ts_ns: int) -> None:
        """A protective exit happened: the lane opens nothing for cool_down_s."""
        self.cool_until_ns[lane] = max(ts_ns + self.cool_down_ns, self.cool_until_ns.get(lane, 0))
