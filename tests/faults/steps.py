"""Durable steps: the system calls that change what a disk, the mount table or PID 1 knows.

Not in the table: stores into a shared mapping and io_uring, which no tracer sees, and ``ioctl(FICLONE)``.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from tests.faults import ptrace

# Operands: pN a path in argument N, pN@M relative to the directory descriptor in argument M, fN a descriptor,
# sN a socket. wN: only if the flags in argument N open for writing. +: takes space, so it may say ENOSPC.
_TABLE = """
open            2    p0 w1 +
openat          257  p1@0 w2 +
openat2         437  p1@0 +
creat           85   p0 +
write           1    f0 +
writev          20   f0 +
pwrite64        18   f0 +
pwritev         296  f0 +
pwritev2        328  f0 +
sendfile        40   f0 +
copy_file_range 326  f2 +
splice          275  f2 +
fallocate       285  f0 +
truncate        76   p0
ftruncate       77   f0
fsync           74   f0 +
fdatasync       75   f0 +
syncfs          306  f0 +
rename          82   p0 p1 +
renameat        264  p1@0 p3@2 +
renameat2       316  p1@0 p3@2 +
link            86   p0 p1 +
linkat          265  p1@0 p3@2 +
symlink         88   p1 +
symlinkat       266  p2@1 +
mkdir           83   p0 +
mkdirat         258  p1@0 +
mknod           133  p0 +
mknodat         259  p1@0 +
unlink          87   p0
unlinkat        263  p1@0
rmdir           84   p0
chmod           90   p0
fchmod          91   f0
fchmodat        268  p1@0
fchmodat2       452  p1@0
chown           92   p0
lchown          94   p0
fchown          93   f0
fchownat        260  p1@0
utime           132  p0
utimes          235  p0
futimesat       261  p1@0
utimensat       280  p1@0
setxattr        188  p0 +
lsetxattr       189  p0 +
fsetxattr       190  f0 +
removexattr     197  p0
lremovexattr    198  p0
fremovexattr    199  f0
mount           165  p1
umount2         166  p0
move_mount      429  p1@0 p3@2
"""
_BUS_TABLE = """
sendto          44   s0
sendmsg         46   s0
"""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OPENAT2, _SENDMSG = 437, 46
_AT_FDCWD = 0xFFFFFFFF & -100
_PATH_LIMIT = 4096
_MESSAGE_LIMIT = 1024
# The header field with code 3 is a string, the called method's name (D-Bus specification, "Header Fields").
_MEMBER = re.compile(rb"\x03\x01s\x00.{4}(\w+)\x00", re.DOTALL)

MANAGER_SOCKETS = ("/run/systemd/private", "/run/dbus/system_bus_socket")

# Random parts of names, in the order they are looked for. The names of layers, images and blobs are 64 digits, and
# the same in every run.
RANDOM_NAMES = (
    r"(?<![0-9a-f])[0-9a-f]{8,32}(?![0-9a-f])",  # secrets.token_hex
    r"(?<=/)tmp[a-z0-9_]{8}(?![a-z0-9_])",  # tempfile
    r"(?<=/)[A-Z0-9]{26}(?![A-Z0-9])",  # overlay/l/LINK
    r"(?<=/)#\d+ \(deleted\)",  # O_TMPFILE
)


@dataclass(frozen=True)
class Operand:
    kind: str
    argument: int
    directory: int | None


@dataclass(frozen=True)
class Call:
    """One row of the table."""

    name: str
    number: int
    operands: tuple[Operand, ...]
    flags: int | None
    takes_space: bool


def _parse_table(table: str) -> Iterator[Call]:
    for line in table.strip().splitlines():
        name, number, *words = line.split()
        operands, flags = [], None
        for word in words:
            if match := re.fullmatch(r"([pfs])(\d)(?:@(\d))?", word):
                directory = int(match[3]) if match[3] else None
                operands.append(Operand(match[1], int(match[2]), directory))
            elif word.startswith("w"):
                flags = int(word[1:])
        yield Call(name, int(number), tuple(operands), flags, "+" in words)


CALLS = {call.number: call for call in _parse_table(_TABLE)}
BUS_CALLS = {call.number: call for call in _parse_table(_BUS_TABLE)}
BUS_NAMES = frozenset(call.name for call in BUS_CALLS.values())
SPACE_NAMES = frozenset(call.name for call in CALLS.values() if call.takes_space)


@dataclass(frozen=True)
class Step:
    """The ``nth`` time that ``call`` was made on ``path``, whose random parts are ``*`` in ``key``.

    ``path`` is where something appears; ``source`` where it comes from, of two operands. For a message to PID 1 it is
    the socket and the D-Bus method.
    """

    call: str
    path: str
    source: str
    key: str
    nth: int

    @property
    def kind(self) -> str:
        """What it has in common with others: the call, and of a message what it asks for."""
        return self.key if self.is_message else self.call

    @property
    def takes_space(self) -> bool:
        return self.call in SPACE_NAMES

    @property
    def is_message(self) -> bool:
        """Sent to PID 1 rather than done to a disk."""
        return self.call in BUS_NAMES

    def __str__(self) -> str:
        what = f"{self.source} -> {self.path}" if self.source else self.path
        return f"{self.call} {what}" + (f" #{self.nth}" if self.nth > 1 else "")


@dataclass(frozen=True)
class Watch:
    """Which steps count: those that touch one of ``directories`` (absolute, as the traced process sees them).

    ``messages``: what PID 1 or the system bus is asked to do, too. ``random_names``: patterns that are another text in
    each run; steps are recognised in a second run by what is left.
    """

    directories: tuple[str, ...]
    messages: bool = False
    random_names: tuple[str, ...] = RANDOM_NAMES

    def covers(self, path: str) -> bool:
        return any(path == each or path.startswith(f"{each}/") for each in self.directories)

    def blur(self, path: str) -> str:
        for pattern in self._patterns:
            path = pattern.sub("*", path)
        return path

    @cached_property
    def calls(self) -> dict[int, Call]:
        return {**CALLS, **BUS_CALLS} if self.messages else CALLS

    def compile_filter(self) -> bytes:
        """The seccomp program that stops at every call that may be a step."""
        plain = [call.number for call in self.calls.values() if call.flags is None]
        writing = [(call.number, call.flags, _WRITING) for call in CALLS.values() if call.flags is not None]
        return ptrace.compile_filter(plain, writing)

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(pattern) for pattern in self.random_names]


def _read_link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # not a descriptor of this process: the call will fail by itself


def _read_path(pid: int, address: int) -> str:
    if not address:
        return ""
    return os.fsdecode(ptrace.read_memory(pid, address, _PATH_LIMIT).partition(b"\0")[0])


def _resolve_path(pid: int, text: str, directory: int | None) -> str:
    """By its text, without following links: the parts that lie in descriptors are resolved already."""
    if directory is None or directory & 0xFFFFFFFF == _AT_FDCWD:
        base = _read_link(f"/proc/{pid}/cwd")
    else:
        base = _read_link(f"/proc/{pid}/fd/{directory & 0xFFFFFFFF}")
    return os.path.normpath(os.path.join(base, text)) if text else base


def _locate(pid: int, entry: ptrace.Entry, operand: Operand) -> str:
    argument = entry.arguments[operand.argument]
    if operand.kind == "p":
        directory = None if operand.directory is None else entry.arguments[operand.directory]
        return _resolve_path(pid, _read_path(pid, argument), directory)
    if operand.kind == "f":
        return _read_link(f"/proc/{pid}/fd/{argument & 0xFFFFFFFF}")
    return ptrace.peer_name(pid, argument & 0xFFFFFFFF)


def _read_member(pid: int, entry: ptrace.Entry) -> str:
    """The D-Bus method that is called; "" for anything else that is sent."""
    start, size = entry.arguments[1:3]
    if entry.number == _SENDMSG:  # struct msghdr, whose third member leads to struct iovec
        vector = int.from_bytes(ptrace.read_memory(pid, start + 16, 8), "little")
        start, size = struct.unpack("<QQ", ptrace.read_memory(pid, vector, 16))
    match = _MEMBER.search(ptrace.read_memory(pid, start, min(size, _MESSAGE_LIMIT)))
    return match[1].decode() if match else ""


def _only_reads(pid: int, entry: ptrace.Entry) -> bool:
    """An ``openat2`` for reading: its flags lie in memory, where the seccomp program cannot look."""
    if entry.number != _OPENAT2:
        return False
    flags = int.from_bytes(ptrace.read_memory(pid, entry.arguments[2], 8), "little")
    return not flags & _WRITING


def recognise(pid: int, entry: ptrace.Entry, watch: Watch) -> Step | None:
    """The step that ``pid`` is about to take, not yet numbered; None if it does not concern ``watch``."""
    call = watch.calls.get(entry.number)
    if call is None or _only_reads(pid, entry):
        return None
    paths = [_locate(pid, entry, operand) for operand in call.operands]
    if call.operands[0].kind == "s":
        if paths[0] not in MANAGER_SOCKETS:
            return None
        member = _read_member(pid, entry)
        # What only asks, or greets, changes nothing: killed there is killed at the steps around it.
        if not member or member.startswith(("Get", "List")):
            return None
        paths[0] = f"{paths[0]} {member}"
    elif not any(watch.covers(path) for path in paths):
        return None
    source = paths[0] if len(paths) > 1 else ""
    return Step(call.name, paths[-1], source, f"{call.name} {watch.blur(paths[-1])}", 0)
