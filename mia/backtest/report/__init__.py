"""The page of a run: one HTML file that says first whether it made money after costs and how sure that is. No script, nothing loaded."""

from __future__ import annotations

from mia.backtest.report.page import page
from mia.backtest.report.view import Rival, View, view_of

__all__ = ("Rival", "View", "page", "view_of")
