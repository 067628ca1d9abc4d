"""Options that would change nothing in a run: refused, since whoever gives one believes that it counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from mia.cli.backtest import options as o

if TYPE_CHECKING:
    from mia.cli.backtest.options import History

_SIMULATED: Final = "the simulated market"
_CANDLES: Final = "candle files"
_FRAMES: Final = "recorded frames"
_STORED_BARS: Final = "bars of the catalogue"
_STORED_EVENTS: Final = "trades and quotes of the catalogue"
_BARS: Final = frozenset({_CANDLES, _STORED_BARS})
_EVENTS: Final = frozenset({_SIMULATED, _FRAMES, _STORED_EVENTS})
_STEPS: Final = frozenset({_CANDLES, _STORED_BARS, _STORED_EVENTS})

# Where each option counts; what is not here counts everywhere, or is refused further on.
_WHERE: Final[Mapping[str, frozenset[str]]] = {
    "--duration": frozenset({_SIMULATED}),
    "--seed": frozenset({_SIMULATED}),
    "--tick": _STEPS,
    "--lot": _STEPS,
    "--fee": _STEPS,
    "--warm-up": _STEPS,
    "--kind": frozenset({_CANDLES}),
    "--tz": frozenset({_CANDLES}),
    "--on-duplicate": frozenset({_CANDLES}),
    "--fill": _BARS,
    "--half-spread-ticks": _BARS,
    "--cost spread": _BARS,
    "--cost queue": _EVENTS,
    "--exclude-sealed": frozenset({_CANDLES, _FRAMES, _STORED_BARS, _STORED_EVENTS}),
}


def refuse_idle(history: History, *, duration: float, seed: int | None, signals: Path | None, signal_age: str | None) -> None:
    """BadParameter names an option that was given and does nothing here, or two that contradict each other."""
    parts = {text.partition(".")[0] for text in history.cost or ()}
    given = {
        "--duration": duration not in (0.0, o.DURATION_S),
        "--seed": seed is not None,
        "--tick": history.tick is not None,
        "--lot": history.lot is not None,
        "--fee": history.fee is not None,
        "--warm-up": history.warm_up != o.WARM_UP,
        "--kind": history.kind is not None,
        "--tz": history.tz is not None and signals is None,
        "--on-duplicate": history.on_duplicate is not o.OnDuplicate.error,
        "--fill": history.fill is not None,
        "--half-spread-ticks": history.half_spread_ticks is not None,
        "--cost spread": "spread" in parts,
        "--cost queue": "queue" in parts,
        "--exclude-sealed": history.exclude_sealed,
    }
    market = _market(history)
    for option in (name for name, is_given in given.items() if is_given):
        if market and market not in _WHERE[option]:
            raise typer.BadParameter(f"{option}: changes nothing on {market}: it is for {_joined(_WHERE[option])}")
    if given["--warm-up"] and history.from_ is None and history.days is None:
        raise typer.BadParameter("--warm-up: changes nothing without --from or --days: every bar is traded")
    if history.from_ is not None and history.days is not None:
        raise typer.BadParameter(f"--from {history.from_} and --days {history.days}: each says where the span begins: leave one out")
    if given["--half-spread-ticks"] and given["--cost spread"]:
        raise typer.BadParameter("--half-spread-ticks and --cost spread.*: each says what the spread is: leave one out")
    if signal_age is not None and signals is None:
        raise typer.BadParameter("--signal-age: changes nothing without --signals")


def _market(history: History) -> str:
    from mia.backtest.readers import is_candle_file

    if history.assets:
        return _STORED_BARS if history.read is o.Read.bars else _STORED_EVENTS
    if history.data and not history.data[0].is_file():
        return ""  # said by whoever reads it
    if history.data:
        return _CANDLES if is_candle_file(history.data[0]) else _FRAMES
    return _SIMULATED


def _joined(markets: frozenset[str]) -> str:
    *first, last = sorted(markets)
    return f"{', '.join(first)} and {last}" if first else last
