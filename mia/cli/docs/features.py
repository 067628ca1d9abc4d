"""docs/features.md, from the catalogue: what there is in each category, what each input is and what happens when it is missing."""

from __future__ import annotations

from typing import Final

from mia.features.catalogue import INPUTS, Feature, shipped_catalogue

_HEAD: Final = """# Features

Generated from `config/feature_sets.yaml` by `mia docs build`; do not edit. {n} columns, all past-only, none in units of price; the manifest
of a model names those that it reads, and the hash of this catalogue. r = ln(c / c[-1]); o, h, l, c: open, high, low, close of a bar;
ATR = Wilder 14; V, Vb, Vs: volume, of buyers, of sellers; n, nb, ns: trades. Windows end at the newest closed bar; std and var divide by
n unless said otherwise. Rules may also read `close`, `mid`, `ema(n)`, `sma(n)`, `std(n)`, `rsi(n)`, `atr(n)`, `highest(n)`, `lowest(n)`.

A column without a value is never a silent zero. Until its warm-up is over, and while an input is missing, no decision is taken on it; a
model that carries the mask `has(INPUT)` decides all the same, sees the neutral value in its place, and 0 in the mask.
`mia features compute` writes null there.

## Inputs
| input | what it is | when it is missing | columns |
|---|---|---|---|
"""
# What each input is, and what happens without it. An input without an entry fails the test.
INPUT_TEXT: Final = {
    "bars": ("closed bars of the instrument", "no bar, no new value; in files of candles it is all there is"),
    "trades": ("trades with their aggressor", "cold until there are some; candle files have none: null there"),
    "quotes": ("best bid and ask with sizes", "cold until there are some; a stale quote stops decisions; candle files have none"),
    "depth": ("the order book", "no value from a gap in the feed until the next snapshot; candle files have none"),
    "clock": ("engine time", "never missing"),
    "account": ("position, profit and limits of the lane", "never missing live; files have none: null there, training simulates it"),
    "calendar": ("sessions, events, expiries from the calendar files", "no value past the end of the calendar"),
    "reference": ("outside series such as VIX, yields, an index", "no value until published, and past its validity"),
    "funding": ("funding rate and basis of perpetuals", "no value until published, and past its validity"),
    "news": ("scored news and social messages", "no value without a source of them"),
    "predicted": ("predictions of slow models", "no value until the first, and past its validity"),
    "model": ("arrays of the bundle (regimes, latents)", "no value for a bundle without them"),
    "memory": ("clusters of earlier trades in the bundle", "no value for a bundle without them"),
}


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    catalogue = shipped_catalogue()
    parts = [_HEAD.format(n=len(catalogue.features))]
    for name in INPUTS:
        what, missing = INPUT_TEXT[name]
        parts.append(f"| `{name}` | {what} | {missing} | {sum(name in f.inputs for f in catalogue.features)} |\n")
    for category in dict.fromkeys(f.category for f in catalogue.features):
        members = [f for f in catalogue.features if f.category == category]
        parts.append(f"\n## {category} ({len(members)})\n| name | formula | unit | range | inputs | warm-up | missing | source |\n")
        parts.append("|---|---|---|---|---|---|---|---|\n")
        parts += [_row(f) for f in members]
    return "".join(parts)


def _row(f: Feature) -> str:
    from mia.cli.features.catalogue import warm_up

    low, high = f.range
    missing = f"{f.missing}; neutral {f.neutral:g}" if f.neutral else f.missing
    series = f" ({', '.join(f.series)})" if f.series else ""
    cells = (
        f"`{f.name}`",
        f.formula,
        f.unit,
        f"{low:g} to {high:g}",
        f"{', '.join(f.inputs)}{series}",
        warm_up(f.warm_up),
        missing,
        f.source,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
