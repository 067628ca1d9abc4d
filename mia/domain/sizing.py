"""Sizes in integers: an instrument's figures ready for arithmetic, and how many lots a sum of money carries.

Mids come doubled (bid + ask, in half ticks: "mid2") so that money at the mid needs no fraction until the last halving.
"""

from __future__ import annotations

from typing import Final

import msgspec

from mia.domain.instruments import MONEY_SCALE, Instrument

SHARE_SCALE: Final = 1_000_000_000  # shares of something are int, 1e-9 ("e9")


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What arithmetic needs of an Instrument, as ints; made once per instrument (the Decimals are slow)."""

    instrument: int
    unit_e8: int  # money of one tick times one lot
    is_derivative: bool
    margin_e9: int  # initial margin as share of notional; SHARE_SCALE on spot
    min_notional_e8: int
    tick_num: int  # tick_size as a fraction, for prices that leave as float
    tick_den: int
    lot_e8: int = 1  # 1e-8 of the base in one lot; 1 where the grid is finer than that

    @staticmethod
    def of(instrument: int, definition: Instrument) -> Terms:
        """The figures of `definition`, defined under the id `instrument`."""
        num, den = definition.tick_size.as_integer_ratio()
        margin = definition.initial_margin if definition.is_derivative else 1
        return Terms(
            instrument,
            definition.unit_e8,
            definition.is_derivative,
            int(margin * SHARE_SCALE),
            int(definition.min_notional * MONEY_SCALE),
            num,
            den,
            max(1, int(definition.lot_size * MONEY_SCALE)),
        )


def base_fee_lots(dust_e8: int, fee_e8: int, lot_e8: int, held_lots: int) -> tuple[int, int]:
    """(whole lots that a fee in the base takes from held_lots, the dust after it); all in 1e-8 of the base but for the lots.

    The fee comes out of the dust; when that is not enough a lot is broken and its rest becomes dust, in [0, lot_e8). Never more lots than
    are held: on spot there is nothing to be short of.
    """
    dust_e8 -= fee_e8
    lots = -(dust_e8 // lot_e8) if dust_e8 < 0 else 0
    return max(0, min(lots, held_lots)), dust_e8 + lots * lot_e8


def lots_within(money_e8: int, mid2: int, unit_e8: int) -> int:
    """The most lots whose notional at the mid is not above money_e8; 0 without money or a mid."""
    if not (money_e8 > 0 and mid2 > 0):
        return 0
    return 2 * money_e8 // (mid2 * unit_e8)


def lots_of_equity(equity_e8: int, share_e9: int, mid2: int, terms: Terms) -> int:
    """The most lots that use not more than share_e9 of equity: as notional on spot, as initial margin on derivatives."""
    if not (equity_e8 > 0 and mid2 > 0):
        return 0
    return 2 * equity_e8 * share_e9 // (mid2 * terms.unit_e8 * terms.margin_e9)
