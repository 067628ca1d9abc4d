"""Candles of the demo exchange, every interval kept current trade by trade; an interval without trades is flat."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from mia.domain.events import BUY

_SECOND: Final = 1_000_000  # times here are microseconds
INTERVALS: Final = {
    "1s": _SECOND, "1m": 60 * _SECOND, "3m": 180 * _SECOND, "5m": 300 * _SECOND, "15m": 900 * _SECOND, "30m": 1800 * _SECOND,
    "1h": 3600 * _SECOND, "2h": 7200 * _SECOND, "4h": 14_400 * _SECOND, "6h": 21_600 * _SECOND, "8h": 28_800 * _SECOND,
    "12h": 43_200 * _SECOND, "1d": 86_400 * _SECOND, "3d": 259_200 * _SECOND, "1w": 604_800 * _SECOND,
}  # fmt: skip
_MONDAY: Final = 4 * 86_400 * _SECOND  # 1970-01-05: weeks begin on Mondays
KEPT: Final = 2_000


class Kline(msgspec.Struct, gc=False):
    """One candle; volumes in lots and in ticks x lots."""

    open_us: int
    open: int
    high: int
    low: int
    close: int
    lots: int = 0
    value: int = 0
    trades: int = 0
    taker_lots: int = 0
    taker_value: int = 0
    first_id: int = -1
    last_id: int = -1


class Series:
    """The candles of one interval, oldest first; the last is not closed yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.us = INTERVALS[name]
        self._shift = _MONDAY if name == "1w" else 0
        self.rows: list[Kline] = []
        self.ended: list[Kline] = []  # closed since somebody last took them
        self._end_us = 0

    def roll(self, now_us: int) -> None:
        """Close what ended and open what began."""
        if now_us < self._end_us or not self.rows:
            return
        last = self.rows[-1]
        if (now_us - self._end_us) // self.us >= KEPT:  # the exchange was away: nobody wants years of flat candles
            self._open(now_us, last.close)
            return
        while now_us >= self._end_us:
            self.ended.append(self.rows[-1])
            self._open(self._end_us, last.close)
        if len(self.ended) > KEPT:
            del self.ended[:-KEPT]

    def trade(self, now_us: int, number: int, price: int, lots: int, aggressor: int) -> None:
        """One trade."""
        if now_us >= self._end_us:
            if self.rows:
                self.roll(now_us)
            else:
                self._open(now_us, price)
        k = self.rows[-1]
        if k.trades == 0:
            k.open = k.high = k.low = price
            k.first_id = number
        elif price > k.high:
            k.high = price
        elif price < k.low:
            k.low = price
        k.close = price
        k.last_id = number
        k.trades += 1
        k.lots += lots
        k.value += price * lots
        if aggressor == BUY:
            k.taker_lots += lots
            k.taker_value += price * lots

    def _open(self, at_us: int, price: int) -> None:
        start = (at_us - self._shift) // self.us * self.us + self._shift
        self._end_us = start + self.us
        self.rows.append(Kline(start, price, price, price, price))
        if len(self.rows) > 2 * KEPT:
            del self.rows[:KEPT]


class Klines:
    """All intervals."""

    def __init__(self) -> None:
        self.series = {name: Series(name) for name in INTERVALS}
        self._all = list(self.series.values())

    def trade(self, now_us: int, number: int, price: int, lots: int, aggressor: int) -> None:
        """One trade into every interval."""
        for series in self._all:
            series.trade(now_us, number, price, lots, aggressor)

    def roll(self, now_us: int) -> None:
        """Time went on."""
        for series in self._all:
            series.roll(now_us)

    def query(self, name: str, start_us: int | None, end_us: int | None, limit: int) -> list[Kline]:
        """Candles that open within [start, end]: the first `limit` when a start is given, else the last."""
        rows = [
            k for k in self.series[name].rows
            if (start_us is None or k.open_us >= start_us) and (end_us is None or k.open_us <= end_us)
        ]  # fmt: skip
        return rows[:limit] if start_us is not None else rows[-limit:]


def kline_object(k: Kline, series: Series, symbol: str, is_closed: bool, price: Any, size: Any, money: Any, unit: int) -> dict[str, Any]:
    """`k` of a kline event; price, size, money turn ticks, lots and their product into texts."""
    return {
        "t": k.open_us // unit, "T": (k.open_us + series.us) // unit - 1, "s": symbol, "i": series.name, "f": k.first_id, "L": k.last_id,
        "o": price(k.open), "c": price(k.close), "h": price(k.high), "l": price(k.low), "v": size(k.lots), "n": k.trades,
        "x": is_closed, "q": money(k.value), "V": size(k.taker_lots), "Q": money(k.taker_value), "B": "0",
    }  # fmt: skip
