"""`mia`: the operator's and researcher's tool. Here the verbs are named and errors become one line and an exit code.

Exit codes: 0 ok, 1 error, 2 usage, 3 not running, 4 configuration, 5 timeout, 6 refused. Each verb lives in its own module
and imports what it needs when it runs, so that `mia status` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from mia import __version__
from mia.cli import (
    alerts,
    backtest,
    bench_verb,
    data,
    db,
    docs,
    doctor,
    features,
    history,
    install,
    logs,
    models,
    operate,
    paper,
    replay,
    report,
    show_config,
    status,
    venue,
    why,
    windows,
)
from mia.domain.errors import AlreadyRunning, ConfigError, MiaError, NotPermitted, NotRunning

_ERRORS: Final = (
    (ConfigError, 4), (AlreadyRunning, 6), (NotPermitted, 6), (NotRunning, 3), (TimeoutError, 5), (MiaError, 1), (OSError, 1),
)  # fmt: skip
_CLICK_ERROR: Final[type[BaseException]] = typer.BadParameter.__mro__[2]  # ClickException, wherever this typer keeps its click

app = typer.Typer(
    name="mia",
    help="Look at, check and command MIA, the trading daemon (`miad`). Nothing here ever prompts.",
    epilog="Exit codes: 0 ok, 1 error, 2 usage, 3 not running, 4 configuration, 5 timeout, 6 refused. Reading verbs take --json.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: aligned, the same in a pipe, no boxes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("status", short_help="What the daemon is doing.")(status.status)
app.command(
    "paper",
    short_help="Trade on the demo exchange and watch it.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(paper.paper)
app.command("pause", short_help="Open no new positions; exits go on.")(operate.pause)
app.command("resume", short_help="Trade again; --reset clears a halt or a kill.")(operate.resume)
app.command("flatten", short_help="Close positions at market, then open nothing.")(operate.flatten)
app.command("kill", short_help="Stop trading until `mia resume --reset`.")(operate.kill)
app.command("reload", short_help="Read the settings again.")(operate.reload)
app.command("history", short_help="Newest decisions, orders, fills, trades, ...")(history.history)
app.command("why", short_help="A decision in plain words; the last one if none is named.")(why.why)
app.command("logs", short_help="The daemon's log; -f follows it.")(logs.logs)
app.add_typer(alerts.app, name="alerts", short_help="Alerts that it raised; tail -f follows them.")
app.command("show-config", short_help="All settings, and where each came from.")(show_config.show_config)
app.command("doctor", short_help="Is this installation sound?")(doctor.doctor)
app.command("replay", short_help="Run a journal again, compare every decision.")(replay.replay)
app.command("bench", short_help="How fast this installation is: engine, or service.")(bench_verb.bench)
app.command("install", short_help="As a service of systemd: print it, or write it.")(install.install)
app.add_typer(docs.app, name="docs", short_help="Pages generated from the code: settings, files, codes.")
app.add_typer(backtest.app, name="backtest", short_help="Strategies on history, and how far to trust the numbers.")
app.add_typer(data.app, name="data", short_help="Candle files: resample, report, roll, compare; the catalogue.")
app.add_typer(db.app, name="db", short_help="Ask the database, export, copy it.")
app.add_typer(features.app, name="features", short_help="What the features are; compute and check columns.")
app.add_typer(report.app, name="report", short_help="Pages to read in a browser: a backtest.")
app.add_typer(models.app, name="models", short_help="Which models are here; show, check.")
app.add_typer(windows.app, name="windows", short_help="Sessions of an exchange for trade_windows.toml.")
app.add_typer(venue.app, name="venue", short_help="Which venues there are; run the demo exchange.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mia {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)] = False,
) -> None:
    """Options of `mia` itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit code. Whatever goes wrong is one line on stderr."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="mia", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as e:
        return _report(e)
    return code if isinstance(code, int) else 0


def _report(error: Exception) -> int:
    if isinstance(error, _CLICK_ERROR):
        context = getattr(error, "ctx", None)
        message = str(getattr(error, "format_message", lambda: error)())
        if not message or type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(message or (context.get_help() if context else ""))
            return 2
        path = getattr(context, "command_path", "mia")
        return _fail(2, f"{' '.join(message.split())} (see {path} --help)")
    for kind, code in _ERRORS:
        if isinstance(error, kind):
            return _fail(code, str(error))
    if os.environ.get("MIA_TRACEBACK"):
        raise error
    if isinstance(error, ModuleNotFoundError) and not (error.name or "mia").startswith("mia"):
        return _fail(4, f"{error.name} is not installed, which this verb needs: pip install 'mia[train]'")
    return _fail(1, f"internal error, {type(error).__name__}: {error}; MIA_TRACEBACK=1 shows where")


def _fail(code: int, text: str) -> int:
    print("mia: " + " ".join(text.split()), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
