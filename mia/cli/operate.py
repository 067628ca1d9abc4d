"""`mia pause | resume | flatten | kill | reload`: one command to the running daemon, one line of what came of it. Nothing prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mia.cli.places import ConfigOption, JsonOption, StateOption

# What follows when the daemon does not say more.
_FOLLOWS: Final = {
    "pause": "opens nothing until `mia resume`; exits and protective orders go on",
    "resume": "may open positions again",
    "flatten": "closes what is open at market, then opens nothing until `mia resume`",
    "kill": "cancels working orders, keeps those that protect an open position, and stays so over a restart until `mia resume --reset`",
    "reload": "settings were read again, nothing changed",
}
_NOT_AS_ASKED: Final = {  # states in which `resume` has not made it trade
    "NO_NEW": "still opens nothing",
    "SAFE": "still exits only: `mia resume --reset` clears it",
    "HALTED": "still halted: `mia resume --reset` clears it",
    "KILLED": "still killed: `mia resume --reset` clears it",
}

_NEEDS_RESET: Final = ("SAFE", "HALTED", "KILLED")
_REASON_CHARS_MAX: Final = 100  # of each, in the one line; `mia status` tells all

ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept in the journal.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, max=600, help="How long to wait for the answer.")]


def pause(
    reason: ReasonOption = "", state: StateOption = None, config: ConfigOption = None, timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Open no new positions (NO_NEW); exits and protective orders go on. `mia resume` ends it."""
    _command("pause", {"reason": reason}, state, config, timeout, as_json)


def resume(
    reset: Annotated[bool, typer.Option("--reset", help="Clear a halt, a kill, SAFE and a tripped drawdown stop, too.")] = False,
    state: StateOption = None, config: ConfigOption = None, timeout: TimeoutOption = 10.0, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Trade again after `pause` or `flatten`; with --reset also after a halt or a kill."""
    _command("resume", {"reset": reset}, state, config, timeout, as_json)


def flatten(
    reason: ReasonOption = "", state: StateOption = None, config: ConfigOption = None, timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Close every position at market, then open nothing (NO_NEW) until `mia resume`."""
    _command("flatten", {"reason": reason}, state, config, timeout, as_json)


def kill(
    reason: ReasonOption = "", state: StateOption = None, config: ConfigOption = None, timeout: TimeoutOption = 10.0,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Stop trading until `mia resume --reset`, over restarts, too; orders are canceled but those that protect an open position."""
    _command("kill", {"reason": reason}, state, config, timeout, as_json)


def reload(
    state: StateOption = None, config: ConfigOption = None, timeout: TimeoutOption = 10.0, as_json: JsonOption = False
) -> None:  # fmt: skip
    """Have the daemon read its settings again (as SIGHUP does); what cannot change while it runs stays, and it says so."""
    _command("reload", {}, state, config, timeout, as_json)


def _command(verb: str, args: dict[str, Any], state: Path | None, config: Path | None, timeout_s: float, as_json: bool) -> None:
    """Exit 3 when no daemon runs, 5 when it did not answer in time, 6 (or what it says) when it refuses."""
    import msgspec

    from mia.cli.output import print_json, print_note
    from mia.cli.panel import printable
    from mia.cli.places import state_dir
    from mia.control.client import ask
    from mia.control.messages import Done, Request
    from mia.domain.errors import DataError, NotRunning
    from mia.store.state_dir import is_running, read_lock

    path = state_dir(state, config)
    try:
        answer = ask(path, Request(verb=verb, args=args), timeout_s)
    except NotRunning:
        if is_running(path):  # it may trade: never say that it does not
            pid = read_lock(path).get("pid")
            raise DataError(
                f"miad runs with {path} (pid {pid}), but its control socket is not there: it is starting, or the file was removed; "
                f"then end it with `kill -TERM {pid}` and start it again"
            ) from None
        raise
    except TimeoutError as e:
        raise TimeoutError(f"{e}: whether it acted on it is not known yet, see `mia status`") from None
    if as_json:
        print_json(answer)
    if not answer.ok:
        print_note(printable(answer.error))
        raise typer.Exit(answer.exit_code or 1)
    if not as_json:
        try:
            done = msgspec.convert(answer.result, Done)
        except msgspec.ValidationError as e:
            raise DataError(f"miad took `{verb}`, but its answer does not fit this version of mia ({e}): see `mia status`") from e
        typer.echo(printable(_told(verb, done.before, done.after, done.reasons, done.follows)))


def _told(verb: str, before: str, after: str, reasons: tuple[str, ...], follows: str) -> str:
    """`pause: READY -> NO_NEW (operator: lunch); opens nothing until ...`."""
    from mia.cli.panel import cut

    change = f"{before} -> {after}" if before != after else f"{after} as before"
    why = f" ({'; '.join(cut(reason, _REASON_CHARS_MAX) for reason in reasons)})" if reasons else ""
    default = _NOT_AS_ASKED.get(after, _FOLLOWS[verb]) if verb == "resume" else _FOLLOWS[verb]
    if after in _NEEDS_RESET:  # a plain `resume` will be refused
        default = default.replace("`mia resume`", "`mia resume --reset`")
    return f"{verb}: {change}{why}; {follows or default}"
