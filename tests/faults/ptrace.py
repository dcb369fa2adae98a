"""ptrace(2), seccomp(2) and what else of the kernel a tracer needs; ctypes on libc.

Only x86-64: the tests that inject faults run there, and the product itself has no such limit.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# linux/ptrace.h
PTRACE_CONT = 7
PTRACE_GETREGS = 12
PTRACE_SETREGS = 13
PTRACE_SYSCALL = 24
PTRACE_SEIZE = 0x4206
PTRACE_LISTEN = 0x4208
PTRACE_GET_SYSCALL_INFO = 0x420E
PTRACE_EVENT_SECCOMP = 7
PTRACE_EVENT_STOP = 128
_OPTIONS = (
    0x1  # TRACESYSGOOD: a system call's end is told from a real SIGTRAP by bit 7
    | 0x2 | 0x4 | 0x8  # TRACEFORK, TRACEVFORK, TRACECLONE: children and threads too
    | 0x10  # TRACEEXEC: no SIGTRAP after execve
    | 0x80  # TRACESECCOMP
    | 0x100000  # EXITKILL: nothing outlives the tracer
)  # fmt: skip

# linux/audit.h, linux/seccomp.h, linux/filter.h
_AUDIT_ARCH_X86_64 = 0xC000003E
_RET_TRACE = 0x7FF00000
_RET_ALLOW = 0x7FFF0000
_LOAD_WORD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
_NO_CALL = (1 << 64) - 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class _Registers(ctypes.Structure):
    """``user_regs_struct`` of sys/user.h, x86-64."""

    _fields_ = tuple(
        (name, ctypes.c_ulonglong)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
            *("orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
        )
    )
    rax: int
    orig_rax: int


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


@dataclass(frozen=True)
class Entry:
    """A system call that has not happened yet."""

    number: int
    arguments: tuple[int, ...]


def _ptrace(request: int, pid: int, address: int = 0, data: object = 0) -> int:
    result = int(_libc.ptrace(request, pid, address, data))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def seize(pid: int) -> None:
    """Trace ``pid`` and all that it starts from now on, without stopping it."""
    if platform.machine() != "x86_64":
        raise NotImplementedError("faults are injected on x86-64 only")
    _ptrace(PTRACE_SEIZE, pid, 0, _OPTIONS)


def resume(pid: int, signal: int = 0, *, request: int = PTRACE_CONT) -> None:
    try:
        _ptrace(request, pid, 0, signal)
    except ProcessLookupError:
        return  # killed while it was stopped


def read_entry(pid: int) -> Entry:
    """The call that ``pid`` is stopped at the entry of. Raises ProcessLookupError when it was killed meanwhile."""
    info = ctypes.create_string_buffer(88)
    _ptrace(PTRACE_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    number, *arguments = struct.unpack_from("<7Q", info, 24)
    return Entry(number, tuple(arguments))


def call_failed(pid: int) -> bool:
    """Whether the call that ``pid`` is stopped at the end of returned an error."""
    info = ctypes.create_string_buffer(88)
    _ptrace(PTRACE_GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    return bool(struct.unpack_from("<qB", info, 24)[1])


def fail_call(pid: int, code: int) -> None:
    """Skip the call that ``pid`` is about to make and let it see the errno ``code`` instead (seccomp(2), RET_TRACE)."""
    registers = _Registers()
    _ptrace(PTRACE_GETREGS, pid, 0, ctypes.addressof(registers))
    registers.orig_rax = _NO_CALL
    registers.rax = (1 << 64) - code
    _ptrace(PTRACE_SETREGS, pid, 0, ctypes.addressof(registers))


def read_memory(pid: int, address: int, size: int) -> bytes:
    """Up to ``size`` bytes, less where the mapping ends."""
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, size, address)
    finally:
        os.close(memory)


def peer_name(pid: int, descriptor: int) -> str:
    """The path at which the other end of a connected socket of ``pid`` listens; "" for anything else."""
    with open(f"/proc/{pid}/status") as status:
        leader = next(int(line.split()[1]) for line in status if line.startswith("Tgid:"))
    handle = os.pidfd_open(leader)
    try:
        copy = int(_libc.syscall(_SYS_PIDFD_GETFD, handle, descriptor, 0))
    finally:
        os.close(handle)
    if copy < 0:
        return ""
    try:
        with socket.socket(fileno=copy) as end:
            name = end.getpeername()
    except OSError:  # not a socket, or not connected
        return ""
    return name if isinstance(name, str) else ""


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def compile_filter(calls: Iterable[int], writing: Iterable[tuple[int, int, int]]) -> bytes:
    """A seccomp program that stops at ``calls``, and at ``writing``'s (call, argument, mask) if that argument has
    one of the mask's bits. All other calls run at full speed."""
    stop, go_on = _instruction(_RETURN, _RET_TRACE), _instruction(_RETURN, _RET_ALLOW)
    program = [
        _instruction(_LOAD_WORD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
        go_on,
        _instruction(_LOAD_WORD, _OFFSET_NUMBER),
    ]
    for number in calls:
        program += [_instruction(_JUMP_EQUAL, number, 0, 1), stop]
    for number, argument, mask in writing:
        program.append(_instruction(_JUMP_EQUAL, number, 0, 4))
        program.append(_instruction(_LOAD_WORD, _OFFSET_ARGUMENTS + 8 * argument))
        program += [_instruction(_JUMP_SET, mask, 0, 1), stop, go_on]
    return b"".join([*program, go_on])


def install_filter(program: bytes) -> None:
    """Put the calling process and its children under ``program``; root needs no NO_NEW_PRIVS for it."""
    request = _Program(len(program) // 8, program)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(request), 0, 0) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
