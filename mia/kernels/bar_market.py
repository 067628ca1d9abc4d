"""What the venue of bars (mia.sim.bar_venue) does with the account's orders between one close and the next.

A part of `mia.kernels.bar_account`, over `mia.kernels.bar_books`.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.mia.kernels.bar_books import BarBooks
    from cython.cimports.mia.kernels.exact import mul_div
else:
    from mia.kernels.bar_books import BarBooks
    from mia.kernels.exact import mul_div

_MARKET = cython.declare(cython.longlong, 0)  # kinds of orders, as mia.kernels.bar_books numbers them
_STOP = cython.declare(cython.longlong, 1)
_TAKE = cython.declare(cython.longlong, 2)
_EXIT = cython.declare(cython.longlong, 3)


@cython.ccall
@cython.exceptval(check=False)
def line2(
    side: cython.longlong, opened: cython.longlong, close: cython.longlong, passed_ns: cython.longlong, span_ns: cython.longlong
) -> cython.longlong:
    """The doubled price after passed_ns of span_ns (at least 1) on the straight line from open to close, rounded against the side."""
    top: cython.longlong = 2 * (close - opened)
    if top >= 0:
        return 2 * opened + mul_div(top, passed_ns, span_ns, span_ns - 1 if side > 0 else 0)
    return 2 * opened - mul_div(-top, passed_ns, span_ns, 0 if side > 0 else span_ns - 1)


@cython.cclass
class BarMarket(BarBooks):  # type: ignore[misc]
    """See `mia.kernels.bar_account.BarAccount`."""

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _beyond(self, is_stop: cython.bint, price: cython.longlong) -> cython.longlong:
        """Would a market at this price trigger the stop, or the take?"""
        if (self.protected < 0) == is_stop:  # a short's stop and a long's take wait above
            return 1 if price >= (self.stop if is_stop else self.take) else 0
        return 1 if price <= (self.stop if is_stop else self.take) else 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _protected(self, bar: cython.Py_ssize_t, ts: cython.longlong, is_stop: cython.bint, market: cython.longlong) -> cython.longlong:
        """The stop or the take fills, and its twin goes."""
        side: cython.longlong = -1 if self.protected > 0 else 1  # type: ignore[has-type]
        self.protected = 0
        self._fill(bar, ts, side, self.lots if self.lots > 0 else -self.lots, 2 * market, _STOP if is_stop else _TAKE)
        return self._protect(bar, ts)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _open(self, bar: cython.Py_ssize_t, ts: cython.longlong, price: cython.longlong) -> cython.longlong:
        """Everything that the open lies beyond, then the market order."""
        if self.protected != 0:
            if self._beyond(True, price):
                self._protected(bar, ts, True, price)
            elif self._beyond(False, price):
                self._protected(bar, ts, False, price)
        if self.pending != 0:
            self._market(bar, ts, price)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _market(self, bar: cython.Py_ssize_t, ts: cython.longlong, price: cython.longlong) -> cython.longlong:
        """The market order fills, never past flat where it only reduces or where there is nothing to be short of."""
        side: cython.longlong = 1 if self.pending > 0 else -1  # type: ignore[has-type]
        lots: cython.longlong = side * self.pending  # type: ignore[has-type]
        reducible: cython.longlong = -side * self.lots
        if (self.pending_reduces != 0 or (side < 0 and self.derivative == 0)) and lots > reducible:
            lots = reducible
        self.pending = 0
        if lots > 0:
            self._fill(bar, ts, side, lots, 2 * price, _MARKET)
            self._protect(bar, ts)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _within(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, high: cython.longlong, low: cython.longlong, close: cython.longlong
    ) -> cython.longlong:
        """The stop before the take, at its level."""
        if self._stopped(bar, ts, high, low, close) == 0 and self._beyond(False, low if self.protected < 0 else high):
            self._protected(bar, ts, False, self.take)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _stopped(
        self, bar: cython.Py_ssize_t, ts: cython.longlong, high: cython.longlong, low: cython.longlong, close: cython.longlong
    ) -> cython.longlong:
        """The stop fills where the bar reaches it: 1."""
        is_short: cython.bint = self.protected < 0
        if not self._beyond(True, high if is_short else low):
            return 0
        self._protected(bar, ts, True, close if self._beyond(True, low if is_short else high) else self.stop)
        return 1

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _leave(
        self,
        bar: cython.Py_ssize_t,
        ts: cython.longlong,
        open_ns: cython.longlong,
        close_ns: cython.longlong,
        opened: cython.longlong,
        close: cython.longlong,
    ) -> cython.longlong:
        """A trade window that wants no position is seen at ts, within the bar: mia.engine.orders closes it at market."""
        side: cython.longlong = -1 if self.lots > 0 else 1
        held: cython.longlong = -side * self.lots
        if self.derivative == 0:
            if self.mark2 * held * self.unit < 2 * self.min_notional:
                return 0  # dust
            self.protected = 0  # on spot the resting stop and take hold the coins: canceled first
        self._update(ts)
        self.pending_mark2 = self.mark2
        self.pending_order = self._note_order(bar, ts, -self.lots, 0, 1, _EXIT)
        span_ns: cython.longlong = close_ns - open_ns if close_ns > open_ns else 1
        self._fill(bar, ts, side, held, line2(side, opened, close, ts - open_ns, span_ns), _EXIT)
        return self._protect(bar, ts)
