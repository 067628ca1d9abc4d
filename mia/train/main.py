"""`mia-train`: offline training. The only command that needs the `train` extra."""

from __future__ import annotations

import functools
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mia.domain.errors import ConfigError, MiaError, NotPermitted
from mia.train.settings import FitSettings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Train MIA's policies.")


ExcludeSealed = Annotated[bool, typer.Option("--exclude-sealed", help="Leave rows of sealed holdouts out instead of stopping at them.")]


@app.callback()
def _root() -> None:
    """Train MIA's policies."""


@app.command()
def fit(
    out: Annotated[Path, typer.Option(help="Folder of the new bundle; its name is the model's.")],
    seed: Annotated[int, typer.Option(min=0, max=1_000, help="Decides markets, weights and exploration.")] = 1,
    steps: Annotated[int, typer.Option(min=100, max=100_000_000, help="Environment steps per regime.")] = FitSettings().steps,
    bars: Annotated[
        list[Path] | None, typer.Option(help="Candle file (.feather, .parquet, .csv) instead of simulated markets; may be repeated.")
    ] = None,
    recording: Annotated[list[Path] | None, typer.Option(help="Raw frames to report on in the card; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=3, help="Processes; the result is the same.")] = FitSettings().workers,
    markets: Annotated[int, typer.Option(min=1, max=1_000, help="Simulated training markets.")] = FitSettings().train_markets,
    exclude_sealed: ExcludeSealed = False,
    ranking: Annotated[Path | None, typer.Option(help="A feature_importance.csv to choose columns by, instead of a new one.")] = None,
    feature_models: Annotated[
        Path | None, typer.Option(help="Models of `mia-train features`: their columns may be chosen, and they go into the bundle.")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: an outside series beside --bars, as in `mia features compute`; may be repeated.")
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(help="An input that simulated trading may lose (trades, depth); may be repeated. Default: depth.")
    ] = None,
) -> None:
    """Train one SAC policy per regime and write a bundle that the daemon can load."""
    from mia.train.fit import fit as run

    test = FitSettings().test_markets if markets >= 5 else 5
    masks = tuple(dict.fromkeys(mask)) if mask else FitSettings().masks
    settings = FitSettings(
        seed=seed, steps=steps, workers=workers, train_markets=markets, test_markets=test, masks=masks, exclude_sealed=exclude_sealed
    )
    references = [_named_file(text) for text in reference or []]
    command = shlex.join(["mia-train", *sys.argv[1:]])
    say = functools.partial(typer.echo, err=True)
    fitted = run(out, settings, bars or [], recording or [], command, say, ranking, feature_models, references)
    typer.echo(f"{fitted.folder}: alpha_min {fitted.alpha_min:.3f}, out of sample {fitted.metrics['return_bps_per_hour']:.1f} bps per hour")


def _named_file(text: str) -> tuple[str, Path]:
    name, _, file = text.partition("=")
    if not name or not file:
        raise ConfigError(f"--reference {text}: NAME=FILE is wanted")
    return name, Path(file)


@app.command()
def features(
    out: Annotated[Path, typer.Option(help="File of the new models (.json).")],
    seed: Annotated[int, typer.Option(min=0, max=1_000, help="Decides starts, weights, clusters and simulated markets.")] = 1,
    bars: Annotated[
        list[Path] | None, typer.Option(help="Candle file (.feather, .parquet, .csv) instead of simulated markets; may be repeated.")
    ] = None,
    share: Annotated[float, typer.Option(min=0.1, max=1.0, help="First share of each file that the models may see.")] = 0.6,
    exclude_sealed: ExcludeSealed = False,
    vix: Annotated[Path | None, typer.Option(help="Daily VIX (DATE, CLOSE): fit its forecast, too.")] = None,
) -> None:
    """Fit the models behind the regime, latent and memory columns and write them to a file."""
    from mia.train.feature_models.fit import fit_features
    from mia.train.feature_models.rows import FeatureFitSettings
    from mia.train.settings import perpetual

    settings = FeatureFitSettings(seed=seed, train_share=share, exclude_sealed=exclude_sealed)
    fit_features(out, settings, bars or [], vix, perpetual(), lambda line: typer.echo(line, err=True))
    typer.echo(str(out))


def main() -> None:
    """Exit codes: 0 ok, 1 error, 2 usage, 4 config, 6 refused (sealed history)."""
    try:
        app()
    except ConfigError as e:
        typer.echo(f"mia-train: {e}", err=True)
        raise SystemExit(4) from None
    except NotPermitted as e:
        typer.echo(f"mia-train: {e}", err=True)
        raise SystemExit(6) from None
    except MiaError as e:
        typer.echo(f"mia-train: {e}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
