"""Limits, trade windows, drawdown and penalty state: what may be traded, and why not."""
