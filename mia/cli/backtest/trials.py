"""`mia backtest trials`: what the trial registry holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mia.cli.places import JsonOption

if TYPE_CHECKING:
    from mia.backtest.trials import Registry, Row

app = typer.Typer(help="Every configuration that was ever scored, by whom, and how often.", rich_markup_mode=None, no_args_is_help=True)
FamilyOption = Annotated[str | None, typer.Option("--family", metavar="NAME", help="Only this family of strategies.")]
DataOption = Annotated[
    list[Path] | None, typer.Option("--data", metavar="FILE", help="Only trials on this file, or on what was made of it; may be repeated.")
]


@app.command("list", short_help="Newest first.")
def list_(
    family: FamilyOption = None,
    data: DataOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1_000_000, help="At most N.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List trials: what was tried on which data, its score, and who asked."""
    from mia.cli.output import print_json, print_note, print_table

    registry = _registry()
    rows = registry.trials(family, _sha256s(data), limit=limit) if registry else []
    if as_json:
        print_json(rows)
        return
    if not rows:
        print_note("no trials yet")
        return
    head = ("trial", "opened", "by", "family", "score", "sharpe/yr", "evals", "data", "parameters")
    print_table(head, [_line(row) for row in rows], right=("score", "sharpe/yr", "evals"))


@app.command("show", short_help="One trial with each of its evaluations.")
def show(key: Annotated[str, typer.Argument(metavar="TRIAL", help="The first digits of its key.")], as_json: JsonOption = False) -> None:
    """Show one trial."""
    from mia.cli.output import print_json, print_pairs, print_table
    from mia.domain.errors import DataError

    registry = _registry()
    if registry is None:
        raise DataError("no trials yet: nothing was evaluated on this machine")
    row, evaluations = registry.show(key)
    if as_json:
        print_json({"trial": row, "evaluations": evaluations})
        return
    print_pairs(
        [
            ("trial", row.key),
            ("family", row.family),
            ("parameters", _params(row.params)),
            *(("data", f"{d.name}  {d.sha256}") for d in row.data),
            ("span", f"{_utc(row.first_ns)} to {_utc(row.last_ns)} UTC"),
            ("costs", row.costs_sha256 or "-"),
        ]
    )
    head = ("opened UTC", "by", "closed", "metric", "score", "sharpe/period", "periods", "skew", "kurtosis")
    rows = [
        (_utc(e["opened_ns"]), e["by"], _utc(e["closed_ns"]) if e["closed_ns"] else "never", e["metric"] or "-",
         *(_n(e[name]) for name in ("score", "sharpe", "periods", "skew", "kurtosis")))
        for e in evaluations
    ]  # fmt: skip
    print_table(head, rows, right=head[4:])


@app.command("count", short_help="How many trials there were: what the deflated Sharpe ratio reads.")
def count(family: FamilyOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Count trials; one that was never closed counts, one that was evaluated again counts once."""
    from mia.backtest.trials import Count
    from mia.cli.output import print_json, print_pairs

    registry = _registry()
    found = registry.count(family, _sha256s(data)) if registry else Count(0, 0, 0, 0, None)
    if as_json:
        print_json(found._asdict())
        return
    print_pairs(
        [
            ("trials", str(found.trials)),
            ("evaluations", str(found.evaluations)),
            ("never closed", f"{found.unclosed} (they count)"),
            ("with a Sharpe ratio", str(found.scored)),
            ("variance of annual Sharpe ratios", _n(found.variance_per_year)),
        ]
    )


def _registry() -> Registry | None:
    from mia.backtest.trials import Registry
    from mia.store.state_dir import data_home

    path = data_home() / "trials.db"
    return Registry(path) if path.is_file() else None


def _sha256s(files: list[Path] | None) -> list[str]:
    from mia.backtest.readers import file_sha256
    from mia.backtest.validation.seal import SealLog

    return sorted(SealLog().related([file_sha256(path) for path in files])) if files else []


def _line(row: Row) -> tuple[str, ...]:
    s = row.score
    yearly = s.sharpe * s.periods_per_year**0.5 if s and s.sharpe is not None and s.periods_per_year else None
    score = f"{s.metric} {_n(s.value)}" if s else "never closed"
    data = ", ".join(d.name for d in row.data)
    return (
        row.key[:12], _utc(row.opened_ns), ",".join(row.by), row.family, score, _n(yearly), str(row.evaluations), data, _params(row.params),
    )  # fmt: skip


def _params(params: dict[str, Any]) -> str:
    from mia.backtest.trials import canonical

    return " ".join(f"{k}={v if isinstance(v, str) else canonical(v)}" for k, v in params.items()) or "-"


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _utc(ns: int) -> str:
    from mia.backtest.readers import utc

    return utc(ns)
