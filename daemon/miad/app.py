"""miad: the process. What can refuse a start, in order; then the daemon (miad.daemon) holds the state directory and trades.

Exit codes: 0 ok, 1 error, 2 usage, 4 config, 6 refused (a second instance, live without its conditions).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, Final, Literal

from mia.assemble import build_engine
from mia.domain.errors import AlreadyRunning, ConfigError, MiaError, NotPermitted
from mia.kernels.build_info import interpreted_modules, stale_modules
from mia.settings import Loaded, load_settings
from mia.store.state_dir import StateDir, resolve_state_dir
from mia.telemetry import log as telemetry
from miad import eventloop
from miad.daemon import Daemon
from miad.feeds import CONNECTED, open_source
from miad.options import parse
from miad.stdio import fill_gaps

_FOREVER: Final = float("inf")


def main(argv: list[str] | None = None) -> int:
    """Run the daemon; the exit code. Every refusal is one line on stderr."""
    fill_gaps()
    options = parse(argv)
    try:
        return run(options)
    except ConfigError as e:
        return _fail(4, str(e))
    except (AlreadyRunning, NotPermitted) as e:
        return _fail(6, str(e))
    except MiaError as e:
        return _fail(1, str(e))
    except Exception as e:  # the process's edge: a fault of ours is one line, too
        if os.environ.get("MIA_TRACEBACK"):
            raise
        return _fail(1, f"unexpected {type(e).__name__}: {e} (a fault of ours; MIA_TRACEBACK=1 shows where)")


def _fail(code: int, text: str) -> int:
    print(f"miad: {text}", file=sys.stderr, flush=True)
    return code


def run(options: Any) -> int:
    """Check everything that can refuse a start, then hold the state directory and trade."""
    started_s = time.monotonic()
    if options.live:
        raise NotPermitted("live trading is not part of this version: use --paper")
    load = _loader(options)
    loaded = load()
    _check_kernels()
    settings = loaded.settings
    source = open_source(settings, options.replay or [])
    engine = build_engine(settings, source.venue if source is not None else settings.instance.venue)
    mode: Literal["replay", "paper"] = "replay" if source is not None and source.is_replay else "paper"
    path = resolve_state_dir(options.state, instance=settings.instance.name, mode=mode, environment=os.environ)
    with closing(StateDir(path)) as state_dir:
        if source is not None:
            source.claim(state_dir.path)
        if mode != "replay":
            state_dir.claim(settings.instance.venue)
        telemetry.configure(settings.logging, state_dir=state_dir.path)
        try:
            daemon = Daemon(options, loaded, load, source, engine, state_dir, started_s)
            eventloop.run(daemon.live())
        finally:
            telemetry.shutdown()
        daemon.report()
    return 0


def _loader(options: Any) -> Callable[[], Loaded]:
    """Reads the settings, with what the command line says over them."""
    overrides: dict[str, str] = {"instance.venue": options.venue} if options.venue else {}
    load = partial(load_settings, options.config, overrides)
    if options.speed != 1.0 and not options.replay and load().settings.instance.venue in CONNECTED:
        if options.speed == _FOREVER:
            raise ConfigError("--speed max: the demo exchange keeps time with its clients; give a number, such as 20")
        overrides["demo.speed"] = str(options.speed)
    return load


def _check_kernels() -> None:
    stale = stale_modules()
    if stale:
        raise ConfigError(f"compiled kernels are older than their sources ({', '.join(stale)}): run `make kernels` or install again")
    interpreted = interpreted_modules()
    if interpreted:
        _fail(0, f"warning: {len(interpreted)} kernels run interpreted, tens of times slower; fine for a look, not for trading")


if __name__ == "__main__":
    raise SystemExit(main())
