"""What one strategy came to on one bar set, as a line of the golden file; how the lines are made, written, read and compared."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from unittest.mock import patch

import msgspec

from mia.assemble import calendar_files
from mia.backtest.run.figures import summary_of
from mia.backtest.run.gathered import OrderRow
from mia.backtest.run.prepare import Request, execute, prepare
from mia.backtest.run.result import Result
from mia.policy.rules import RULES
from mia.risk.windows import Windows, load_windows
from mia.settings import load_settings
from tests.golden.sets import SETS, BarSet

HERE: Final = Path(__file__).parent
FILE: Final = HERE / "strategies.csv"
REASONS: Final = HERE / "REASONS.md"
CONFIG: Final = HERE / "config"
Key = tuple[str, str]


class Line(NamedTuple):
    """One run. Money in the quote currency; gross - fees - other = net; other: spread, slippage, impact, funding.

    sharpe: a year; max_drawdown, hit_rate: shares of 1; all texts, rounded to what is the same on every machine.
    orders_sha256: first 16 digits of that of the order list.
    """

    bars: str
    strategy: str
    orders: str
    trades: str
    gross: str
    fees: str
    other: str
    net: str
    sharpe: str
    max_drawdown: str
    hit_rate: str
    orders_sha256: str

    @property
    def key(self) -> Key:
        """Bar set and strategy."""
        return self.bars, self.strategy


KEYS: Final[tuple[Key, ...]] = tuple(sorted((s.name, rule) for s in SETS for rule in RULES))


@contextmanager
def alone() -> Iterator[None]:
    """Neither settings, calendars, seals nor trials of whoever runs this are read or written."""
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, XDG_DATA_HOME=home, XDG_CONFIG_HOME=str(CONFIG)):
        yield


def lines_of(bar_set: BarSet, rules: Iterable[str], folder: Path) -> list[Line]:
    """The set is read once and run with each rule, its parameters as the set says. folder: of the recordings."""
    with alone():
        windows = load_windows(*calendar_files())
        prepared = prepare(_request(bar_set, folder))
        found = []
        for rule in rules:
            params = bar_set.params(rule)
            lanes = tuple(msgspec.structs.replace(lane, strategy=f"rule:{rule}", params=params) for lane in prepared.spec.lanes)
            run = msgspec.structs.replace(prepared, spec=msgspec.structs.replace(prepared.spec, lanes=lanes))
            found.append(_line(bar_set.name, rule, execute(run), windows))
        return found


def _request(bar_set: BarSet, folder: Path) -> Request:
    settings = load_settings(CONFIG / "mia" / "miad.toml", environ={}).settings
    settings = msgspec.structs.replace(settings, paper=msgspec.structs.replace(settings.paper, cash=bar_set.cash))
    from_ns, to_ns = bar_set.span()
    return Request(
        settings=settings,
        strategy="rule:flat",
        data=tuple(folder / file for file in bar_set.files),
        instruments=(f"golden:{bar_set.symbol}",),
        timeframe=bar_set.timeframe or None,
        from_ns=from_ns,
        to_ns=to_ns,
        tz=bar_set.tz,
        costs=bar_set.costs,
        duration_s=bar_set.duration_s or 3600.0,
    )


def _line(bars: str, rule: str, result: Result, windows: Windows) -> Line:
    parts, orders = result.parts, result.gathered.orders
    summary = summary_of(result, windows, samples=0, has_groups=False)
    fees_e8, net_e8 = parts.fees_e8, parts.net_e8
    return Line(
        bars, rule, str(len(orders)), str(len(result.trips)), _money(parts.gross_e8), _money(fees_e8),
        _money(parts.gross_e8 - fees_e8 - net_e8), _money(net_e8), _share(summary.value("sharpe"), 3),
        _share(summary.value("max_drawdown"), 5), _share(summary.value("hit_rate"), 4), digest_of(orders),
    )  # fmt: skip


def digest_of(orders: Sequence[OrderRow]) -> str:
    """Of every field of every order, in the order in which they left."""
    text = "".join(",".join(map(str, order)) + "\n" for order in orders)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _money(e8: int) -> str:
    cents = (abs(e8) + 500_000) // 1_000_000
    return f"{'-' if e8 < 0 and cents else ''}{cents // 100}.{cents % 100:02d}"


def _share(value: float | None, places: int) -> str:
    return "n/a" if value is None else f"{round(value, places) + 0.0:.{places}f}"


# --- the file ------------------------------------------------------------------------------------------------------------


def render(lines: Iterable[Line]) -> str:
    """The text of the file: sorted, one line each."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Line._fields)
    writer.writerows(sorted(lines))
    return out.getvalue()


def parse(text: str) -> dict[Key, Line]:
    """By bar set and strategy; ValueError for another header or a line that is there twice."""
    rows = list(csv.reader(io.StringIO(text)))
    if not rows or tuple(rows[0]) != Line._fields:
        raise ValueError(f"its header is not {','.join(Line._fields)}")
    found: dict[Key, Line] = {}
    for number, row in enumerate(rows[1:], 2):
        line = Line(*row)
        if line.key in found:
            raise ValueError(f"line {number}: {' '.join(line.key)} is there twice")
        found[line.key] = line
    return found


def differences(old: Mapping[Key, Line], new: Mapping[Key, Line]) -> list[str]:
    """A sentence for each line that is not the same in both: which values, old -> new."""
    said = []
    for key in sorted({*old, *new}):
        name = " ".join(key)
        if key not in new:
            said.append(f"{name}: is in the file, but there is no such bar set or strategy")
        elif key not in old:
            said.append(f"{name}: is missing; it came to {', '.join(f'{f} {v}' for f, v in new[key]._asdict().items() if f not in _KEY)}")
        elif old[key] != new[key]:
            pairs = zip(Line._fields, old[key], new[key], strict=True)
            said.append(f"{name}: {', '.join(f'{field} {a} -> {b}' for field, a, b in pairs if a != b)}")
    return said


_KEY: Final = ("bars", "strategy")


def text_digest(text: str) -> str:
    """By which the log of reasons knows the file."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
