"""The feature plan: columns by name -> the blocks they need -> one object that hears events and fills the values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from mia.domain.errors import ConfigError
from mia.domain.regime import UNIFORM
from mia.features.bars import BarSpec, build_bars
from mia.features.blocks import BLOCK_OF, BLOCKS, BlockSpec, Parts
from mia.features.calendars import UTC_DAYS, Calendar
from mia.features.catalogue import INPUTS, WarmUp, shipped_catalogue
from mia.features.parametric import parse_parametric
from mia.kernels.account_block import AccountBlock
from mia.kernels.history import BarHistory
from mia.kernels.plan_core import PlanCore
from mia.kernels.readiness import NEEDS, STREAMS
from mia.kernels.regime_block import RegimeBlock
from mia.kernels.session import SessionClock

if TYPE_CHECKING:
    from mia.domain.instruments import Instrument
    from mia.features.models import FeatureModels
    from mia.kernels.arena import Arena
    from mia.kernels.book import Book

BAR_FIELDS: Final = ("open", "high", "low", "close", "volume", "buy", "sell", "notional", "trades", "buys", "sells")
_MASK: Final = re.compile(rf"has\(({'|'.join(INPUTS)})\)")
KNOWN_COLUMNS: Final = frozenset([*BLOCK_OF, *(f"has({name})" for name in INPUTS)])  # what a model may name
_OPTIONAL: Final = 1 << 62  # a column that no decision waits for


class _Column(NamedTuple):
    block: str
    slot: int  # within the block
    warm_up: WarmUp
    neutral: float = 0.0
    inputs: tuple[str, ...] = ()


class Plan(PlanCore):
    """Hears the market of one instrument and fills `values`; the hot methods are those of PlanCore.

    columns: names in the order asked; values: float64, one per column, filled by observe(); bar: float64[11], the last closed
    bar (BAR_FIELDS, in ticks and lots).
    """

    columns: tuple[str, ...]
    values: memoryview[float]
    bars_spec: BarSpec
    instrument: Instrument
    regime: RegimeBlock | None
    reads_account: bool  # a column shows the account: set_account and set_record are heard

    def regime_probs(self) -> tuple[float, float, float]:
        """Range, trend and defensive of the regime model at the last closed bar; a third each without a model and until it is warm."""
        probs = self.regime.probs() if self.regime is not None else None
        return UNIFORM if probs is None else (probs[0], probs[1], probs[2])


def _resolve(columns: Sequence[str], models: FeatureModels | None) -> tuple[list[_Column], dict[str, BlockSpec]]:
    """Where each column comes from, and the blocks to build, in a fixed order; ConfigError for an unknown name."""
    wanted: dict[str, BlockSpec] = {}
    resolved = []
    catalogue = shipped_catalogue()
    for name in columns:
        block = BLOCK_OF.get(name)
        if block is not None:
            feature = catalogue.get(name)
            resolved.append(_Column(block, BLOCKS[block].slots.index(name), feature.warm_up, feature.neutral, feature.inputs))
            wanted[block] = BLOCKS[block]
            continue
        parsed = parse_parametric(name)
        if parsed is None:
            catalogue.get(name)  # raises with the nearest names
            raise ConfigError(f"feature {name!r} is in the catalogue, but no block computes it")
        resolved.append(_Column(parsed.name, 0, parsed.warm_up))
        wanted[parsed.name] = parsed.block()
    if models is not None:
        if models.regime is not None:  # whoever gives a regime model wants its probabilities
            wanted["regime"] = BLOCKS["regime"]
        for block in [name for name, spec in wanted.items() if spec.of_model]:
            wanted.update((BLOCK_OF[column], BLOCKS[BLOCK_OF[column]]) for column in models.reads(block))
    blocks = {name: wanted[name] for name, spec in BLOCKS.items() if name in wanted and not spec.of_model}
    blocks.update((name, spec) for name, spec in wanted.items() if name not in BLOCKS)
    blocks.update((name, wanted[name]) for name, spec in BLOCKS.items() if name in wanted and spec.of_model)
    return resolved, blocks


class Missing(NamedTuple):
    """A column that has no value now, and why."""

    column: str
    is_warming: bool
    is_waited_for: bool  # no mask says so: decisions wait
    why: str
    left_s: float | None = None  # until it is warm, if what it waits for goes on to come; None: nobody can tell


def missing_columns(plan: Plan) -> list[Missing]:
    """The plan's columns without a value as of the last observe, in order; masks are none."""
    found = []
    catalogue = shipped_catalogue().by_name
    seen = dict(zip(NEEDS, plan.seen(), strict=True))
    for j, name in enumerate(plan.columns):
        if mask_input(name) or plan.is_there(j):
            continue
        feature = catalogue.get(name)
        if plan.is_stopped(j) and feature is not None:
            streams = " or ".join(stream for stream in STREAMS if stream in feature.inputs)
            found.append(Missing(name, False, plan.is_waited_for(j), f"{streams} stopped coming"))
            continue
        if plan.is_warm(j):
            found.append(Missing(name, False, plan.is_waited_for(j), feature.missing if feature else "its input is missing"))
            continue
        made = parse_parametric(name)
        warm_up = feature.warm_up if feature is not None else made.warm_up if made is not None else WarmUp()
        waits, left_s = _still_needs(plan, warm_up, seen)
        found.append(Missing(name, True, plan.is_waited_for(j), f"warms up: {', '.join(waits)}", left_s))
    return found


def _still_needs(plan: Plan, warm_up: WarmUp, seen: dict[str, int]) -> tuple[list[str], float | None]:
    """What is still to come, such as `2 of 6 bars`, and how many seconds it takes; None for what comes when it comes."""
    now_ns, first_ns, *streams_ns = plan.began()
    wanted = {kind: getattr(warm_up, kind) for kind in NEEDS}
    left_s: list[float | None] = [0.0]
    # A window of seconds fills from the first event of the streams that the column reads, whichever came last.
    began = [ns for ns, kind in zip(streams_ns, ("quotes", "trades", "books"), strict=True) if wanted[kind]]
    since_ns = max([first_ns, *began]) if first_ns and all(began) else 0
    seen = {**seen, "seconds": (now_ns - since_ns) // 1_000_000_000 if since_ns else 0}
    waits = [f"{seen[kind]} of {n} {kind}" for kind, n in wanted.items() if n > seen[kind]]
    for kind, n in wanted.items():
        if n <= seen[kind]:
            continue
        if kind == "seconds" and since_ns:
            left_s.append(float(n - seen[kind]))
        elif kind == "bars" and plan.bars_spec.interval_ns:
            left_s.append((n - seen[kind]) * plan.bars_spec.interval_ns / 1e9)
        else:
            left_s.append(None)
    known = [s for s in left_s if s is not None]
    return waits, max(known) if len(known) == len(left_s) else None


def mask_input(name: str) -> str | None:
    """The input of a mask column such as "has(depth)"; None when it is none."""
    match = _MASK.fullmatch(name)
    return match[1] if match else None


def build_plan(
    columns: Sequence[str],
    instrument: Instrument,
    bars: BarSpec,
    arena: Arena,
    book: Book,
    calendar: Calendar = UTC_DAYS,
    neutral: float | None = None,
    models: FeatureModels | None = None,
) -> Plan:
    """A plan that fills exactly these columns, in this order; all of its state is in the arena.

    columns: catalogue names or parametric ones such as close and ema(20) (mia.features.parametric), then masks:
    `has(depth)` is 1.0 while all columns that read depth have a value. Without its mask a decision waits for a column
    (`first_cold`); with it, a column that has no value shows its neutral one and the mask 0.0.
    book: the shared book of the instrument; whoever changes it calls on_book after it.
    neutral: in place of the catalogue's neutral values (NaN shows holes to an analyst).
    models: what the regime, latent and memory columns are computed with, checked; their inputs are computed, too. Without: absent.
    """
    masks = [m for m in map(mask_input, columns) if m is not None]
    features = columns[: len(columns) - len(masks)]
    if any(mask_input(name) for name in features) or len(set(masks)) != len(masks):
        raise ConfigError("features: masks are distinct and come after all other columns")
    if models is not None:
        models.check("feature models")
    resolved, blocks = _resolve(features, models)
    bases: dict[str, int] = {}
    size = 0
    for name, spec in blocks.items():
        bases[name] = size
        size += len(spec.slots)
    pool = arena.doubles(size)
    values = arena.doubles(len(columns))[: len(columns)]
    hist = BarHistory(arena, SessionClock(arena, calendar.opens, calendar.closes))
    plan = Plan(arena, build_bars(bars, instrument, arena), hist, pool, book)
    where = {slot: bases[name] + k for name, spec in blocks.items() for k, slot in enumerate(spec.slots)}
    parts = Parts(arena, pool, hist, book, instrument, calendar, models, where)
    plan.regime = None
    plan.reads_account = False
    for name, spec in blocks.items():
        block = spec.build(parts, bases[name])
        plan.connect(block, spec.hears)
        if isinstance(block, RegimeBlock):
            plan.regime = block
        plan.reads_account = plan.reads_account or isinstance(block, AccountBlock)
    slots = np.array([bases[c.block] + c.slot for c in resolved], dtype=np.int64)
    needs = np.array(
        [
            n
            for c in resolved
            for n in (c.warm_up.bars, c.warm_up.quotes, c.warm_up.trades, c.warm_up.books, c.warm_up.seconds * 1_000_000_000)
        ],
        dtype=np.int64,
    )
    stand_in = np.array([c.neutral if neutral is None else neutral for c in resolved], dtype=np.float64)
    optional = np.array([_optional(c.inputs, masks) for c in resolved], dtype=np.int64)
    reads = np.array([_streams(c.inputs) for c in resolved], dtype=np.int64)
    plan.gather(values, arena, slots.data, needs.data, stand_in.data, optional.data, reads.data)
    plan.columns = tuple(columns)
    plan.values = values
    plan.bars_spec = bars
    plan.instrument = instrument
    return plan


def _streams(inputs: tuple[str, ...]) -> int:
    """The streams that a column of these inputs reads, as bits."""
    bits = 0
    for k, stream in enumerate(STREAMS):
        if stream in inputs:
            bits |= 1 << k
    return bits


def _optional(inputs: tuple[str, ...], masks: Sequence[str]) -> int:
    """The bits of the masks that a column of these inputs falls under, 0 when a decision waits for it."""
    bits = 0
    for k, mask in enumerate(masks):
        if mask in inputs:
            bits |= 1 << k
    return bits | _OPTIONAL if bits else 0
