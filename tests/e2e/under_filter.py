"""Run a command under the system call rules of a unit, without systemd: `python under_filter.py UNIT COMMAND...`.

Applies SystemCallFilter, SystemCallErrorNumber, MemoryDenyWriteExecute and RestrictAddressFamilies as systemd 252 does, with libseccomp.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from errno import EAFNOSUPPORT, EPERM
from pathlib import Path

ALLOW = 0x7FFF0000
EQ, GT, MASKED = 4, 6, 7


class Compare(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


LIB = ctypes.CDLL("libseccomp.so.2")
LIB.seccomp_init.restype = ctypes.c_void_p
LIB.seccomp_init.argtypes = [ctypes.c_uint32]
LIB.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compare)]
LIB.seccomp_load.argtypes = [ctypes.c_void_p]


def errno(number: int) -> int:
    return 0x00050000 | number


def number(name: str) -> int:
    return int(LIB.seccomp_syscall_resolve_name(name.encode()))


def members(name: str) -> set[str]:
    """The system calls of a set such as @system-service."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in text.splitlines() if line.startswith("    ") and not line.strip().startswith("#")]
    return set().union(*(members(word) for word in words))


def load(default: int, rules: list[tuple[int, int, list[Compare]]]) -> None:
    context = LIB.seccomp_init(default)
    for action, call, compares in rules:
        code = LIB.seccomp_rule_add_array(context, action, call, len(compares), (Compare * max(1, len(compares)))(*compares))
        assert code == 0, (call, code)
    assert LIB.seccomp_load(context) == 0


def main() -> None:
    settings: dict[str, list[str]] = {}
    for line in Path(sys.argv[1]).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.setdefault(key, []).append(value)
    assert settings["MemoryDenyWriteExecute"] == ["yes"]
    assert settings["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert settings["SystemCallErrorNumber"] == ["EPERM"]
    allowed: set[str] = set()
    for value in settings["SystemCallFilter"]:
        named: set[str] = set().union(*(members(word) for word in value.removeprefix("~").split()))
        allowed = allowed - named if value.startswith("~") else allowed | named
    write_and_exec = [Compare(2, MASKED, 6, 6)]
    rules = [(errno(EPERM), number("mmap"), write_and_exec)]
    rules += [(errno(EPERM), number(call), [Compare(2, MASKED, 4, 4)]) for call in ("mprotect", "pkey_mprotect")]
    rules += [(errno(EAFNOSUPPORT), number("socket"), [Compare(0, EQ, family, 0)]) for family in (0, *range(3, 10))]
    rules.append((errno(EAFNOSUPPORT), number("socket"), [Compare(0, GT, 10, 0)]))
    load(ALLOW, rules)
    load(errno(EPERM), [(ALLOW, number(call), []) for call in sorted(allowed) if number(call) >= 0])
    os.execvp(sys.argv[2], sys.argv[2:])


main()
