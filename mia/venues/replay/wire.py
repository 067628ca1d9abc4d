"""Lines `<receive ns> <payload>` of a recording, split fast: compiled like a kernel.

Receive times that step back are clamped to the last one; a jump of over an hour ahead is believed at the third line in a row.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.string import memchr

_INT64_MAX = cython.declare(cython.longlong, 9223372036854775807)
_JUMP_MAX_NS = cython.declare(cython.longlong, 3600000000000)
_JUMP_LINES = cython.declare(cython.longlong, 3)


@cython.final
@cython.cclass
class LineSplitter:
    """Cuts chunks of bytes into (ts_recv_ns, payload); keeps the unfinished line between chunks."""

    rest: bytes
    last_ns: cython.longlong
    jumps: cython.longlong
    n_lines: cython.longlong
    n_bad: cython.longlong
    n_clamped: cython.longlong

    def __init__(self) -> None:
        self.rest = b""
        self.last_ns = 0
        self.jumps = 0
        self.n_lines = 0
        self.n_bad = 0
        self.n_clamped = 0

    def lines(self) -> int:
        """Lines seen, good or bad."""
        return int(self.n_lines)

    def bad(self) -> int:
        """Lines dropped: no receive time, no payload, or an implausible jump ahead."""
        return int(self.n_bad)

    def clamped(self) -> int:
        """Lines whose receive time stepped back."""
        return int(self.n_clamped)

    def last_recv_ns(self) -> int:
        """Receive time of the last good line, 0 before it."""
        return int(self.last_ns)

    def pending(self) -> int:
        """Bytes of the unfinished line."""
        return len(self.rest)

    def begin_file(self) -> None:
        """The next line may lie any time after the last one."""
        self.jumps = _JUMP_LINES

    @cython.ccall
    def split(self, chunk: bytes) -> list:  # type: ignore[type-arg]
        """Frames of all lines that end in this chunk, in order."""
        b: cython.p_uchar
        end: cython.p_uchar
        data: bytes = self.rest + chunk if self.rest else chunk
        n: cython.Py_ssize_t = len(data)
        start: cython.Py_ssize_t = 0
        p: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        ns: cython.longlong
        out: list = []  # type: ignore[type-arg]
        if cython.compiled:
            b = cython.cast(cython.p_uchar, cython.cast(cython.p_char, data))
        else:
            b = data + b"\0"
        while True:
            if cython.compiled:
                end = cython.cast(cython.p_uchar, memchr(b + start, 10, n - start))
                stop = end - b if end != cython.NULL else -1
            else:
                stop = data.find(b"\n", start)
            if stop < 0:
                break
            self.n_lines += 1
            p = start
            ns = 0
            while p < stop and b[p] >= 48 and b[p] <= 57 and p - start < 19 and ns <= 922337203685477579:
                ns = ns * 10 + (b[p] - 48)
                p += 1
            if p == start or b[p] != 32 or not self._is_plausible(ns):
                self.n_bad += 1
            else:
                p += 1
                if ns < self.last_ns:
                    self.n_clamped += 1
                    ns = self.last_ns
                self.last_ns = ns
                if stop > p and b[stop - 1] == 13:
                    out.append((ns, data[p : stop - 1]))
                elif stop > p:
                    out.append((ns, data[p:stop]))
                else:
                    self.n_bad += 1
            start = stop + 1
        self.rest = data[start:]
        return out

    @cython.ccall
    def finish(self) -> list:  # type: ignore[type-arg]
        """The frame of a last line without its end, when it is whole as far as one can see; else it is counted as bad."""
        rest: bytes = self.rest
        self.rest = b""
        if not rest:
            return []
        if rest.rstrip().endswith(b"}"):
            return self.split(rest + b"\n")
        self.n_lines += 1
        self.n_bad += 1
        return []

    @cython.cfunc
    def _is_plausible(self, ns: cython.longlong) -> cython.bint:
        if self.last_ns == 0 or ns < self.last_ns or ns - self.last_ns <= _JUMP_MAX_NS:
            self.jumps = 0
            return True
        self.jumps += 1
        return self.jumps >= _JUMP_LINES
