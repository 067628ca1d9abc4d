"""The command line of miad. argparse: the start path imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from mia import __version__


def _speed(text: str) -> float:
    if text == "max":
        return math.inf
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (0 < value <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r}: use 'max' or a number above 0, such as 1 or 10")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (0 < value <= 10**9):
        raise argparse.ArgumentTypeError(f"{text!r}: use a number of seconds above 0")
    return value


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a folder, or leave it out")
    return Path(text)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options; SystemExit(2) with usage when they are off."""
    parser = argparse.ArgumentParser(prog="miad", description="MIA's trading daemon. Paper is the default and needs no key.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--paper", action="store_true", help="trade with simulated fills (default)")
    mode.add_argument("--live", action="store_true", help="trade real money: not in this version, refused")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings; default ~/.config/mia/miad.toml, else the shipped ones")
    parser.add_argument(
        "--venue", metavar="NAME", help="where to trade: demo (an exchange of its own on this machine; shipped), sim (in this process)"
    )
    parser.add_argument(
        "--replay", type=Path, action="append", metavar="PATH", help="trade a recording; may be repeated (files in sequence)"
    )
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X|max",
        help="of a replay, or of the simulated market; max: replays and --venue sim only (default 1)",
    )
    parser.add_argument("--state", type=_folder, metavar="DIR", help="state directory; default $XDG_STATE_HOME/miad/<instance>-<mode>")
    parser.add_argument("--duration", type=_seconds, metavar="S", help="stop after so many seconds of wall time")
    parser.add_argument("--allow-root", action="store_true", help="let --live run as root")
    parser.add_argument("--version", action="version", version=f"miad {__version__}")
    options = parser.parse_args(argv)
    if options.replay and options.live:
        parser.error("--replay is paper trading: leave out --live")
    if options.replay and options.venue:
        parser.error("--replay brings its own venue: leave out --venue")
    return options
