"""The demo exchange as a process of its own: started with the daemon, watched, started again when it dies, ended with it.

It reads its settings as one JSON line on stdin and ends when stdin closes, so it cannot outlive a daemon that was killed.
Its first line on stdout says where it listens and with which key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from mia.domain.errors import DataError

_READY_S: Final = 20.0
_END_S: Final = 3.0
_AGAIN_S: Final = 1.0
_AGAIN_S_MAX: Final = 60.0
_HEALTHY_S: Final = 10.0
_LINE_BYTES_MAX: Final = 1 << 16
_PACKAGES: Final = str(Path(__file__).resolve().parents[2])
_log = logging.getLogger("miad.exchange")


class Exchange:
    """`python -m mia.sim.servers.demo` under our eyes."""

    def __init__(
        self,
        state: Path,
        settings: dict[str, Any],
        on_up: Callable[[dict[str, Any]], None],
        on_down: Callable[[str], None],
        trace: Path | None = None,
    ) -> None:
        """state: its folder. settings: its first line. on_up(ready line) after each start but the first; on_down(why) when it died.

        trace: it notes there when frames left and when orders came (mia.sim.servers.trace).
        """
        command = [sys.executable, "-m", "mia.sim.servers.demo", "--state", str(state), "--until-stdin-closes"]
        self._command: Final = [*command, "--trace", str(trace)] if trace is not None else command
        self._first_line: Final = msgspec.json.encode(settings) + b"\n"
        self._on_up: Final = on_up
        self._on_down: Final = on_down
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self) -> dict[str, Any]:
        """Start it; what its ready line says. DataError when it does not come up."""
        paths = os.pathsep.join(filter(None, (_PACKAGES, os.environ.get("PYTHONPATH"))))
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
            env={**environment, "PYTHONPATH": paths},
            start_new_session=True,  # a Ctrl-C is meant for the daemon, which then ends it in order
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(self._first_line)
            async with asyncio.timeout(_READY_S):
                await process.stdin.drain()
                line = await process.stdout.readline()
            if not line:
                code = await process.wait()
                raise DataError(f"the demo exchange {_ending(code)} before it was ready: its own line above says why")
            found = msgspec.json.decode(line)
        except (OSError, TimeoutError, ValueError, msgspec.DecodeError) as e:
            await self.stop()
            raise DataError(f"the demo exchange did not come up ({type(e).__name__}: {e}): its own lines above say why") from e
        if not isinstance(found, dict):
            await self.stop()
            raise DataError("the demo exchange did not say where it listens")
        return found

    async def watch(self) -> None:
        """Until canceled: wait for its end, start another; 1 s apart, doubled up to 60 s while it does not live long."""
        wait_s, loop = _AGAIN_S, asyncio.get_running_loop()
        while True:
            assert self._process is not None
            began_s = loop.time()
            code = await self._end_of_process()
            if loop.time() - began_s >= _HEALTHY_S:
                wait_s = _AGAIN_S
            while True:
                why = f"the demo exchange {_ending(code)}; another starts in {wait_s:g} s"
                _log.warning("%s", why)
                self._on_down(why)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _AGAIN_S_MAX)
                try:
                    ready = await self.start()
                except (DataError, OSError) as e:
                    _log.error("%s", e)
                    code = 1
                else:
                    _log.info("the demo exchange is up again, pid %s", self.pid)
                    self._on_up(ready)
                    break

    async def _end_of_process(self) -> int:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while await process.stdout.read(_LINE_BYTES_MAX):
            pass  # what else it says on stdout; nobody reads it
        return await process.wait()

    async def stop(self) -> None:
        """Close its stdin, which ends it; kill what does not end in time."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _ending(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
