"""Slow series from outside of the market: when each value was known, and the files that users keep of them."""
