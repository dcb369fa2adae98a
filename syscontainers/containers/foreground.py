"""Running a bundle in the foreground, in a scope of its own, and ending with it.

The runtime has our terminal and our standard streams. It waits at a pipe until PID 1 has moved it into the scope; if
we die before, the pipe ends and so does it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from ..systemd.manager import Manager
from ..systemd.startscript import started
from .bundle import SLICE, Bundle

_FORWARDED = (signal.SIGTERM, signal.SIGHUP)
_NOT_STARTED = 125


def run_bundle(manager: Manager, bundle: Bundle, runtime: Path, description: str) -> int:
    """Run it to its end; the payload's exit status, 128 and the number of the signal that ended it.

    Raises SystemdError where there can be no scope.
    """
    run = [str(runtime), "run", "--bundle", str(bundle.directory), bundle.id]
    command = started(bundle.directory, str(runtime), bundle.id, run)
    child, release = _fork_waiting(command)
    with _signals_for(child):
        try:
            manager.start_scope(bundle.scope, description, SLICE, child)
            os.write(release, b"\n")
        finally:
            os.close(release)
            _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _fork_waiting(command: Sequence[str]) -> tuple[int, int]:
    """A child that becomes ``command`` when a byte is written to the descriptor returned with its number."""
    waiting, release = os.pipe()
    child = os.fork()
    if child == 0:
        _wait_and_become(command, waiting, release)
    os.close(waiting)
    return child, release


def _wait_and_become(command: Sequence[str], waiting: int, release: int) -> NoReturn:
    try:
        os.close(release)
        if os.read(waiting, 1):
            os.execv(command[0], list(command))
    finally:
        os._exit(_NOT_STARTED)


@contextlib.contextmanager
def _signals_for(child: int) -> Iterator[None]:
    """Meanwhile we live as long as the child: what asks us to end is passed on to it.

    An interrupt from the terminal reaches it without us, as one of the terminal's foreground processes.
    """

    def forward(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
