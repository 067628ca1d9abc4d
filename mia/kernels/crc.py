"""CRC32C and the record log: appending to, walking and searching a block of int64 words that holds journal records.

A record is 24 bytes of header and the payload, zero-padded to 8 bytes, so that every access is a whole word:
  word 0: payload length (24 bits) | kind (8 bits, 1..127) | CRC32C (32 bits) over everything else of the record
  word 1: record number (low 32 bits) | CRC of the record before it (32 bits): the chain
  word 2: seq
CRC32C (Castagnoli, RFC 3720): the state passed between calls is the plain register, inverted by `crc32c` alone.
"""

from __future__ import annotations

from typing import Final

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.mia.kernels.crchw import mia_crc_words

HEADER_WORDS: Final = 3
PAYLOAD_BYTES_MAX: Final = (1 << 24) - 1
# what state[S_STATUS] says after `scan`
MORE: Final = 0  # the words end inside a record, or `out` is full
END: Final = 1  # a zero word: nothing was ever written here
BAD: Final = 2  # something is here that is not the next record
# places in the state view
S_WORD: Final = 0  # next word to write or read
S_CRC: Final = 1  # CRC of the last record
S_NUMBER: Final = 2  # number of the next record
S_SEQ: Final = 3  # seq of the last record
S_STATUS: Final = 4
STATE_LONGS: Final = 5

_MASK32: Final = 0xFFFFFFFF


def _table() -> list[int]:
    """Castagnoli's byte table (reflected polynomial 0x82F63B78)."""
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = (c >> 1) ^ 0x82F63B78 if c & 1 else c >> 1
        table.append(c)
    return table


_TABLE: Final = _table()


def crc32c(data: bytes, seed: int = 0) -> int:
    """CRC32C of data (any bytes-like), continuing from an earlier result `seed`; for headers and small blocks."""
    crc = (seed ^ _MASK32) & _MASK32
    table = _TABLE
    for byte in memoryview(data).cast("B"):
        crc = table[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ _MASK32


@cython.cclass
class RecordLog:
    """Records in `words` (int64 view, writable), with the position in `state` (int64 view of STATE_LONGS)."""

    words: cython.longlong[::1]
    state: cython.longlong[::1]
    low: cython.longlong  # the low 32 bits; literals above 31 bits would become Python objects in the compiled module
    top: cython.longlong  # bit 31

    def __init__(self, words: memoryview, state: memoryview) -> None:
        if len(state) < 5:
            raise ValueError("state needs STATE_LONGS places")
        self.words = words
        self.state = state
        self.low = _MASK32
        self.top = 1 << 31

    @cython.cfunc
    def _crc(self, head: cython.longlong, first: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.longlong:
        """Register after `head` (word 0 without its CRC half) and n words from `first`; the caller made sure that they exist."""
        crc: cython.longlong = self.low
        if cython.compiled:
            crc = mia_crc_words(crc, cython.address(head), 1)
            return mia_crc_words(crc, cython.address(self.words[first]), n)
        else:  # noqa: RET505 - the compiler drops this branch
            table = _TABLE
            for i in range(first - 1, first + n):
                word = head if i < first else self.words[i]
                for shift in range(0, 64, 8):
                    crc = table[(crc ^ (word >> shift)) & 255] ^ (crc >> 8)
            return crc

    @cython.cfunc
    def _payload_words(self, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Payload words of the record at word `at` if its header is plausible, else -1; -2 when it reaches past `end`."""
        length: cython.Py_ssize_t = self.words[at] & 0xFFFFFF
        kind: cython.longlong = (self.words[at] >> 24) & 255
        if length == 0 or kind == 0 or kind > 127:
            return -1
        length = (length + 7) >> 3
        if at + 3 + length > end:
            return -2
        return length

    @cython.cfunc
    def _is_valid(self, at: cython.Py_ssize_t, payload_words: cython.Py_ssize_t) -> cython.bint:
        """True when the record's own CRC agrees (the chain is the caller's to check)."""
        crc: cython.longlong = self._crc(self.words[at] & self.low, at + 1, 2 + payload_words)
        return crc == (self.words[at] >> 32) & self.low

    @cython.ccall
    def append(self, kind: cython.longlong, seq: cython.longlong, payload: bytearray) -> cython.longlong:
        """Write one record; returns its byte offset, or -1 when it does not fit (then nothing was written).

        kind: 1 to 127; payload: 1 to PAYLOAD_BYTES_MAX bytes. The words behind the last record are zero.
        """
        n: cython.Py_ssize_t = len(payload)
        at: cython.Py_ssize_t = self.state[0]
        payload_words: cython.Py_ssize_t = (n + 7) >> 3
        if n == 0 or n > 0xFFFFFF or at + 3 + payload_words > self.words.shape[0]:
            return -1
        head: cython.longlong = n | (kind << 24)
        crc: cython.longlong = (self.state[1] ^ self.top) - self.top  # bit 31 of a CRC is the sign of the word that holds it
        self.words[at + 2 + payload_words] = 0
        if cython.compiled:
            source: cython.p_char = payload
            memcpy(cython.address(self.words[at + 3]), source, n)
        else:
            padded = bytes(payload) + bytes(payload_words * 8 - n)
            for i in range(payload_words):
                self.words[at + 3 + i] = int.from_bytes(padded[8 * i : 8 * i + 8], "little", signed=True)
        self.words[at + 2] = seq
        self.words[at + 1] = (self.state[2] & self.low) | (crc << 32)
        crc = self._crc(head, at + 1, 2 + payload_words)
        self.state[1] = crc
        crc = (crc ^ self.top) - self.top
        self.words[at] = head | (crc << 32)
        self.state[0] = at + 3 + payload_words
        self.state[2] += 1
        self.state[3] = seq
        return at * 8

    @cython.ccall
    def scan(self, end: cython.Py_ssize_t, seq_min: cython.longlong, out: cython.longlong[::1]) -> cython.Py_ssize_t:
        """Walk valid records from state[S_WORD] up to word `end`; list those with seq >= seq_min in `out`.

        out: 4 places a record: byte offset of the payload, its length, kind, seq. Returns the number of records listed;
        state moves on, state[S_STATUS] says why it stopped (MORE, END, BAD).
        """
        found: cython.Py_ssize_t = 0
        room: cython.Py_ssize_t = out.shape[0] // 4
        at: cython.Py_ssize_t = self.state[0]
        payload_words: cython.Py_ssize_t
        status: cython.longlong = 0
        while found < room and at < end:
            if self.words[at] == 0:
                status = 1
                break
            if at + 3 > end:
                break
            payload_words = self._payload_words(at, end)
            if payload_words == -2:
                break
            if (
                payload_words == -1
                or (self.words[at + 1] >> 32) & self.low != self.state[1]
                or self.words[at + 1] & self.low != self.state[2] & self.low
                or not self._is_valid(at, payload_words)
            ):
                status = 2
                break
            self.state[1] = (self.words[at] >> 32) & self.low
            self.state[2] += 1
            self.state[3] = self.words[at + 2]
            if self.words[at + 2] >= seq_min:
                out[4 * found] = (at + 3) * 8
                out[4 * found + 1] = self.words[at] & 0xFFFFFF
                out[4 * found + 2] = (self.words[at] >> 24) & 255
                out[4 * found + 3] = self.words[at + 2]
                found += 1
            at += 3 + payload_words
        self.state[0] = at
        self.state[4] = status
        return found

    @cython.ccall
    def find(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """First word in [start, end) where a record valid by itself and numbered above state[S_NUMBER] begins; -1 for none."""
        at: cython.Py_ssize_t = start
        payload_words: cython.Py_ssize_t
        while at + 4 <= end:
            if self.words[at] != 0 and ((self.words[at + 1] - self.state[2]) & self.low) < 0x10000000:
                payload_words = self._payload_words(at, end)
                if payload_words > 0 and self._is_valid(at, payload_words):
                    return at
            at += 1
        return -1

    @cython.ccall
    def last_used(self, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """One past the last word in [start, end) that is not zero; `start` when all are."""
        at: cython.Py_ssize_t = end
        while at > start and self.words[at - 1] == 0:
            at -= 1
        return at
