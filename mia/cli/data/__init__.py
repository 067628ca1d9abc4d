"""`mia data`: candle files made into others, looked at, and stored in the catalogue. Each verb has a module of its own."""

from __future__ import annotations

from mia.cli.data import catalogue, compare, import_, report, resample, roll  # noqa: F401  # each adds its verb
from mia.cli.data.options import app

__all__ = ("app",)
