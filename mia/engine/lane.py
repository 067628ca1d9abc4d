"""A lane: one instrument, one trigger, the features its strategy reads, its regime model. Built once, then only fed."""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.domain.regime import parse_params
from mia.domain.sizing import Terms
from mia.engine.state import LaneState, MarketState
from mia.execution.portfolio import Position
from mia.features.bars import BarSpec
from mia.features.calendars import Calendar
from mia.features.catalogue import shipped_catalogue
from mia.features.distribution import Spread, parse_drift
from mia.features.heard import valid_ns
from mia.features.models import FeatureModels, parse_models
from mia.features.plan import Plan, build_plan
from mia.kernels.arena import Arena
from mia.kernels.book import Book
from mia.kernels.drift import DriftMeter
from mia.kernels.observe import to_float32
from mia.policy.strategy import Strategy
from mia.risk.limits import Limits
from mia.risk.review import Question
from mia.risk.windows import NEVER


class Market:
    """One instrument inside the engine: its book, its last quote, the lanes that trade it."""

    __slots__ = (
        "armed", "book", "definition", "followers", "index", "is_settled", "lanes", "needs_book", "position", "reads_book", "state",
        "terms", "tick",
    )  # fmt: skip

    def __init__(self, index: int, definition: Instrument, arena: Arena) -> None:
        self.index: Final = index
        self.definition: Final = definition
        self.terms: Final = Terms.of(index, definition)
        self.book: Final = Book(arena)
        self.lanes: Final[list[Lane]] = []
        self.followers: Final[list[tuple[Lane, int]]] = []  # lanes of which it is a reference, and the number of the series
        self.tick: Final = float(definition.tick_size)
        self.reads_book = False  # a lane reads depth
        self.needs_book = False  # a lane reads it without a mask: an invalid book blocks its openings
        self.armed: tuple[int, int] | None = None  # lots and cost of the position that its protective levels were last set for
        self.is_settled = False  # its orders are answered and its position is protected, as of the last look; nothing happened since
        self.state: MarketState
        self.position: Position

    @property
    def symbol(self) -> str:
        """`venue:symbol`, the name used by settings."""
        return f"{self.definition.venue}:{self.definition.symbol}"


class LaneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the shell hands over for one lane: the index of its instrument, its loaded strategy, and its reference instruments.

    references: (number of the series, index of the instrument), in the order in which a trade of both would count.
    """

    instrument: int
    strategy: Strategy
    references: tuple[tuple[int, int], ...] = ()


class Lane:
    """The parts of one lane and its reused buffers."""

    __slots__ = (
        "alpha_min", "cap", "drift", "drift_columns", "heard_valid_ns", "hi", "index", "lo", "market", "min_interval_ns",
        "needs_book", "obs", "plan", "question", "reads_account", "reads_book", "spec", "state", "strategy", "trigger", "width", "window",
        "wish_lots",
    )  # fmt: skip

    def __init__(self, index: int, spec: LaneSpec, market: Market, arena: Arena, limits: Limits, calendar: Calendar) -> None:
        strategy = spec.strategy
        where = f"lane {index} ({market.symbol}, {strategy.name})"
        columns = tuple(strategy.columns)
        models = models_of(strategy, where)
        bar = BarSpec.parse(strategy.bar)
        self.index: Final = index
        self.spec: Final = spec
        self.market: Final = market
        self.strategy: Final = strategy
        self.trigger: Final = strategy.trigger
        self.min_interval_ns: Final = strategy.min_interval_ns
        self.alpha_min: Final = strategy.alpha_min
        self.plan: Final = build_plan(columns, market.definition, bar, arena, market.book, calendar, models=models)
        seen = parse_drift(strategy.drift, columns, f"{where}: drift.json").columns if strategy.drift else {}
        self.drift_columns: Final = tuple(seen)
        self.drift: Final = _drift_meter(columns, seen, self.plan, arena) if seen else None
        self.heard_valid_ns: Final = valid_ns(bar.interval_ns)
        self.width: Final = len(strategy.columns)
        self.obs: Final = memoryview(array("f", bytes(4 * max(self.width, 1))))[: self.width]
        self.lo: Final = memoryview(array("d", strategy.lo))
        self.hi: Final = memoryview(array("d", strategy.hi))
        self.question: Final = Question.of(index, market.terms, market.symbol, limits)
        self.reads_account: Final = self.plan.reads_account
        self.reads_book: Final = reads_depth(columns)
        self.needs_book: Final = self.reads_book and "has(depth)" not in columns  # with the mask its policy knows what to do without
        self.cap = 0
        self.wish_lots = 0  # what the last decision's signal asks for, of the cap
        self.window = NEVER  # what the calendar says now
        self.state: LaneState

    def close_bars(self) -> None:
        """A bar closed, and the plan's regime model took it."""
        if self.plan.regime is not None:
            self.state.regime_probs = self.plan.regime_probs()

    def check_inputs(self) -> int:
        """Copy the row into the observation; -1 when all is finite and in range, else the column (+ width when out of range)."""
        return int(to_float32(self.plan.values, self.width, self.lo, self.hi, self.obs)) if self.width else -1


def _drift_meter(columns: tuple[str, ...], seen: dict[str, Spread], plan: Plan, arena: Arena) -> DriftMeter:
    index = [columns.index(name) for name in seen]
    return DriftMeter(arena, plan, index, [s.edges for s in seen.values()], [s.shares for s in seen.values()])


def models_of(strategy: Strategy, where: str) -> FeatureModels | None:
    """The models behind the columns of a strategy, None when it has none; ConfigError begins with `where`.

    The regime is that of regime.json; feature_models.json may repeat it and must not differ. A column whose model is not there would
    never have a value, and models of other bars would see columns that mean something else: both are refused.
    """
    regime = parse_params(strategy.regime, f"{where}: regime.json")
    models = parse_models(strategy.models, f"{where}: feature_models.json") if strategy.models else FeatureModels()
    if models.regime is not None and models.regime != regime:
        raise ConfigError(f"{where}: feature_models.json: regime differs from regime.json: export the model again with one of them")
    if models.fit is not None and BarSpec.parse(models.fit.bar) != BarSpec.parse(strategy.bar):
        raise ConfigError(f"{where}: feature_models.json: fit.bar: fitted on {models.fit.bar} bars, the model's are {strategy.bar}")
    models = msgspec.structs.replace(models, regime=regime)
    if column := models.lacks(strategy.columns):
        raise ConfigError(f"{where}: features: {column!r} needs a model that neither feature_models.json nor regime.json holds")
    return models if strategy.models or regime is not None else None


def reads_depth(columns: tuple[str, ...]) -> bool:
    """True when a column needs the order book."""
    known = shipped_catalogue().by_name
    return any("depth" in known[name].inputs for name in columns if name in known)
