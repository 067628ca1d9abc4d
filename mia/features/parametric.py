"""Columns with lengths of the caller's choice, such as "ema(20)" or "macd_histogram(12,26,9)"; for rules, outside the catalogue."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from mia.features.blocks import BlockSpec, Parts
from mia.features.catalogue import WarmUp
from mia.features.series import PREDICTION_NUMBER
from mia.kernels import clock_column, parametric, signal_block

if TYPE_CHECKING:
    from mia.kernels.block import Block

LENGTH_MAX: Final = 10_000
_FORM: Final = re.compile(r"([a-z_]+)(?:\(([1-9]\d{0,4}(?:,[1-9]\d{0,4})*)\))?")


class _Kind(NamedTuple):
    lengths: tuple[str, ...]  # their names, for messages
    bars: Callable[..., int]  # that it needs, of its lengths
    build: Callable[..., Block]  # of parts, base and its lengths


class ParametricColumn(NamedTuple):
    """A column of this kind: its name without spaces, and what it must see before it has a value."""

    name: str
    kind: str
    lengths: tuple[int, ...]
    warm_up: WarmUp

    def block(self) -> BlockSpec:
        """The block that computes it, in its only slot."""

        def build(parts: Parts, base: int) -> Block:
            return _KINDS[self.kind].build(parts, base, *self.lengths)

        return BlockSpec((self.kind,), _HEARS.get(self.kind, ("bar",)), build)


def parse_parametric(name: str) -> ParametricColumn | None:
    """The column of that name, spaces aside; None when it is none, or a length is above LENGTH_MAX."""
    text = name.replace(" ", "")
    match = _FORM.fullmatch(text)
    kind = _KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        return None
    lengths = tuple(int(n) for n in match[2].split(",")) if match[2] else ()
    if len(lengths) != len(kind.lengths) or any(n > LENGTH_MAX for n in lengths):
        return None
    warm_up = WarmUp(quotes=1) if match[1] == "mid" else WarmUp(bars=kind.bars(*lengths))
    return ParametricColumn(text, match[1], lengths, warm_up)


def _plain(kind: str) -> Callable[..., Block]:
    number = parametric.KINDS.index(kind)

    def build(parts: Parts, base: int, n: int = 1) -> Block:
        return parametric.Parametric(parts.arena, parts.pool, base, parts.hist, number, n)

    return build


def _clock(kind: str) -> Callable[..., Block]:
    number = clock_column.KINDS.index(kind)

    def build(parts: Parts, base: int, minutes: int = 0) -> Block:
        return clock_column.ClockColumn(parts.arena, parts.pool, base, parts.hist, number, minutes)

    return build


def _macd(parts: Parts, base: int, fast: int, slow: int, smooth: int) -> Block:
    return parametric.MacdHistogram(parts.arena, parts.pool, base, parts.hist, fast, slow, smooth)


def _volatility(parts: Parts, base: int, n: int) -> Block:
    return parametric.Volatility(parts.arena, parts.pool, base, parts.hist, n)


def _signal(is_flat_without: bool) -> Callable[..., Block]:
    def build(parts: Parts, base: int) -> Block:
        return signal_block.SignalColumn(parts.arena, parts.pool, base, parts.hist, PREDICTION_NUMBER["signal"], is_flat_without)

    return build


def _none() -> int:
    return 0


def _one(*_: int) -> int:
    return 1


def _own(n: int) -> int:
    return n


def _one_more(n: int) -> int:
    return n + 1  # a previous close, or the bar after the window


_N: Final = ("n",)
_KINDS: Final[Mapping[str, _Kind]] = {
    **{kind: _Kind((), _one, _plain(kind)) for kind in ("close", "mid")},
    **{kind: _Kind(_N, _own, _plain(kind)) for kind in ("ema", "sma", "std", "highest", "lowest")},
    **{kind: _Kind(_N, _one_more, _plain(kind)) for kind in ("rsi", "atr", "prior_highest", "prior_lowest", "momentum")},
    **{kind: _Kind((), _one, _clock(kind)) for kind in ("bar_day", "bar_second", "session_age", "session_left")},
    **{kind: _Kind(("minutes",), _one, _clock(kind)) for kind in ("opening_high", "opening_low")},
    "signal": _Kind((), _none, _signal(False)),
    "signal_else_flat": _Kind((), _none, _signal(True)),
    "volatility": _Kind(_N, _one_more, _volatility),
    "macd_histogram": _Kind(("fast", "slow", "smooth"), lambda fast, slow, smooth: max(fast, slow) + smooth, _macd),
}
_HEARS: Final[Mapping[str, tuple[str, ...]]] = {"mid": ("emit",), **dict.fromkeys(("signal", "signal_else_flat"), ("emit", "slow"))}
PARAMETRIC: Final = tuple(f"{name}({','.join(kind.lengths)})" if kind.lengths else name for name, kind in _KINDS.items())
