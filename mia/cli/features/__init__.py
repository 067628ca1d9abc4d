"""`mia features`: what the catalogue holds, columns of files, checks of them, and what a regime model says of history."""

from __future__ import annotations

from mia.cli.features import catalogue, checks, compute, drift, regimes  # noqa: F401  # each adds its verbs, in this order
from mia.cli.features.options import app

__all__ = ("app",)
