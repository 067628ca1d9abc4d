"""Rate limits of the demo exchange: request weight per minute, unfilled orders per 10 seconds and per day, aligned to the clock."""

from __future__ import annotations

from typing import Any, Final

from mia.sim.servers.errors import ApiError

_SECOND_US: Final = 1_000_000
_NAMES: Final = {10: ("SECOND", 10), 60: ("MINUTE", 1), 86_400: ("DAY", 1)}


class Window:
    """A counter that starts anew at each multiple of its interval."""

    def __init__(self, kind: str, seconds: int, limit: int) -> None:
        self.kind = kind
        self.limit = limit
        self._us = seconds * _SECOND_US
        self._name, self._num = _NAMES[seconds]
        self._at = 0
        self._count = 0

    def count(self, now_us: int) -> int:
        """Counted in the present interval."""
        at = now_us // self._us
        if at != self._at:
            self._at, self._count = at, 0
        return self._count

    def add(self, n: int, now_us: int) -> None:
        """Count n (negative: give back, never below 0)."""
        self._count = max(0, self.count(now_us) + n)

    def ends_us(self, now_us: int) -> int:
        """When the next interval begins."""
        return (now_us // self._us + 1) * self._us

    def row(self) -> dict[str, Any]:
        """As exchangeInfo shows it."""
        return {"rateLimitType": self.kind, "interval": self._name, "intervalNum": self._num, "limit": self.limit}

    def words(self) -> str:
        """`100 orders per 10 SECOND`."""
        return f"{self.limit} orders per {self._num} {self._name}"


class Limits:
    """All counters; REST and the WebSocket API share them."""

    def __init__(self, weight_per_minute: int, orders_per_10s: int, orders_per_day: int) -> None:
        self.weight = Window("REQUEST_WEIGHT", 60, weight_per_minute)
        self.orders_10s = Window("ORDERS", 10, orders_per_10s)
        self.orders_day = Window("ORDERS", 86_400, orders_per_day)

    def spend(self, weight: int, now_us: int) -> None:
        """Take request weight; ApiError 429 when the minute's is gone."""
        if self.weight.count(now_us) + weight > self.weight.limit:
            until = self.weight.ends_us(now_us)
            raise ApiError(
                -1003,
                f"Too much request weight used; current limit is {self.weight.limit} request weight per 1 MINUTE.",
                429,
                {"serverTime": now_us // 1000, "retryAfter": until // 1000},
            )
        self.weight.add(weight, now_us)

    def count_order(self, now_us: int) -> None:
        """One new order; ApiError 429 when there were too many."""
        for window in (self.orders_10s, self.orders_day):
            if window.count(now_us) >= window.limit:
                until = window.ends_us(now_us)
                raise ApiError(
                    -1015,
                    f"Too many new orders; current limit is {window.words()}.",
                    429,
                    {"serverTime": now_us // 1000, "retryAfter": until // 1000},
                )
        self.orders_10s.add(1, now_us)
        self.orders_day.add(1, now_us)

    def order_filled(self, now_us: int) -> None:
        """Only unfilled orders count: a filled one gives back."""
        self.orders_10s.add(-1, now_us)
        self.orders_day.add(-1, now_us)

    def rows(self, now_us: int, with_orders: bool) -> list[dict[str, Any]]:
        """`rateLimits` of a WebSocket API answer."""
        windows = [self.orders_10s, self.orders_day, self.weight] if with_orders else [self.weight]
        return [{**w.row(), "count": w.count(now_us)} for w in windows]

    def definitions(self) -> list[dict[str, Any]]:
        """`rateLimits` of exchangeInfo."""
        return [w.row() for w in (self.weight, self.orders_10s, self.orders_day)]
