"""Candle files made into other candle files, and looked at: resampling, contract rolls, reports, comparisons."""
