"""Standard input, output and error that somebody closed before he started us.

Files opened later would get their numbers: libuv aborts the process when it closes one of them, and a stray print would write into the
journal.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def fill_gaps() -> None:
    """Point what is closed of 0, 1 and 2 at /dev/null. Called before anything of ours is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            fd = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            if fd != number:
                os.dup2(fd, number)
                os.close(fd)
            os.set_inheritable(number, True)
    with suppress(OSError):  # without them it is as silent as was asked for
        sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
        sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
