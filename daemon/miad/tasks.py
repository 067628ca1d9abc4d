"""Named tasks under one supervisor: none of them dies in silence.

A critical one that fails stops the process; any other one makes its part DEGRADED, is said and alerted, and starts again
after a while: 1 s, doubled up to 60 s, from the beginning once it lived long enough.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from mia.domain.errors import FailStop, MiaError

_AGAIN_S: Final = 1.0
_AGAIN_S_MAX: Final = 60.0
_HEALTHY_S: Final = 10.0  # alive for so long: its trouble is over
Make = Callable[[], Coroutine[Any, Any, object]]
OnTrouble = Callable[[str, str], None]  # (task, in words; "" = over)

_log = logging.getLogger("miad.tasks")


class Supervisor:
    """Starts tasks, restarts them, names those in trouble, and ends them in the reverse order."""

    def __init__(self, on_failure: Callable[[BaseException], None], on_trouble: OnTrouble, again_s: float = _AGAIN_S) -> None:
        """on_failure: a critical task ended by an error. on_trouble: another one did, or goes on well again."""
        self._on_failure: Final = on_failure
        self._on_trouble: Final = on_trouble
        self._again_s: Final = again_s
        self._tasks: Final[dict[str, asyncio.Task[None]]] = {}
        self._is_closing = False
        self._ending: Final[set[str]] = set()
        self.troubles: Final[dict[str, str]] = {}

    def start(self, name: str, make: Make, *, is_critical: bool = False, may_end: bool = False) -> asyncio.Task[None]:
        """Run make() as a task of this name; a critical one is not made again. may_end: its end without an error is no trouble."""
        guarded = self._critical(name, make) if is_critical else self._restarted(name, make, may_end)
        task = self._tasks[name] = asyncio.create_task(guarded, name=name)
        return task

    def names(self) -> tuple[str, ...]:
        """The tasks that run; one in trouble with its error."""
        alive = (name for name, task in self._tasks.items() if not task.done())
        return tuple(f"{name}: {self.troubles[name]}" if name in self.troubles else name for name in alive)

    async def stop(self, name: str, timeout_s: float = 5.0) -> bool:
        """End one task for good; False when it does not end in time."""
        task = self._tasks.pop(name, None)
        if task is None or task.done():
            return True
        self._ending.add(name)
        task.cancel()
        await asyncio.wait([task], timeout=timeout_s)
        self._ending.discard(name)
        return task.done()

    async def close(self, timeout_s: float = 5.0) -> list[str]:
        """Cancel all, the youngest first; the names of those that did not end in time."""
        self._is_closing = True
        tasks = [task for task in reversed(self._tasks.values()) if not task.done()]
        for task in tasks:
            task.cancel()
        if not tasks:
            return []
        _, left = await asyncio.wait(tasks, timeout=timeout_s)
        return sorted(task.get_name() for task in left)

    async def _critical(self, name: str, make: Make) -> None:
        try:
            await make()
        except asyncio.CancelledError:
            if not self._is_closing:
                self._on_failure(FailStop(f"task {name} was canceled from outside"))
            raise
        except Exception as e:
            self._on_failure(e)

    async def _restarted(self, name: str, make: Make, may_end: bool) -> None:
        wait_s = self._again_s
        while True:
            began_s = time.monotonic()
            well = asyncio.get_running_loop().call_later(_HEALTHY_S, self._over, name)
            try:
                await make()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if self._is_closing or name in self._ending or task is None:
                    raise
                task.uncancel()
                text = "canceled from outside"
            except Exception as e:  # the task's edge
                _log.debug("task %s", name, exc_info=e)
                text = str(e) if isinstance(e, MiaError) else f"{type(e).__name__}: {e}"
            else:
                if may_end:
                    self._over(name)
                    return
                text = "ended by itself"
            finally:
                well.cancel()
            if time.monotonic() - began_s >= _HEALTHY_S:
                wait_s = self._again_s
            self._trouble(name, text, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _AGAIN_S_MAX)

    def _trouble(self, name: str, text: str, wait_s: float) -> None:
        level = logging.DEBUG if self.troubles.get(name) == text else logging.ERROR  # the same again is no news
        self.troubles[name] = text
        _log.log(level, "task %s ended (%s); it starts again in %g s", name, text, wait_s)
        self._on_trouble(name, text)

    def _over(self, name: str) -> None:
        if self.troubles.pop(name, None) is not None:
            _log.info("task %s runs again", name)
            self._on_trouble(name, "")
