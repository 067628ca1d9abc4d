"""Which bars a plan is built on."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final, Literal

import msgspec

from mia.domain.errors import ConfigError
from mia.domain.instruments import Instrument
from mia.kernels.arena import Arena
from mia.kernels.bars import KINDS, BarBuilder

_UNITS_NS: Final = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}


class BarSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kind and size of bars.

    size: time: ns; tick: trades; volume: base units; dollar: quote currency.
    empty: what becomes of a time interval without trades: `fill` closes a bar with volume 0 and the last price, `skip` none.
    """

    kind: Literal["time", "tick", "volume", "dollar"]
    size: Decimal
    empty: Literal["fill", "skip"] = "fill"

    def __post_init__(self) -> None:
        if not (self.size.is_finite() and 0 < self.size < Decimal(10) ** 18):
            raise ConfigError(f"bars: size of {self.kind} bars must be above 0 and finite, got {self.size}")
        if self.kind in ("time", "tick") and self.size != self.size.to_integral_value():
            raise ConfigError(f"bars: size of {self.kind} bars must be a whole number, got {self.size}")

    @classmethod
    def parse(cls, text: str, empty: Literal["fill", "skip"] = "fill") -> BarSpec:
        """From "time:1s" (ms, s, m, h, d), "tick:100", "volume:10.0", "dollar:100000"; ConfigError otherwise."""
        kind, _, size = text.strip().partition(":")
        factor = 1
        if kind == "time":
            digits = size.rstrip("mshd")
            factor = _UNITS_NS.get(size[len(digits) :], 0)
            size = digits
        try:
            value = Decimal(size) * factor
        except InvalidOperation:
            value = Decimal(0)
        if kind not in KINDS or not (value.is_finite() and value > 0):
            raise ConfigError(f'bars {text!r}: use "time:1s" (ms, s, m, h, d), "tick:100", "volume:10.0" or "dollar:100000"')
        return cls(kind=kind, size=value, empty=empty)  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """The form `parse` reads; time in the largest unit that fits."""
        if self.kind != "time":
            return f"{self.kind}:{self.size.normalize():f}"
        unit, factor = next((u, n) for u, n in reversed(_UNITS_NS.items()) if self.size % n == 0 or n == _UNITS_NS["ms"])
        return f"time:{(self.size / factor).normalize():f}{unit}"

    @property
    def interval_ns(self) -> int:
        """Interval of time bars in ns, 0 for other kinds."""
        return int(self.size) if self.kind == "time" else 0


def build_bars(spec: BarSpec, instrument: Instrument, arena: Arena) -> BarBuilder:
    """The builder of these bars, with size in the instrument's ticks and lots."""
    size = spec.size
    if spec.kind == "volume":
        size = spec.size / instrument.lot_size
    elif spec.kind == "dollar":
        size = spec.size * 100_000_000 / instrument.unit_e8
    return BarBuilder(arena, KINDS.index(spec.kind), float(size), spec.empty == "fill")
