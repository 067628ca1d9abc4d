"""What may be wrong with features on real data: they know the future, never settle, are constant, twins, or out of range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from mia.backtest.feature_run import Piece, Run, Source, counts, head, lacking, of_events, table, tail
from mia.domain.errors import DataError
from mia.domain.regime import RegimeParams
from mia.features.catalogue import WarmUp, shipped_catalogue
from mia.features.columns import BOOK_DELTA, BOOK_SNAPSHOT, GAP, EventColumns
from mia.features.models import FeatureModels, bars_of
from mia.features.parametric import parse_parametric
from mia.kernels.arena import Arena
from mia.kernels.book import Book

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Compute = Callable[[Source, Sequence[str]], tuple[I64, F64]]
FACTORS: Final = (1, 2, 4, 8, 16, 32, 64)
SETTLED: Final = 1e-6  # of a column's spread
TWINS: Final = 0.9999
# Columns that the catalogue tells apart and an instrument may not: by its grid, not by a fault.
TWIN_REASONS: Final = {
    frozenset({"impact_bps_10k", "spread_ticks"}): "10,000 of the quote currency never reach beyond the best price here, as where one lot "
    "is worth more: half the spread is left"
}
_TWIN_ROWS_MIN: Final = 100
_COMPARED_BARS: Final = 21  # latent_shift and loglik_z look so far back at a model's own values


# --- does a column know the future? ---------------------------------------------------------------------------------------


class Leak(msgspec.Struct, frozen=True, kw_only=True):
    """A column whose values change when the data behind them is taken away; row and values are those of the first difference."""

    column: str
    cut: int  # bars or events that were left
    rows: int  # how many rows differ
    row: int
    ts_ns: int
    whole: float | None
    cut_value: float | None


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What lookahead saw."""

    size: int
    rows: int
    cuts: list[int]
    compared: int  # rows over all cuts
    columns: int
    silent: list[str]  # columns without a value in any compared row: nothing is known of them
    leaks: list[Leak]


def lookahead(source: Source, columns: Sequence[str], points: int, compute: Compute | None = None) -> Looked:
    """Compute on data that ends at each of `points` places and compare bit for bit with the same rows of the whole.

    source: in memory. A row that is missing or at another time is a difference of the column `ts_ns`.
    """
    compute = compute or table
    times = _times(source)
    if len(times) < 2:
        raise DataError(f"{source.name}: too short to be cut")
    cuts = sorted({max(1, round(len(times) * (k + 1) / (points + 1))) for k in range(points)})
    whole_ts, whole = compute(source, columns)
    leaks: list[Leak] = []
    compared = longest = 0
    for cut in cuts:
        ts, part = compute(head(source, cut), columns)
        n = min(len(ts), len(whole_ts))
        compared += n
        longest = max(longest, n)
        due = int(np.searchsorted(whole_ts, times[cut - 1], side="right" if source.kind == "candles" else "left"))
        other = np.flatnonzero(ts[:n] != whole_ts[:n])
        if len(other) or n < due:
            row = int(other[0]) if len(other) else n
            leaks.append(
                Leak(column="ts_ns", cut=cut, rows=len(other) or due - n, row=row, ts_ns=int(whole_ts[row]), whole=None, cut_value=None)
            )
            continue
        differs = part[:n].view(np.int64) != whole[:n].view(np.int64)
        for j in np.flatnonzero(differs.any(axis=0)).tolist():
            row = int(np.flatnonzero(differs[:, j])[0])
            leaks.append(
                Leak(
                    column=columns[j],
                    cut=cut,
                    rows=int(np.count_nonzero(differs[:, j])),
                    row=row,
                    ts_ns=int(ts[row]),
                    whole=_plain(whole[row, j]),
                    cut_value=_plain(part[row, j]),
                )
            )
    silent = [name for j, name in enumerate(columns) if not np.isfinite(whole[:longest, j]).any()]
    return Looked(size=len(times), rows=len(whole_ts), cuts=cuts, compared=compared, columns=len(columns), silent=silent, leaks=leaks)


def _times(source: Source) -> I64:
    parts = [p.events.ts_recv_ns if p.close_ns is None else p.close_ns for p in source.pieces()]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _plain(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


# --- how long does the beginning matter? ----------------------------------------------------------------------------------


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One column: differences[factor] is the largest difference, in spreads of the column, of a value whose data began `factor` warm-ups
    earlier from that over all data; None: no value. settles: the smallest factor from which on it stays below SETTLED, None: not by the
    largest that the data allows.
    """

    column: str
    warm_up: str
    differences: dict[int, float | None]
    settles: int | None


def recursive(source: Source, events: EventColumns | None, columns: Sequence[str], ends: int) -> tuple[list[Memory], list[str]]:
    """(columns, worst first, and names without a value or without data enough). source: in memory; ends: places of the second half."""
    times = _times(source)
    n = len(times)
    places = sorted({max(1, n // 2 + (n - n // 2) * (k + 1) // ends) for k in range(ends)})
    columns = [c for c in columns if not lacking(c, source.lacks, source.models)]
    whole = _whole(source, columns, places, times)
    spreads = _spreads(source, columns)
    classes: dict[WarmUp, list[int]] = {}
    for j, name in enumerate(columns):
        classes.setdefault(_warm_up(name, source.models), []).append(j)
    where = _Where(source, events, times)
    starts = {(w, end, k): where.start(w, end, k) for w in classes for end in places for k in FACTORS}
    books = _snapshots(events, {start for start in starts.values() if start > 0}) if events is not None else {}
    found: list[Memory] = []
    for warm_up, members in classes.items():
        names = [columns[j] for j in members]
        worst: dict[int, F64] = {}
        for i, end in enumerate(places):
            for k in FACTORS:
                start = starts[warm_up, end, k]
                if start <= 0:
                    continue
                got = _value_at(_began(source, events, books, start, end), names, int(times[end - 1]))
                gap = np.abs(got - whole[i, members]) / spreads[members]
                gap = np.where(got == whole[i, members], 0.0, gap)
                worst[k] = np.fmax(worst[k], gap) if k in worst else gap
        for m, name in enumerate(names):
            differences = {k: _plain(gaps[m]) for k, gaps in sorted(worst.items())}
            found.append(Memory(column=name, warm_up=text_of(warm_up), differences=differences, settles=_settles(differences)))
    silent = [m.column for m in found if all(d is None for d in m.differences.values())]
    known = [m for m in found if m.column not in silent]
    return sorted(known, key=lambda m: (m.settles is not None, -(m.settles or 0), -_last(m), m.column)), silent


def text_of(w: WarmUp) -> str:
    """Such as "15 bars, 1 quote"; "nothing"."""
    parts = [(w.bars, "bar"), (w.quotes, "quote"), (w.trades, "trade"), (w.books, "book"), (w.seconds, "second")]
    return ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in parts if n) or "nothing"


def _settles(differences: dict[int, float | None]) -> int | None:
    settled = None
    for k, d in sorted(differences.items(), reverse=True):
        if d is not None and d > SETTLED:
            break
        settled = k if d is not None else settled
    return settled


def _last(m: Memory) -> float:
    return next((d for _, d in sorted(m.differences.items(), reverse=True) if d is not None), 0.0)


def _warm_up(name: str, models: FeatureModels | None) -> WarmUp:
    """By the catalogue; of a column with a model: until the model's inputs are warm, it is, and so is what compares it with itself."""
    feature = shipped_catalogue().by_name.get(name)
    behind = models.behind(name) if models is not None else None
    if behind:
        bars = max(bars_of(part.columns) + (part.warm_bars if isinstance(part, RegimeParams) else 0) for part in behind)
        return WarmUp(bars=bars + _COMPARED_BARS)
    if feature is not None:
        return feature.warm_up
    parsed = parse_parametric(name)
    return WarmUp(bars=parsed.warm_up.bars + 1 if parsed else 1)


class _Where:
    """Where data must begin so that a multiple of a warm-up fits before an end."""

    def __init__(self, source: Source, events: EventColumns | None, times: I64) -> None:
        self._times = times
        self._counts = counts(events) if events is not None else {}
        if events is not None:
            by_bar = msgspec.structs.replace(source, trigger="bar")
            self._bars = table(by_bar, ("close",))[0]

    def start(self, w: WarmUp, end: int, factor: int) -> int:
        """First bar or event; 0 or less when the data does not reach so far back."""
        needed = max(factor, 1)
        last_ns = int(self._times[end - 1])
        starts = [end - needed] if not any((w.bars, w.quotes, w.trades, w.books, w.seconds)) else []
        if w.seconds:
            starts.append(int(np.searchsorted(self._times, last_ns - needed * w.seconds * 1_000_000_000, side="right")) - 1)
        if not self._counts:
            starts += [end - needed * w.bars] if w.bars else []
            return min(starts, default=end - needed)
        if w.bars:
            closed = int(np.searchsorted(self._bars, last_ns, side="right"))
            k = closed - needed * w.bars - 1  # the bar that is cut in two counts as none
            starts.append(int(np.searchsorted(self._times, self._bars[k], side="left")) if k >= 0 else 0)
        for name, number in (("quotes", w.quotes), ("trades", w.trades), ("books", w.books)):
            if number:
                seen = self._counts[name]
                starts.append(int(np.searchsorted(seen, seen[end - 1] - needed * number, side="right")))
        return min(starts)


def _whole(source: Source, columns: Sequence[str], places: Sequence[int], times: I64) -> F64:
    """float64[places, columns]: the values after that many bars or events, from all data before."""
    run = Run(source, columns)
    out = np.zeros((len(places), len(columns)))
    before = 0
    for i, place in enumerate(places):
        for piece in tail(source, before, place).pieces():
            run.take(piece)
        out[i] = run.observe(int(times[place - 1]))
        before = place
    return out


def _value_at(source: Source, columns: Sequence[str], ts_ns: int) -> F64:
    run = Run(source, columns)
    for piece in source.pieces():
        run.take(piece)
    return run.observe(ts_ns)


def _spreads(source: Source, columns: Sequence[str]) -> F64:
    """Of each column: its central 90 % as that of a normal distribution, else its deviation, else 1."""
    _, matrix = table(source, columns)
    out = np.ones(len(columns))
    for j in range(len(columns)):
        known = matrix[:, j][np.isfinite(matrix[:, j])]
        if len(known):
            low, high = np.quantile(known, [0.05, 0.95])
            out[j] = (high - low) / 3.29 or known.std() or 1.0
    return out


def _began(source: Source, events: EventColumns | None, books: dict[int, EventColumns], start: int, end: int) -> Source:
    """The data from start on; a recording begins with the book as it was."""
    cut = tail(source, start, end)
    if events is None or start not in books:
        return cut

    def pieces() -> Iterable[Piece]:
        yield Piece(books[start])
        yield from of_events(source, events.slice(start, end)).pieces()

    return msgspec.structs.replace(cut, pieces=pieces)


def _snapshots(events: EventColumns, starts: set[int]) -> dict[int, EventColumns]:
    """The valid books before these events, each as a snapshot event."""
    book = Book(Arena(1 << 22), 4096)
    packed = np.ascontiguousarray(events.levels).tobytes()
    out: dict[int, EventColumns] = {}
    changes = np.flatnonzero((events.kind == BOOK_DELTA) | (events.kind == BOOK_SNAPSHOT) | (events.kind == GAP)).tolist()
    at = 0
    for start in sorted(starts):
        while at < len(changes) and changes[at] < start:
            i = changes[at]
            low, middle = 16 * int(events.level_offset[i]), 16 * int(events.level_offset[i] + events.a[i])
            high = middle + 16 * int(events.b[i])
            if events.kind[i] == GAP:
                book.invalidate()
            else:
                (book.apply if events.kind[i] == BOOK_DELTA else book.load)(packed[low:middle], packed[middle:high])
            at += 1
        if book.is_valid():
            out[start] = _snapshot(book, int(events.ts_recv_ns[start]))
    return out


def _snapshot(book: Book, ts_ns: int) -> EventColumns:
    bids = [(book.bid_ticks_at(i), book.bid_lots_at(i)) for i in range(book.n_bids())]
    asks = [(book.ask_ticks_at(i), book.ask_lots_at(i)) for i in range(book.n_asks())]
    one = [np.array([v], dtype=np.int64) for v in (BOOK_SNAPSHOT, ts_ns, 0, len(bids), len(asks), 0, 0, 0, len(bids) + len(asks))]
    levels = np.array([*bids, *asks], dtype=np.int64).reshape(-1, 2)
    return EventColumns._make([*one, np.zeros(1), np.zeros(1), levels])


# --- what do the values look like? ----------------------------------------------------------------------------------------


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column. present, edge: shares of the rows, and of the values at an end of the catalogue's range; twins: |correlation| > TWINS."""

    column: str
    present: float
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    edge: float
    not_finite: int
    out_of_range: int
    is_constant: bool
    twins: list[str]

    @property
    def problems(self) -> list[str]:
        """In words, the worst first."""
        out = []
        if self.not_finite:
            out.append(f"{self.not_finite} values are NaN or infinite")
        if self.out_of_range:
            out.append(f"{self.out_of_range} values outside of its range")
        if self.is_constant:
            out.append(f"always {self.min:g}")
        if self.twins:
            out.append(f"moves as {', '.join(self._with_reason(twin) for twin in self.twins)}")
        if not self.present:
            out.append("never there")
        return out

    def _with_reason(self, twin: str) -> str:
        reason = TWIN_REASONS.get(frozenset({self.column, twin}))
        return f"{twin} ({reason})" if reason else twin


class Profile:
    """Takes rows piece by piece and keeps sums; correlations are those of at most 2 x rows_max rows, spread over all."""

    def __init__(self, columns: Sequence[str], rows_max: int = 10_000) -> None:
        catalogue = shipped_catalogue().by_name
        ranges = [catalogue[c].range if c in catalogue else (-math.inf, math.inf) for c in columns]
        self.columns = tuple(columns)
        self.rows = 0
        self.sample = Sample(rows_max)
        self._low, self._high = (np.array([r[k] for r in ranges]) for k in (0, 1))
        width = len(columns)
        self._n, self._broken, self._outside, self._edge = (np.zeros(width, np.int64) for _ in range(4))
        self._min, self._max = np.full(width, np.inf), np.full(width, -np.inf)
        self._mean, self._square = np.zeros(width), np.zeros(width)

    def add(self, matrix: F64) -> None:
        """Rows in order."""
        self.rows += len(matrix)
        self.sample.add(matrix)
        there = np.isfinite(matrix)
        n = np.count_nonzero(there, axis=0)
        self._broken += np.count_nonzero(np.isinf(matrix), axis=0)
        known = np.where(there, matrix, 0.0)
        total = self._n + n
        mean = np.divide(known.sum(axis=0), n, out=np.zeros(len(n)), where=n > 0)
        square = (np.where(there, known - mean, 0.0) ** 2).sum(axis=0)
        step = mean - self._mean
        share = np.divide(n, total, out=np.zeros(len(n)), where=total > 0)
        self._square += square + step * step * self._n * share  # Chan, Golub and LeVeque 1983
        self._mean += step * share
        self._n = total
        self._min = np.minimum(self._min, np.where(there, matrix, np.inf).min(axis=0, initial=np.inf))
        self._max = np.maximum(self._max, np.where(there, matrix, -np.inf).max(axis=0, initial=-np.inf))
        self._outside += np.count_nonzero(there & ((matrix < self._low) | (matrix > self._high)), axis=0)
        self._edge += np.count_nonzero(there & ((matrix == self._low) | (matrix == self._high)), axis=0)

    def report(self) -> list[ColumnProfile]:
        """Columns with problems first, the worst of them at the top, then by name."""
        twins = _twins(self.columns, self.sample.matrix)
        out = []
        for j, name in enumerate(self.columns):
            n = int(self._n[j])
            out.append(
                ColumnProfile(
                    column=name,
                    present=n / self.rows if self.rows else 0.0,
                    min=float(self._min[j]) if n else None,
                    max=float(self._max[j]) if n else None,
                    mean=float(self._mean[j]) if n else None,
                    std=math.sqrt(self._square[j] / n) if n else None,
                    edge=float(self._edge[j]) / n if n else 0.0,
                    not_finite=int(self._broken[j]),
                    out_of_range=int(self._outside[j]),
                    is_constant=n > 1 and bool(self._min[j] == self._max[j]),
                    twins=twins.get(name, []),
                )
            )
        return sorted(out, key=_rank)


def _rank(p: ColumnProfile) -> tuple[bool, bool, bool, bool, bool, str]:
    return not p.not_finite, not p.out_of_range, not p.is_constant, not p.twins, bool(p.present), p.column


class Sample:
    """At most 2 x rows_max rows, evenly spread over all that were added: every second one goes whenever there are more."""

    def __init__(self, rows_max: int) -> None:
        self._max = rows_max
        self._parts: list[F64] = []
        self._step = 1
        self._seen = self._kept = 0

    def add(self, matrix: F64) -> None:
        """Rows in order; those whose number is a multiple of the step stay."""
        part = matrix[-self._seen % self._step :: self._step]
        self._parts.append(part.copy())
        self._seen += len(matrix)
        self._kept += len(part)
        while self._kept > 2 * self._max:
            self._parts = [self.matrix[::2].copy()]
            self._step *= 2
            self._kept = len(self._parts[0])

    @property
    def matrix(self) -> F64:
        """What is kept."""
        return np.concatenate(self._parts) if self._parts else np.zeros((0, 0))


def _twins(columns: Sequence[str], matrix: F64) -> dict[str, list[str]]:
    """Names of columns that move as another does, by rows in which both have a value."""
    if len(matrix) < _TWIN_ROWS_MIN:
        return {}
    there = np.isfinite(matrix)
    n = np.maximum(there.sum(axis=0), 1)
    x = np.where(there, matrix, 0.0)
    x = np.where(there, x - x.sum(axis=0) / n, 0.0)
    deviation = np.sqrt((x * x).sum(axis=0) / n)
    x = np.divide(x, deviation, out=np.zeros_like(x), where=deviation > 0.0)
    m = there.astype(np.float64)
    both = m.T @ m
    first, second = x.T @ m, (x * x).T @ m
    safe = np.maximum(both, 1.0)
    covariance = x.T @ x - first * first.T / safe
    variance = second - first * first / safe
    scale = np.sqrt(np.maximum(variance, 0.0) * np.maximum(variance.T, 0.0))
    varies = variance > 1e-6 * safe
    usable = (both >= _TWIN_ROWS_MIN) & varies & varies.T
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=usable & (scale > 0.0))
    pairs = np.argwhere(np.triu(np.abs(correlation) > TWINS, 1))
    out: dict[str, list[str]] = {}
    for i, j in pairs.tolist():
        out.setdefault(columns[i], []).append(columns[j])
        out.setdefault(columns[j], []).append(columns[i])
    return out
