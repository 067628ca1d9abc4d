"""A symbol for a file whose instrument nobody named: from the words of its name that look like one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_QUOTES: Final = "USDT USDC FDUSD BUSD TUSD USD EUR GBP JPY BTC ETH".split()
_PAIR: Final = re.compile(rf"[A-Z][A-Z0-9]{{1,9}}(?:{'|'.join(_QUOTES)})")
_ROOTS: Final = "ES MES NQ MNQ YM MYM RTY M2K CL MCL NG GC MGC SI HG ZN ZB ZF ZT".split()  # of futures
_CONTRACT: Final = re.compile(rf"(?:{'|'.join(_ROOTS)})[FGHJKMNQUVXZ]\d{{1,4}}")
_CURRENCIES: Final = frozenset(_QUOTES) - {"BTC", "ETH"}  # no base in a name of two words
_NUMBER: Final = re.compile(r"\d+[A-Z]{0,3}")  # 2024, 5m, 15min


def symbol_of(path: Path) -> str:
    """`BTCUSDT` of btcusdt_5m.csv, `ETHUSDT.BINANCE` of binance_eth-usdt_5m_2024.feather, `ESH4`; else all letters and digits of the name.

    Behind the point stand the other words but numbers and lengths of bars, so that another source or contract is another instrument, and
    another month of the same one is not. The same name gives the same symbol.
    """
    words = [word for word in re.split(r"[^A-Z0-9]+", path.name.split(".")[0].upper()) if word]
    for is_symbol in (_CONTRACT.fullmatch, _PAIR.fullmatch, _ROOTS.__contains__):
        for at, word in enumerate(words):
            two = word + words[at + 1] if is_symbol == _PAIR.fullmatch and words[at + 1 : at + 2] and _is_pair(word, words[at + 1]) else ""
            if two or is_symbol(word):
                others = words[:at] + words[at + (2 if two else 1) :]
                rest = "".join(w for w in others if not _NUMBER.fullmatch(w))
                return f"{two or word}.{rest}" if rest else two or word
    return "".join(words) or "FILE"


def _is_pair(base: str, quote: str) -> bool:
    return quote in _CURRENCIES and base not in _CURRENCIES and bool(re.fullmatch(r"[A-Z][A-Z0-9]{1,9}", base))
