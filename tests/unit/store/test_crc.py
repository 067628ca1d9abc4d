"""CRC32C and the record log, compiled or interpreted, against the published check value and each other."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia.kernels.crc import END, S_STATUS, S_WORD, STATE_LONGS, RecordLog, crc32c

SCRIPT = """
import sys
from array import array
from mia.kernels.crc import RecordLog, STATE_LONGS
words = memoryview(bytearray(4096)).cast("q")
log = RecordLog(words, memoryview(array("q", bytes(8 * STATE_LONGS))))
for i in range(1, 40):
    log.append(1 + i % 2, i * 7 - 3, bytearray(bytes((i * j) % 256 for j in range(i))))
sys.stdout.buffer.write(bytes(words.cast("B")))
"""


def new_log(size: int = 1 << 16) -> tuple[RecordLog, memoryview, memoryview]:
    words = memoryview(bytearray(size)).cast("q")
    state = memoryview(array("q", bytes(8 * STATE_LONGS)))
    return RecordLog(words, state), words, state


def read_all(words: memoryview) -> tuple[list[tuple[int, int, bytes]], int]:
    state = memoryview(array("q", bytes(8 * STATE_LONGS)))
    index = memoryview(array("q", bytes(32 * 4096)))
    n = RecordLog(words, state).scan(len(words), -(2**63), index)
    raw = words.cast("B")
    out = []
    for i in range(n):
        at, length, kind, seq = index[4 * i : 4 * i + 4]
        out.append((kind, seq, bytes(raw[at : at + length])))
    return out, state[S_STATUS]


def test_crc32c_gives_the_published_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283
    assert crc32c(b"") == 0


@given(st.lists(st.tuples(st.integers(1, 127), st.integers(-(2**63), 2**63 - 1), st.binary(min_size=1, max_size=70)), max_size=40))
def test_records_read_back_as_written(records: list[tuple[int, int, bytes]]) -> None:
    log, words, _ = new_log()

    for kind, seq, payload in records:
        assert log.append(kind, seq, bytearray(payload)) >= 0
    found, status = read_all(words)

    assert found == records
    assert status == END


def test_a_record_that_does_not_fit_leaves_the_log_as_it_was() -> None:
    log, words, state = new_log(64)
    assert log.append(1, 1, bytearray(16)) == 0

    assert log.append(1, 2, bytearray(24)) == -1
    assert log.append(1, 2, bytearray()) == -1
    assert log.append(1, 2, bytearray(1 << 24)) == -1
    assert state[S_WORD] == 5
    assert not any(words[5:])


@given(st.data())
def test_no_flipped_bit_yields_a_different_record(data: st.DataObject) -> None:
    log, words, state = new_log(4096)
    written = [(1 + i % 2, i, bytes([i]) * (1 + 5 * i)) for i in range(1, 12)]
    for kind, seq, payload in written:
        log.append(kind, seq, bytearray(payload))
    raw = words.cast("B")
    bit = data.draw(st.integers(0, state[S_WORD] * 64 - 1))

    raw[bit // 8] ^= 1 << (bit % 8)
    found, _ = read_all(words)

    assert found == written[: len(found)]
    assert len(found) < len(written)


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_both_builds_write_the_same_bytes(mode: str) -> None:
    env = dict(os.environ, MIA_KERNELS=mode)
    found = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, check=True).stdout

    scope: dict[str, object] = {}
    log, words, _ = new_log(4096)
    for i in range(1, 40):
        log.append(1 + i % 2, i * 7 - 3, bytearray(bytes((i * j) % 256 for j in range(i))))

    assert found == bytes(words.cast("B"))
    assert not scope


def test_find_skips_damage_and_ignores_older_records() -> None:
    log, words, state = new_log()
    offsets = [log.append(1, i, bytearray(b"x" * 20)) for i in range(5)]
    words[offsets[1] // 8] ^= 1 << 40
    probe = memoryview(array("q", bytes(8 * STATE_LONGS)))
    reader = RecordLog(words, probe)
    reader.scan(len(words), 0, memoryview(array("q", bytes(320))))

    assert probe[S_WORD] * 8 == offsets[1]
    assert reader.find(probe[S_WORD], len(words)) * 8 == offsets[2]
    assert reader.find(state[S_WORD], len(words)) == -1
