"""`mia backtest strategies list|show`: the classic strategies that backtests compare with and `miad` can run as rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.policy.rules import Param, RuleSpec

app = typer.Typer(help="The classic strategies: list them, or show one.", rich_markup_mode=None, no_args_is_help=True)


@app.command("list", short_help="All of them, a line each.")
def list_strategies(as_json: JsonOption = False) -> None:
    """List the strategies: name, parameters with their defaults, what they do. `strategy = "rule:NAME"` runs one as a lane of miad."""
    from mia.cli.output import print_json, print_table
    from mia.policy.rules import RULES

    if as_json:
        print_json([described(spec) for spec in RULES.values()])
        return
    rows = [(s.name, s.summary, ", ".join(f"{p.name}={shown(p, p.default)}" for p in s.params) or "none") for s in RULES.values()]
    print_table(("name", "what it does", "parameters"), rows)


@app.command("show", short_help="One of them: formula, source, parameters, columns.")
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a strategy.")], as_json: JsonOption = False) -> None:
    """Show everything about one strategy; an unknown name is answered with the known ones."""
    from mia.cli.output import print_json, print_pairs, print_table
    from mia.policy.rules import rule_spec

    spec = rule_spec(name)
    facts = described(spec)
    if as_json:
        print_json(facts)
        return
    columns = ", ".join(facts["columns"]) or "none"
    print_pairs(
        [
            ("name", spec.name),
            ("does", spec.summary),
            ("formula", spec.formula),
            ("source", spec.source),
            ("columns", f"{columns} (with the defaults)"),
            ("warm-up", f"{facts['warm_up_bars']} bars (with the defaults)"),
            ("as a lane", facts["lane"]),
        ]
    )
    if spec.params:
        print()
        head = ("parameter", "type", "default", "bounds", "unit", "meaning")
        print_table(head, [(p.name, p.kind, shown(p, p.default), bounds(p), p.unit, p.doc) for p in spec.params])


def described(spec: RuleSpec) -> dict[str, Any]:
    """The strategy as plain values; columns, warm-up and the example of a lane are those of the defaults."""
    from mia.policy.rules import make_rule

    rule = make_rule(spec.name)
    example = ", ".join(f"{p.name} = {shown(p, p.default)}" for p in spec.params)
    return {
        "name": spec.name,
        "summary": spec.summary,
        "formula": spec.formula,
        "source": spec.source,
        "parameters": [p._asdict() for p in spec.params],
        "columns": list(rule.columns),
        "reads_last": bool(rule.kernel.reads_last),
        "warm_up_bars": warm_up_bars(rule.columns),
        "lane": f'strategy = "rule:{spec.name}"' + (f", params = {{ {example} }}" if example else ""),
    }


def warm_up_bars(columns: tuple[str, ...]) -> int:
    """Bars that must close before all of the columns can have a value."""
    from mia.features.catalogue import shipped_catalogue
    from mia.features.parametric import parse_parametric

    found = [parse_parametric(name) or shipped_catalogue().get(name) for name in columns]
    return max((column.warm_up.bars for column in found), default=0)


def shown(param: Param, value: float) -> str:
    """A value of the parameter as it stands in a settings file."""
    return str(value).lower() if param.kind == "bool" else f"{value:.15g}" if param.kind == "int" else repr(float(value))


def bounds(param: Param) -> str:
    """What the parameter may be."""
    return "true or false" if param.kind == "bool" else f"{param.lo:.15g} .. {param.hi:.15g}"
