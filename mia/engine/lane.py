"""A lane: one instrument, one trigger, the features its strategy reads, its regime filter. Built once, then only fed."""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.domain.sizing import Terms
from mia.engine.state import LaneState, MarketState
from mia.execution.portfolio import Position
from mia.features.bars import BarSpec
from mia.features.calendars import Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.plan import build_plan, mask_input
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.observe import to_float32
from mia.policy.strategy import Strategy
from mia.regime.filter import make_filter, parse_params
from mia.risk.limits import Limits
from mia.risk.review import Question


class Market:
    """One instrument inside the engine: its book, its last quote, the lanes that trade it."""

    __slots__ = ("book", "definition", "index", "lanes", "needs_book", "position", "reads_book", "state", "terms")

    def __init__(self, index: int, definition: Instrument, arena: Arena) -> None:
        self.index: Final = index
        self.definition: Final = definition
        self.terms: Final = Terms.of(index, definition)
        self.book: Final = Book(arena)
        self.lanes: Final[list[Lane]] = []
        self.reads_book = False  # a lane reads depth
        self.needs_book = False  # a lane reads it without a mask: an invalid book blocks its openings
        self.state: MarketState
        self.position: Position

    @property
    def symbol(self) -> str:
        """`venue:symbol`, the name used by settings."""
        return f"{self.definition.venue}:{self.definition.symbol}"


class LaneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell hands over for one lane: the index of its instrument and its loaded strategy."""

    instrument: int
    strategy: Strategy


class Lane:
    """The parts of one lane and its reused buffers."""

    __slots__ = (
        "alpha_min", "cap", "hi", "index", "lo", "market", "min_interval_ns", "needs_book", "obs", "plan", "question",
        "reads_book", "regime", "spec", "state", "strategy", "trigger", "width",
    )  # fmt: skip

    def __init__(self, index: int, spec: LaneSpec, market: Market, arena: Arena, limits: Limits, calendar: Calendar) -> None:
        strategy = spec.strategy
        where = f"lane {index} ({market.symbol}, {strategy.name})"
        params = parse_params(strategy.regime, f"{where}: regime.json")
        extra = [c for c in (params.columns if params else ()) if c not in strategy.columns]
        masks = [c for c in strategy.columns if mask_input(c)]
        if masks and extra:
            raise ConfigError(f"{where}: the regime filter reads {extra[0]!r}, which the observation must then hold, beside masks")
        columns = (*strategy.columns, *extra)
        self.index: Final = index
        self.spec: Final = spec
        self.market: Final = market
        self.strategy: Final = strategy
        self.trigger: Final = strategy.trigger
        self.min_interval_ns: Final = strategy.min_interval_ns
        self.alpha_min: Final = strategy.alpha_min
        self.plan: Final = build_plan(columns, market.definition, BarSpec.parse(strategy.bar), arena, market.book, calendar)
        self.regime: Final = make_filter(params, arena, {name: i for i, name in enumerate(columns)})
        self.width: Final = len(strategy.columns)
        self.obs: Final = memoryview(array("f", bytes(4 * max(self.width, 1))))[: self.width]
        self.lo: Final = memoryview(array("d", strategy.lo))
        self.hi: Final = memoryview(array("d", strategy.hi))
        self.question: Final = Question.of(index, market.terms, market.symbol, limits)
        self.reads_book: Final = reads_depth(columns)
        self.needs_book: Final = self.reads_book and "has(depth)" not in columns  # with the mask its policy knows what to do without
        self.cap = 0
        self.state: LaneState

    def close_bars(self, ts_ns: int) -> None:
        """A bar closed: let the regime filter take its row."""
        self.plan.observe(ts_ns)
        self.regime.update(self.plan.values)
        self.state.regime_probs = self.regime.probs

    def check_inputs(self) -> int:
        """Copy the row into the observation; -1 when all is finite and in range, else the column (+ width when out of range)."""
        return int(to_float32(self.plan.values, self.width, self.lo, self.hi, self.obs)) if self.width else -1


def reads_depth(columns: tuple[str, ...]) -> bool:
    """True when a column needs the order book."""
    known = shipped_catalogue().by_name
    return any("depth" in known[name].inputs for name in columns if name in known)
