"""`python -m mia.sim.servers.demo`: the demo exchange as a process of its own.

The first line of stdin is a JSON object of settings (`sim`, `instrument`, `demo`); one ready line of JSON goes to stdout.
Exit codes: 0 ended in order, 1 cannot run (port taken, state in use), 4 bad settings.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from mia.domain.errors import ConfigError, MiaError
from mia.domain.instruments import Instrument
from mia.sim.settings import DemoSettings, SimMarketSettings


class DemoConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the process is told: the market, the instrument, the exchange."""

    instrument: Instrument
    sim: SimMarketSettings = SimMarketSettings()
    demo: DemoSettings = DemoSettings()


def read_config(line: bytes) -> DemoConfig:
    """The settings line; ConfigError says what is wrong with it."""
    try:
        config = msgspec.json.decode(line, type=DemoConfig)
    except msgspec.ValidationError as e:
        raise ConfigError(f"settings on stdin: {e.__cause__ or e}") from e
    except msgspec.DecodeError as e:
        raise ConfigError(f"settings on stdin: the first line must be a JSON object with sim, instrument and demo ({e})") from e
    if config.instrument.kind != "spot":
        raise ConfigError(f"instrument {config.instrument.symbol}: the demo exchange trades spot, got kind {config.instrument.kind!r}")
    return config


async def serve(
    config: DemoConfig,
    *,
    state: Path | None = None,
    trace: Path | None = None,
    until_stdin_closes: bool = False,
    on_ready: Callable[[dict[str, Any]], None],
) -> None:
    """Run the exchange until SIGTERM, SIGINT (unless a parent is watched) or the end of stdin; on_ready gets the addresses."""
    from mia.sim.servers.server import DemoServer

    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, is_over.set)
    if until_stdin_closes:  # a Ctrl-C of the terminal is for the parent, which then closes our stdin
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_reader(0, _on_stdin, loop, is_over)
    else:
        loop.add_signal_handler(signal.SIGINT, is_over.set)
    market = msgspec.structs.replace(config.sim, seed=config.demo.seed)
    server = DemoServer(market, config.instrument, config.demo, state, trace)
    try:
        await server.start()
    except OSError as e:
        await server.stop()
        raise MiaError(
            f"demo exchange: 127.0.0.1:{config.demo.port} cannot be used ({os.strerror(e.errno or 0)}): "
            "choose another port ([demo] port, or --port), or 0 for any free one"
        ) from e
    gc.freeze()  # modules and history are no garbage: a full collection over them would hold frames up
    at = f"127.0.0.1:{server.port}"
    keys = server.credentials
    on_ready(
        {
            "ready": True,
            "rest": f"http://{at}",
            "stream": f"ws://{at}",
            "api": f"ws://{at}/ws-api/v3",
            "api_key": keys.api_key,
            "secret": keys.secret,
            "pid": os.getpid(),
        }
    )
    watched = [asyncio.create_task(event.wait(), name=name) for event, name in ((is_over, "end asked for"), (server.has_failed, "failure"))]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    for task in watched:
        task.cancel()
    await server.stop()
    if server.failure is not None:
        raise MiaError(f"demo exchange: cannot go on: {server.failure}") from server.failure


def _on_stdin(loop: asyncio.AbstractEventLoop, is_over: asyncio.Event) -> None:
    """The parent's end of the pipe closed: it stopped, or it died."""
    if not os.read(0, 4096):
        loop.remove_reader(0)
        is_over.set()


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mia.sim.servers.demo", description="The demo exchange; settings on stdin.")
    parser.add_argument("--port", type=int)
    parser.add_argument("--state", type=Path, metavar="DIR")
    parser.add_argument("--speed", type=float, metavar="X")
    parser.add_argument("--until-stdin-closes", action="store_true")
    parser.add_argument("--trace", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        config = read_config(sys.stdin.buffer.readline())
        given = {name: value for name in ("port", "speed") if (value := getattr(options, name)) is not None}
        config = msgspec.structs.replace(config, demo=DemoSettings(**{**msgspec.structs.asdict(config.demo), **given}))
        asyncio.run(
            serve(
                config,
                state=options.state,
                trace=options.trace,
                until_stdin_closes=options.until_stdin_closes,
                on_ready=lambda ready: print(msgspec.json.encode(ready).decode(), flush=True),
            )
        )
    except ConfigError as e:
        print(f"demo exchange: {e}", file=sys.stderr)
        return 4
    except (MiaError, OSError) as e:
        print(f"{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
