"""What an order can meet: the shared book when it is valid, else the last quote, less what we have already taken of it."""

from __future__ import annotations

from typing import Any

from mia.domain.events import BUY
from mia.sim.state import InstrumentState

_TAKEN_MAX = 256


class Liquidity:
    """One instrument's resting liquidity, read-only but for our memory of what we took."""

    def __init__(self, book: Any, state: InstrumentState, slip_ticks: int) -> None:
        """book: a mia.kernels.book.Book that somebody else keeps current."""
        self.book = book
        self.state = state
        self._slip_ticks = slip_ticks

    def touch(self) -> tuple[int, int]:
        """(best bid, best ask) in ticks, 0 where there is none."""
        if self.book.is_valid():
            return self.book.best_bid_ticks(), self.book.best_ask_ticks()
        return self.state.quote.bid_ticks, self.state.quote.ask_ticks

    def mid2(self) -> int:
        """Doubled mid in ticks; 0 without a two-sided touch."""
        bid, ask = self.touch()
        return bid + ask if bid > 0 and ask > 0 else 0

    def displayed(self, is_bid: bool, price_ticks: int) -> int | None:
        """Public size at a price; None where nothing is known of it (beyond the known depth)."""
        book = self.book
        if book.is_valid():
            n = book.n_bids() if is_bid else book.n_asks()
            if n == 0:
                return None
            worst = book.bid_ticks_at(n - 1) if is_bid else book.ask_ticks_at(n - 1)
            if (price_ticks < worst) if is_bid else (price_ticks > worst):
                return None
            return int(book.lots_at(is_bid, price_ticks))
        quote = self.state.quote
        best, lots = (quote.bid_ticks, quote.bid_lots) if is_bid else (quote.ask_ticks, quote.ask_lots)
        if best <= 0:
            return None
        if price_ticks == best:
            return lots
        return 0 if (price_ticks > best if is_bid else price_ticks < best) else None

    def ahead(self, is_bid: bool, price_ticks: int) -> int:
        """Queue position of a new order; at an unknown price the touch's size is the guess."""
        known = self.displayed(is_bid, price_ticks)
        if known is not None:
            return known
        if self.book.is_valid():
            return int(self.book.best_bid_lots() if is_bid else self.book.best_ask_lots())
        return self.state.quote.bid_lots if is_bid else self.state.quote.ask_lots

    def _left(self, is_bid: bool, price_ticks: int, displayed: int) -> int:
        """What is left for us at a level: a level that changed since we took from it is new."""
        was, had = self.state.taken.get(price_ticks if is_bid else -price_ticks, (-1, 0))
        return max(0, displayed - had) if was == displayed else displayed

    def is_exhausted(self, is_bid: bool, price_ticks: int) -> bool:
        """We have had all of this level, and it has not changed since."""
        was, had = self.state.taken.get(price_ticks if is_bid else -price_ticks, (-1, 0))
        return had >= was > 0 and self.displayed(is_bid, price_ticks) == was

    def plan(self, side: int, lots: int, limit_ticks: int) -> list[tuple[int, int]]:
        """(price_ticks, lots) that a taker gets now, best first; nothing changes.

        limit_ticks 0: a market order, which fills whole; beyond the known depth each lot slips by slip_ticks once.
        Empty when the other side is empty (or out of the limit).
        """
        is_bid = side != BUY  # a seller meets the bids
        fills: list[tuple[int, int]] = []
        last = 0
        for price, displayed in self._levels(is_bid):
            if limit_ticks and (price > limit_ticks if side == BUY else price < limit_ticks):
                return fills
            last = price
            part = min(lots, self._left(is_bid, price, displayed))
            if part:
                fills.append((price, part))
                lots -= part
                if not lots:
                    return fills
        if lots and last and not limit_ticks:
            fills.append((max(1, last + side * self._slip_ticks), lots))
        return fills

    def _levels(self, is_bid: bool) -> Any:
        book = self.book
        if not book.is_valid():
            quote = self.state.quote
            price, lots = (quote.bid_ticks, quote.bid_lots) if is_bid else (quote.ask_ticks, quote.ask_lots)
            if price > 0:
                yield price, lots
        elif is_bid:
            for i in range(book.n_bids()):
                yield book.bid_ticks_at(i), book.bid_lots_at(i)
        else:
            for i in range(book.n_asks()):
                yield book.ask_ticks_at(i), book.ask_lots_at(i)

    def take(self, side: int, price_ticks: int, lots: int) -> None:
        """Remember that we had these lots of the level, until its size changes."""
        is_bid = side != BUY
        displayed = self.displayed(is_bid, price_ticks)
        if not displayed:
            return
        key = price_ticks if is_bid else -price_ticks
        was, had = self.state.taken.get(key, (-1, 0))
        self.state.taken[key] = (displayed, (had if was == displayed else 0) + lots)
        if len(self.state.taken) > _TAKEN_MAX:
            self._forget()

    def _forget(self) -> None:
        """Drop what no longer matters, then the oldest."""
        taken = self.state.taken
        for key in [k for k, (was, _) in taken.items() if self.displayed(k > 0, abs(k)) != was]:
            del taken[key]
        while len(taken) > _TAKEN_MAX:
            del taken[next(iter(taken))]
