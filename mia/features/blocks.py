"""Which block of kernels computes which features: the one place that ties names of the catalogue to code.

A new feature is a slot in a block's SLOTS, its line in config/feature_sets.yaml and its oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from mia.features.models import Scaled, bars_of
from mia.kernels import (
    account_block,
    book_flow_block,
    calendar_block,
    cross_block,
    depth_block,
    flow_block,
    impact_block,
    latent_block,
    line_block,
    memory_block,
    news_block,
    oscillator_block,
    pair_block,
    price_block,
    profile_block,
    quote_block,
    regime_block,
    session_block,
    structure_block,
    touch_block,
    trade_block,
    trade_vol_block,
    trend_block,
    vol_block,
    vpin_block,
    vwap_block,
)
from mia.kernels.hmm import filter_of
from mia.kernels.inputs import Inputs

if TYPE_CHECKING:
    from mia.domain.instruments import Instrument
    from mia.features.calendars import Calendar
    from mia.features.models import FeatureModels
    from mia.kernels.arena import Arena
    from mia.kernels.block import Block
    from mia.kernels.book import Book
    from mia.kernels.history import BarHistory

IMPACT_NOTIONAL: Final = 10_000  # quote currency, of impact_bps_10k


class Parts(NamedTuple):
    """What blocks are built from. slots: where each column of the plan's blocks lies in the pool, for models that read them."""

    arena: Arena
    pool: memoryview[float]
    hist: BarHistory
    book: Book
    instrument: Instrument
    calendar: Calendar
    models: FeatureModels | None
    slots: Mapping[str, int]


class BlockSpec(NamedTuple):
    """One block: its slots in order, the calls it hears, how to build it at `base` of the pool.

    of_model: its columns are a model's over other columns of the plan, so it comes after all blocks that are not.
    """

    slots: tuple[str, ...]
    hears: tuple[str, ...]
    build: Callable[[Parts, int], Block]
    of_model: bool = False


def _depth(parts: Parts, base: int) -> Block:
    budget = float(IMPACT_NOTIONAL * 100_000_000 / parts.instrument.unit_e8)
    return depth_block.DepthBlock(parts.arena, parts.pool, base, parts.hist, parts.book, budget)


def _structure(parts: Parts, base: int) -> Block:
    return structure_block.StructureBlock(parts.arena, parts.pool, base, parts.hist, float(parts.instrument.tick_size))


def _calendar(parts: Parts, base: int) -> Block:
    c = parts.calendar
    lists = (c.opens, c.closes, c.events, c.impacts, c.strong, c.expiries, c.rolls)
    return calendar_block.CalendarBlock(parts.arena, parts.pool, base, parts.hist, *lists, c.valid_until_ns)


def _book_flow(parts: Parts, base: int) -> Block:
    return book_flow_block.BookFlowBlock(parts.arena, parts.pool, base, parts.hist, parts.book)


def _plain(kernel: Callable[..., Block]) -> Callable[[Parts, int], Block]:
    return lambda parts, base: kernel(parts.arena, parts.pool, base, parts.hist)


def _regime(parts: Parts, base: int) -> Block:
    params = parts.models.regime if parts.models is not None else None
    if params is None:
        return regime_block.RegimeBlock(parts.arena, parts.pool, base, parts.hist)
    hmm = filter_of(params, parts.arena, parts.slots)
    return regime_block.RegimeBlock(parts.arena, parts.pool, base, parts.hist, hmm, bars_of(params.columns))


def _inputs(parts: Parts, model: Scaled) -> Inputs:
    index = [parts.slots[name] for name in model.columns]
    return Inputs(parts.arena, index, model.center, model.scale, model.clip, bars_of(model.columns))


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [x for row in rows for x in row]


def _latent(parts: Parts, base: int) -> Block:
    model = parts.models.latent if parts.models is not None else None
    if model is None:
        return latent_block.LatentBlock(parts.arena, parts.pool, base, parts.hist)
    flow, price = (
        None if p is None else latent_block.Projection(_inputs(parts, p), _flat(p.weights)) for p in (model.pca_flow, model.pca_price)
    )
    vol = distance = None
    if (a := model.ae_vol) is not None:
        w1, w2, w3 = _flat(a.w1), _flat(a.w2), _flat(a.w3)
        vol = latent_block.Autoencoder(parts.arena, _inputs(parts, a), w1, a.b1, w2, a.b2, w3, a.b3, a.error_p99)
    if model.stress is not None:
        distance = latent_block.Distance(_inputs(parts, model.stress), _flat(model.stress.whiten))
    return latent_block.LatentBlock(parts.arena, parts.pool, base, parts.hist, flow, price, vol, distance)


def _memory(parts: Parts, base: int) -> Block:
    m = parts.models.memory if parts.models is not None else None
    memory = None
    if m is not None:
        clusters = (_flat(m.centers), m.counts, m.hits, m.mean_returns, m.last_ns)
        memory = memory_block.Memory(_inputs(parts, m), *clusters, _flat(m.contexts), m.later_returns, m.ended_ns)
    return memory_block.MemoryBlock(parts.arena, parts.pool, base, parts.hist, memory)


# The order is the order of state in the arena and of calls; new blocks go to the end.
BLOCKS: Final[dict[str, BlockSpec]] = {
    "price": BlockSpec(price_block.SLOTS, ("bar",), _plain(price_block.PriceBlock)),
    "trend": BlockSpec(trend_block.SLOTS, ("bar",), _plain(trend_block.TrendBlock)),
    "vol": BlockSpec(vol_block.SLOTS, ("bar",), _plain(vol_block.VolBlock)),
    "flow": BlockSpec(flow_block.SLOTS, ("trade", "bar", "emit"), _plain(flow_block.FlowBlock)),
    "quote": BlockSpec(quote_block.SLOTS, ("quote", "emit"), _plain(quote_block.QuoteBlock)),
    "depth": BlockSpec(depth_block.SLOTS, ("book", "bar", "emit"), _depth),
    "calendar": BlockSpec(calendar_block.SLOTS, ("emit",), _calendar),
    "account": BlockSpec(account_block.SLOTS, ("quote", "bar", "emit"), _plain(account_block.AccountBlock)),
    "trade_vol": BlockSpec(trade_vol_block.SLOTS, ("trade", "bar", "emit"), _plain(trade_vol_block.TradeVolBlock)),
    "vpin": BlockSpec(vpin_block.SLOTS, ("trade",), _plain(vpin_block.VpinBlock)),
    "trade": BlockSpec(trade_block.SLOTS, ("trade", "emit"), _plain(trade_block.TradeBlock)),
    "impact": BlockSpec(impact_block.SLOTS, ("quote", "trade", "emit"), _plain(impact_block.ImpactBlock)),
    "oscillator": BlockSpec(oscillator_block.SLOTS, ("bar",), _plain(oscillator_block.OscillatorBlock)),
    "profile": BlockSpec(profile_block.SLOTS, ("bar",), _plain(profile_block.ProfileBlock)),
    "vwap": BlockSpec(vwap_block.SLOTS, ("bar",), _plain(vwap_block.VwapBlock)),
    "structure": BlockSpec(structure_block.SLOTS, ("bar",), _structure),
    "session": BlockSpec(session_block.SLOTS, ("bar",), _plain(session_block.SessionBlock)),
    "cross": BlockSpec(cross_block.SLOTS, ("bar", "emit", "slow"), _plain(cross_block.CrossBlock)),
    "pair": BlockSpec(pair_block.SLOTS, ("bar", "emit", "slow"), _plain(pair_block.PairBlock)),
    "touch": BlockSpec(touch_block.SLOTS, ("quote", "trade", "emit"), _plain(touch_block.TouchBlock)),
    "book_flow": BlockSpec(book_flow_block.SLOTS, ("book", "trade", "emit"), _book_flow),
    "news": BlockSpec(news_block.SLOTS, ("slow", "emit"), _plain(news_block.NewsBlock)),
    "line": BlockSpec(line_block.SLOTS, ("bar",), _plain(line_block.LineBlock)),
    "regime": BlockSpec(regime_block.SLOTS, ("bar",), _regime, of_model=True),
    "latent": BlockSpec(latent_block.SLOTS, ("bar",), _latent, of_model=True),
    "memory": BlockSpec(memory_block.SLOTS, ("bar",), _memory, of_model=True),
}
BLOCK_OF: Final[dict[str, str]] = {slot: name for name, spec in BLOCKS.items() for slot in spec.slots}
