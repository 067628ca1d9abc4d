"""Logging, process metrics, operation timings, OpenMetrics."""
