"""Test bodies that run inside a throw-away machine, as root, next to its systemd.

PID 1 refuses clients that it cannot see, so the private socket works only from inside its PID namespace. The body
runs in a fork of the test process that has moved there; what it raises comes back as text.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from tests.machine.cgroups import join_groups, read_cgroups
from tests.machine.host import HARNESS_SLICE, ThrowawayHost

# linux/sched.h: mount, cgroup, UTS, IPC, PID and network namespaces
_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
_SECONDS = 240.0


def inside(body: Callable[..., None]) -> Callable[..., None]:
    """Make a test of ``body``: it takes the fixture ``host`` and the body's own parameters, and runs it there."""
    signature = inspect.signature(body)

    @functools.wraps(body)
    def test(host: ThrowawayHost, **parameters: Any) -> None:
        run_inside(host, functools.partial(body, **parameters))

    extra = inspect.Parameter("host", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = signature.replace(parameters=[extra, *signature.parameters.values()])  # type: ignore[attr-defined]
    return test


def run_inside(host: ThrowawayHost, body: Callable[[], None]) -> None:
    """Run ``body`` in the machine and fail as it fails."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _enter(host.leader, body, writing)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], _SECONDS)
    if not ready:
        os.kill(child, signal.SIGKILL)
    with open(reading, "rb") as pipe:
        report = pipe.read().decode(errors="replace") if ready else f"still running after {_SECONDS} seconds"
    _, status = os.waitpid(child, 0)
    if report or status:
        pytest.fail(f"inside {host.name}: {report or f'wait status {status}'}", pytrace=False)


def _enter(leader: int, body: Callable[[], None], report: int) -> NoReturn:
    try:
        join_groups(_harness_groups(leader))
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(os.pidfd_open(leader), _NAMESPACES) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "setns")
        # The PID namespace is entered by children only (setns(2)).
        grandchild = os.fork()
        if grandchild == 0:
            body()
            os._exit(0)
        os.close(report)
        _, status = os.waitpid(grandchild, 0)
        os._exit(1 if status else 0)
    except BaseException:  # noqa: BLE001 (told to the parent, which fails with it)
        os.write(report, traceback.format_exc().encode())
        os._exit(1)
    finally:
        sys.stdout.flush()


def _harness_groups(leader: int) -> list[Any]:
    tops = [group.parent if group.name == "init.scope" else group for group in read_cgroups(leader)]
    return [top / HARNESS_SLICE if (top / HARNESS_SLICE).exists() else top for top in tops]
