"""`mia bench`: the verb; what is measured and how is mia.cli.bench, bench_service, bench_features and bench_backtest."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mia.cli.places import JsonOption


class What(StrEnum):
    """What is measured."""

    ENGINE = "engine"
    SERVICE = "service"
    FEATURES = "features"
    BACKTEST = "backtest"


def bench(
    what: Annotated[
        What,
        typer.Argument(
            help="engine: frame to order in the process. service: over loopback, on the demo exchange. "
            "features: all columns, ticks and history. backtest: bars, ticks and statistics of history, a cold run."
        ),
    ] = What.ENGINE,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of recordings; else MIA_DATA, else simulated.")] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Everything at length; minutes instead of 50 s (service: 5 instead of 2 minutes; features: 10 million rows)."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="backtest: a hundredth of the data, which shows that it works, not how fast.")
    ] = False,
    peer: Annotated[
        Path | None, typer.Option("--peer", metavar="PYTHON", help="backtest: beside vectorbt and backtesting.py of that environment.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast and how lean this installation is. Nothing passes or fails; the goals stand beside the figures."""
    from mia.cli import bench as engine
    from mia.cli import bench_backtest as backtest
    from mia.cli import bench_features as features
    from mia.cli import bench_service as service
    from mia.cli.output import print_json

    if (quick or peer is not None) and what is not What.BACKTEST:
        raise typer.BadParameter(f"{what} has neither: they are of `mia bench backtest`", param_hint="--quick, --peer")
    if what is What.BACKTEST:
        if data is not None or full:
            raise typer.BadParameter("history is measured on made data, always at length: leave it out", param_hint="--data, --full")
        result, text = backtest.measure(quick=quick, peer=peer), backtest.text
    elif what is What.SERVICE:
        if data is not None:
            raise typer.BadParameter("the service is measured on the demo exchange: leave out --data", param_hint="--data")
        result, text = service.measure(full=full), service.text
    elif what is What.FEATURES:
        if data is not None:
            raise typer.BadParameter("features are measured on a simulated market and made bars: leave out --data", param_hint="--data")
        result, text = features.measure(full=full), features.text
    else:
        result, text = engine.measure(engine.data_folder(data), full=full), engine.text
    if as_json:
        print_json(result)
    else:
        print(text(result))
