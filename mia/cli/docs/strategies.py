"""docs/strategies.md, from the registry of rules."""

from __future__ import annotations

from typing import Final

from mia.cli.backtest.strategies import bounds, described, shown
from mia.policy.rules import RULES, RuleSpec

_HEAD: Final = """# Strategies

Generated from `mia/policy/rules/` by `mia docs build`; do not edit. `mia backtest strategies list` and `show NAME` print the same.

Classic strategies without learned weights: baselines for everything else, and runnable as they are, live on paper and in backtests.
A lane names one in `miad.toml` (`bars`, `trigger` and `min_interval_ms` are the lane's, see [configuration](configuration.md)):

```toml
[[lanes]]
instrument = "sim:SIMUSD"
strategy = "rule:ema_cross"
params = { fast_period = 10, slow_period = 30, size = 0.5, long_only = true }
bars = "time:1m"
```

A signal is a share of the lane's cap in [-1, 1]; spot cannot be short, the engine holds nothing where a strategy wants to be. A strategy
sees its columns as float32 (prices in ticks, of closed bars) and the signal that it gave last, and nothing else: the same bars give the
same signals, live, after a restart and in history. It decides nothing until every column has seen the bars that it needs. c is the close,
s a standard deviation; a year has 365.25 days of the time that passed. Sizes that follow volatility are rounded down to 1/1024.
"Until" and "as before" mean the signal given last, not the position: what a limit refused or a stop closed is still wanted, and is
opened again when the engine allows it.
"""


def page() -> str:
    """The page as Markdown text, ending in a newline."""
    return _HEAD + "".join(_section(spec) for spec in RULES.values())


def _section(spec: RuleSpec) -> str:
    facts = described(spec)
    columns = ", ".join(f"`{name}`" for name in facts["columns"]) or "none"
    text = f"\n## `{spec.name}`\n{spec.summary}\n\n- formula: {spec.formula}\n- source: {spec.source}\n"
    text += f"- columns with the defaults: {columns}; warm-up {facts['warm_up_bars']} bars\n"
    if not spec.params:
        return text
    text += "\n| parameter | type | default | bounds | unit | meaning |\n|---|---|---|---|---|---|\n"
    for p in spec.params:
        text += f"| `{p.name}` | {p.kind} | {shown(p, p.default)} | {bounds(p)} | {p.unit} | {p.doc} |\n"
    return text
