"""The process: wiring, lifecycle, supervision."""
