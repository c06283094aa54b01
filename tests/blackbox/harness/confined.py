"""Runs a program in the confinement of its systemd unit as far as a process can confine itself: the system calls, and memory that is
never writable and executable. A call that the unit forbids kills the program, so that none goes unnoticed.

As a program: confined.py UNIT PROGRAM ARGUMENT…"""

import ctypes
import errno
import os
import pathlib
import platform
import re
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_MDWE, SECCOMP_MODE_FILTER = 38, 22, 65, 2
KILL, ALLOW = 0x80000000, 0x7FFF0000
ARCHITECTURES = {"x86_64": (0xC000003E, "x86_64-linux-gnu/asm/unistd_64.h"), "aarch64": (0xC00000B7, "asm-generic/unistd.h")}


def unit_lines(unit, name):
    return re.findall(rf"^{name}=(.*)$", pathlib.Path(unit).read_text(), re.MULTILINE)


def members(name):
    """The system calls of a set, with those of the sets within it."""
    if not name.startswith("@"):
        return {name}
    shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in shown.splitlines()[1:]]
    return set().union(*(members(word) for word in words if word and not word.startswith("#")))


def allowed_calls(unit):
    """What SystemCallFilter= lets through; systemd lets @default through in any case (systemd.exec(5))."""
    allowed = members("@default")
    for line in unit_lines(unit, "SystemCallFilter"):
        names = set().union(*(members(word) for word in line.lstrip("~").split()))
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


def numbers(header):
    text = pathlib.Path("/usr/include", header).read_text()
    return {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}


def filter_program(architecture, calls):
    """BPF: kill for another architecture, allow what is listed, kill for the rest."""
    def instruction(code, jump_true, jump_false, value):
        return struct.pack("HBBI", code, jump_true, jump_false, value)
    load, equal, result = 0x20, 0x15, 0x06
    program = [instruction(load, 0, 0, 4), instruction(equal, 1, 0, architecture), instruction(result, 0, 0, KILL),
               instruction(load, 0, 0, 0)]
    for call in sorted(calls):
        program += [instruction(equal, 0, 1, call), instruction(result, 0, 0, ALLOW)]
    return b"".join([*program, instruction(result, 0, 0, KILL)])


def confine(unit):
    libc = ctypes.CDLL(None, use_errno=True)
    architecture, header = ARCHITECTURES[platform.machine()]
    known = numbers(header)
    calls = allowed_calls(unit)
    if os.geteuid() == 0:
        calls.add("fchown")  # of SQLite, when it runs as root, which the unit never lets it
    code = filter_program(architecture, {known[call] for call in calls if call in known})
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    # Kernels before 6.3 do not know this one.
    if "yes" in unit_lines(unit, "MemoryDenyWriteExecute") and libc.prctl(PR_SET_MDWE, 1, 0, 0, 0) != 0:
        assert ctypes.get_errno() == errno.EINVAL, os.strerror(ctypes.get_errno())
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, os.strerror(ctypes.get_errno())
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())


if __name__ == "__main__":
    confine(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])
