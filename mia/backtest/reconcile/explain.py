"""The difference of two accounts over one period, trade by trade, in classes that add up to the whole of it."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from mia.backtest.reconcile.session import Compared, Refusal
from mia.backtest.reconcile.trips import Leg, RoundTrip
from mia.domain.errors import FailStop
from mia.store.reconciled import ReconciledDay

CLASSES: Final = (
    "latency", "slippage", "queue", "partial_fill", "fee", "funding", "refused_live", "data", "unmatched_live", "unmatched_backtest",
    "account",
)  # fmt: skip
WORDS: Final = {
    "latency": "the market moved between decision and fill, otherwise than in the backtest",
    "slippage": "another price against the mid at the fill: the spread, the depth taken",
    "queue": "an order that rested filled at another price or time",
    "partial_fill": "other quantities",
    "fee": "other fees",
    "funding": "other funding, borrow and the like",
    "refused_live": "the backtest traded what live was refused, by a rule or the venue",
    "data": "decided at another price: the engine saw other data",
    "unmatched_live": "trades that only live made",
    "unmatched_backtest": "trades that only the backtest made",
    "account": "money that no trade explains: the venue's word on the balance",
}
TOLERANCE_NS: Final = 5_000_000_000
_DAY_NS: Final = 86_400_000_000_000


class Matched(msgspec.Struct, kw_only=True):
    """One trade of both accounts, or of one; differences by class in e8, live less backtest."""

    instrument: str
    side: int
    live_opened_ns: int  # 0: only the backtest made it
    live_closed_ns: int  # 0: open at the end, or not made
    backtest_opened_ns: int
    backtest_closed_ns: int
    live_e8: int
    backtest_e8: int
    classes_e8: dict[str, int]
    code: str = ""  # of the refusal, where live was refused

    @property
    def difference_e8(self) -> int:
        """Live less backtest."""
        return self.live_e8 - self.backtest_e8

    def end_ns(self, period_end_ns: int) -> int:
        """When it closed, live if it did; the period's end while open."""
        if self.live_opened_ns:
            return self.live_closed_ns or period_end_ns
        return self.backtest_closed_ns or period_end_ns


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """A UTC day's trades, by when they closed (those open at the end: on the last day); difference_e8: live less backtest."""

    day: str
    trades: int
    live_e8: int
    backtest_e8: int
    difference_e8: int
    classes_e8: dict[str, int]


class Reconciled(msgspec.Struct, kw_only=True):
    """classes_e8: every class that is not 0; they add up to difference_e8, live_e8 less backtest_e8 (profits of the period)."""

    journal: str
    venue: str
    currency: str
    begin_ns: int
    end_ns: int
    live_e8: int
    backtest_e8: int
    difference_e8: int
    classes_e8: dict[str, int]
    trades: list[Matched]
    days: list[Day]
    live_trades: int
    backtest_trades: int
    matched: int
    notes: list[str]


def explain(compared: Compared, tolerance_ns: int = TOLERANCE_NS) -> Reconciled:
    """Match trades of one instrument and side whose openings lie within the tolerance, or that overlap, and explain what differs.

    FailStop when the classes do not add up to the difference: then none of it is to be believed.
    """
    live, back = compared.live, compared.backtest
    pairs = match(live.trips, back.trips, tolerance_ns)
    names = [f"{i.venue}:{i.symbol}" for i in compared.instruments]
    trades = [_row(names, a, b, live.refusals, tolerance_ns) for a, b in pairs]
    trades.sort(key=lambda t: (t.live_opened_ns or t.backtest_opened_ns, t.instrument))
    total = dict.fromkeys(CLASSES, 0)
    for trade in trades:
        for name, value in trade.classes_e8.items():
            total[name] += value
    total["funding"] += live.apart_e8 - back.apart_e8
    whole = live.change_e8 - back.change_e8
    loose = [side.change_e8 - sum(t.net_e8 for t in side.trips) - side.apart_e8 for side in (live, back)]
    total["account"] = loose[0] - loose[1]
    if sum(total.values()) != whole:
        raise FailStop(f"the classes add up to {sum(total.values()) / 1e8:.8f}, the accounts differ by {whole / 1e8:.8f}")
    return Reconciled(
        journal=compared.journal, venue=compared.venue, currency=compared.currency, begin_ns=compared.begin_ns, end_ns=compared.end_ns,
        live_e8=live.change_e8, backtest_e8=back.change_e8, difference_e8=whole,
        classes_e8={name: value for name, value in total.items() if value}, trades=trades, days=daily(trades, compared.end_ns),
        live_trades=len(live.trips), backtest_trades=len(back.trips), matched=sum(1 for a, b in pairs if a and b), notes=compared.notes,
    )  # fmt: skip


def match(live: Sequence[RoundTrip], back: Sequence[RoundTrip], tolerance_ns: int) -> list[tuple[RoundTrip | None, RoundTrip | None]]:
    """Pairs of one instrument and side, the nearest openings first; trips without a partner stand alone."""
    near: list[tuple[int, int, int]] = []
    far: list[tuple[int, int, int]] = []
    opened = [trip.opened_ns for trip in back]
    longest = max((_end(trip) - trip.opened_ns for trip in back if trip.closed_ns), default=0)
    still = [j for j, trip in enumerate(back) if not trip.closed_ns]
    for i, a in enumerate(live):
        low = bisect.bisect_left(opened, a.opened_ns - max(tolerance_ns, longest))
        high = bisect.bisect_right(opened, max(a.opened_ns + tolerance_ns, _end(a)))
        for j in sorted({*range(low, high), *still}):
            b = back[j]
            if (a.instrument, a.side) != (b.instrument, b.side):
                continue
            gap = abs(a.opened_ns - b.opened_ns)
            if gap <= tolerance_ns:
                near.append((gap, i, j))
            elif a.opened_ns < _end(b) and b.opened_ns < _end(a):
                far.append((gap, i, j))
    mine: dict[int, int] = {}
    theirs: set[int] = set()
    for _, i, j in [*sorted(near), *sorted(far)]:
        if i not in mine and j not in theirs:
            mine[i] = j
            theirs.add(j)
    pairs: list[tuple[RoundTrip | None, RoundTrip | None]] = [(a, back[mine[i]] if i in mine else None) for i, a in enumerate(live)]
    return pairs + [(None, b) for j, b in enumerate(back) if j not in theirs]


def paired_orders(live: Sequence[RoundTrip], back: Sequence[RoundTrip], tolerance_ns: int = TOLERANCE_NS) -> list[tuple[str, str]]:
    """(client id live, client id in the backtest) of the orders that matched trades pair, each pair once."""
    found: dict[tuple[str, str], None] = {}
    for a, b in match(live, back, tolerance_ns):
        if a is not None and b is not None:
            for side in (1, -1):
                for x, y in zip(_legs(a, side), _legs(b, side), strict=False):
                    if x.order and y.order:
                        found[x.order, y.order] = None
    return list(found)


def daily(trades: Sequence[Matched], end_ns: int) -> list[Day]:
    """The daily difference: profits and classes by UTC day."""
    groups: dict[int, list[Matched]] = {}
    for trade in trades:
        groups.setdefault(trade.end_ns(end_ns) // _DAY_NS, []).append(trade)
    days = []
    for number, members in sorted(groups.items()):
        classes: dict[str, int] = {}
        for trade in members:
            for name, value in trade.classes_e8.items():
                classes[name] = classes.get(name, 0) + value
        live, back = sum(t.live_e8 for t in members), sum(t.backtest_e8 for t in members)
        day = datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()
        kept = {name: classes[name] for name in CLASSES if classes.get(name)}
        days.append(Day(day=day, trades=len(members), live_e8=live, backtest_e8=back, difference_e8=live - back, classes_e8=kept))
    return days


def recorded_days(found: Reconciled) -> list[ReconciledDay]:
    """As they are kept, with the part of each day that was compared."""
    days = []
    for day in found.days:
        begin = int(datetime.fromisoformat(day.day).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
        kept = msgspec.structs.asdict(day)
        days.append(ReconciledDay(begin_ns=max(begin, found.begin_ns), end_ns=min(begin + _DAY_NS, found.end_ns), **kept))
    return days


def _end(trip: RoundTrip) -> int:
    return trip.closed_ns or 1 << 62


def _row(names: Sequence[str], a: RoundTrip | None, b: RoundTrip | None, refusals: Sequence[Refusal], tolerance_ns: int) -> Matched:
    known = a or b
    assert known is not None
    code = ""
    if a is not None and b is not None:
        classes = _both(a, b)
    elif a is not None:
        classes = {"unmatched_live": a.net_e8}
    else:
        assert b is not None
        code = _refused(b, refusals, tolerance_ns)
        classes = {"refused_live" if code else "unmatched_backtest": -b.net_e8}
    return Matched(
        instrument=names[known.instrument], side=known.side,
        live_opened_ns=a.opened_ns if a else 0, live_closed_ns=a.closed_ns if a else 0,
        backtest_opened_ns=b.opened_ns if b else 0, backtest_closed_ns=b.closed_ns if b else 0,
        live_e8=a.net_e8 if a else 0, backtest_e8=b.net_e8 if b else 0, code=code,
        classes_e8={name: value for name, value in classes.items() if value},
    )  # fmt: skip


def _refused(trip: RoundTrip, refusals: Sequence[Refusal], tolerance_ns: int) -> str:
    """Code of a refusal of live's that lies near the opening, the nearest one."""
    first = bisect.bisect_left(refusals, trip.opened_ns - tolerance_ns, key=lambda r: r.ts_ns)
    last = bisect.bisect_right(refusals, trip.opened_ns + tolerance_ns, key=lambda r: r.ts_ns)
    fits = [r for r in refusals[first:last] if r.instrument == trip.instrument and r.side in (0, trip.side)]
    return min(fits, key=lambda r: abs(r.ts_ns - trip.opened_ns)).code if fits else ""


def _both(a: RoundTrip, b: RoundTrip) -> dict[str, int]:
    """A trade that both made: order by order, those of one side in turn; what is left of quantities is of class partial_fill."""
    out = dict.fromkeys(CLASSES, 0)
    for side in (1, -1):
        ours, theirs = _legs(a, side), _legs(b, side)
        for x, y in zip(ours, theirs, strict=False):
            _orders(out, x, y)
        rest = ours[len(theirs) :], theirs[len(ours) :]
        out["partial_fill"] += sum(leg.cash_e8 for leg in rest[0]) - sum(leg.cash_e8 for leg in rest[1])
    out["partial_fill"] += a.mark_e8 - b.mark_e8
    out["funding"] += a.flows_e8 - b.flows_e8
    return out


def _legs(trip: RoundTrip, side: int) -> list[Leg]:
    return sorted((leg for leg in trip.legs.values() if leg.side == side), key=lambda leg: leg.first_ns)


def _orders(out: dict[str, int], x: Leg, y: Leg) -> None:
    lots = min(x.lots, y.lots)
    p, q = x.share(lots), y.share(lots)
    price: Callable[[Leg], int] = lambda leg: leg.gross_e8 - leg.latency_e8 - leg.slippage_e8  # noqa: E731
    if x.is_maker or y.is_maker:
        out["queue"] += price(p) - price(q)
    else:
        out["data"] += p.gross_e8 - q.gross_e8
        out["latency"] -= p.latency_e8 - q.latency_e8
        out["slippage"] -= p.slippage_e8 - q.slippage_e8
    out["fee"] -= p.fees_e8 - q.fees_e8
    out["partial_fill"] += (x.cash_e8 - y.cash_e8) - (p.cash_e8 - q.cash_e8) + (p.rest_e8 - q.rest_e8)
