"""The verbs of the control socket: each becomes an event of the engine, in the journal before it is answered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from mia.control.messages import COMMANDS, READS, Answer, Done, Request
from mia.domain.errors import NotPermitted
from mia.domain.events import AnyEvent, Flatten, Kill, Pause, Resume
from mia.store.journal import Journal
from miad.starts import KillFlag, Starts
from miad.states import StateKeeper
from miad.status import Reporter

_REASON_MAX: Final = 200
_log = logging.getLogger("miad.control")


class Commands:
    """The handler of the control server."""

    def __init__(
        self,
        tell: Callable[[AnyEvent], None],
        journal: Journal,
        keeper: StateKeeper,
        reporter: Reporter,
        kill_flag: KillFlag,
        starts: Starts,
        reload: Callable[[], list[str]],
        *,
        is_replay: bool,
    ) -> None:
        """tell: the way into the engine. reload: reads the settings again; what came of it, in lines."""
        self._tell: Final = tell
        self._journal: Final = journal
        self._keeper: Final = keeper
        self._reporter: Final = reporter
        self._kill_flag: Final = kill_flag
        self._starts: Final = starts
        self._reload: Final = reload
        self._is_replay: Final = is_replay
        self._verbs: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
            "status": self._status, "ping": self._ping, "pause": self._pause, "resume": self._resume,
            "flatten": self._flatten, "kill": self._kill, "reload": self._again,
        }  # fmt: skip

    def __call__(self, request: Request) -> Answer:
        """Do it; MiaError says why not (the server answers with its exit code)."""
        verb = self._verbs.get(request.verb)
        if verb is None:
            known = ", ".join((*READS, *COMMANDS))
            return Answer(ok=False, error=f"unknown verb {request.verb!r}: use one of {known}", exit_code=2)
        if request.verb in COMMANDS:
            if self._is_replay:
                raise NotPermitted(f"{request.verb}: a replay takes no commands, because it must decide as the recording says")
            if self._keeper.stage == "stopping" and request.verb == "kill":
                return Answer(ok=True, result=self._kill_at_the_end(request.args))
            if self._keeper.stage == "stopping":
                raise NotPermitted(f"{request.verb}: the daemon is stopping")
            _log.warning("operator: %s%s", request.verb, _said(request.args))
        return Answer(ok=True, result=verb(request.args))

    def _status(self, args: dict[str, Any]) -> object:
        return self._reporter.status()

    def _ping(self, args: dict[str, Any]) -> object:
        return {"state": self._keeper.look().word}

    def _pause(self, args: dict[str, Any]) -> object:
        return self._did(Pause(0, 0, 0, _reason(args, "operator")))

    def _flatten(self, args: dict[str, Any]) -> object:
        return self._did(Flatten(0, 0, 0, _reason(args, "flatten")))

    def _kill(self, args: dict[str, Any]) -> object:
        """The flag first, so that nothing that happens from here on forgets it."""
        reason = _reason(args, "operator")
        self._keeper.why_killed = reason
        try:
            self._kill_flag.set(reason)
        except OSError as e:  # the journal still has it
            _log.error("the kill flag cannot be written (%s); the journal carries the kill alone", e)
        return self._did(Kill(0, 0, 0, "daemon", reason))

    def _kill_at_the_end(self, args: dict[str, Any]) -> Done:
        """Entries are being canceled already; what counts is that the next start is killed. NotPermitted when that cannot be kept."""
        reason = _reason(args, "operator")
        _log.warning("operator: kill reason=%s, while stopping: the next start is KILLED", reason)
        try:
            self._kill_flag.set(reason)
        except OSError as e:
            raise NotPermitted(f"the daemon is stopping and the kill flag cannot be written ({e}): kill again after the next start") from e
        return Done(before="STOPPING", after="STOPPING", follows="the daemon ends, and its next start is KILLED until `mia resume --reset`")

    def _resume(self, args: dict[str, Any]) -> object:
        """Without reset only a pause ends; with it also a halt, a kill, SAFE and the drawdown stop."""
        is_reset = args.get("reset") is True
        before = self._keeper.look()
        if not is_reset and before.word in ("KILLED", "HALTED", "SAFE"):
            raise NotPermitted(f"{before.line} (resume alone ends a pause only)")
        if is_reset:
            try:  # before the engine hears of it: what cannot be undone for good is not undone at all
                self._kill_flag.clear()
            except OSError as e:
                raise NotPermitted(f"the kill flag cannot be removed ({e}): the next start would be KILLED again, so it stays so") from e
            self._starts.reset()
            self._keeper.why_killed = ""
        return self._did(Resume(0, 0, 0, is_reset))

    def _again(self, args: dict[str, Any]) -> object:
        before = self._keeper.look()
        follows = "; ".join(self._reload())
        after = self._keeper.look()
        return Done(before=before.word, after=after.word, reasons=after.reasons, follows=follows)

    def _did(self, event: AnyEvent) -> Done:
        """Into the engine and onto the disk; the state that follows."""
        before = self._keeper.look()
        self._tell(event)
        self._journal.sync()
        after = self._keeper.look()
        follows = "the daemon still starts: this stands before its first decision" if self._keeper.stage == "starting" else ""
        return Done(before=before.word, after=after.word, reasons=after.reasons, follows=follows)


def _said(args: dict[str, Any]) -> str:
    """What came with a verb, as it is typed: ` --reset`, ` (lunch)`."""
    reset = " --reset" if args.get("reset") is True else ""
    return reset + (f" ({_reason(args, '')})" if args.get("reason") else "")


def _reason(args: dict[str, Any], default: str) -> str:
    """The operator's words: one printable line."""
    text = str(args.get("reason") or default)
    return "".join(c if c.isprintable() else " " for c in text)[:_REASON_MAX].strip() or default
