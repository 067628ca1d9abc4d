"""Numbers from arrays: what an equity track and its trades say, how sure that is, and what is left after counting every trial.

Knows nothing of runs, engines or files. `summary.summarize` is the whole of it; every figure is one entry of `catalogue.STATISTICS`.
"""
