"""What surrounds every command of ours: signals, umask, who may run it, and what becomes of an error."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from ..errors import SyscontainersError, from_os_error
from ..progress import Progress
from ..terminal import CleanStream, PipeStream, ReaderGoneError, one_line

INTERRUPTED = 130


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; half-done things must be undone as for an interrupt."""


def run_guarded(body: Callable[[Progress], int], tell: Callable[[SyscontainersError], int]) -> int:
    """Run ``body``; its exit code, or the one that ``tell`` gives after it has told the user of an error."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    signal.signal(signal.SIGHUP, _raise_terminated)
    # What is written here has a mode of its own; a user's umask must not lock a payload out of its root.
    os.umask(0o022)
    results = PipeStream(sys.stdout, raises=True)
    # A terminal that has gone or a full disk under a log must not stop who is just taking something back.
    messages = PipeStream(sys.stderr, raises=False, tolerates=OSError)
    progress = Progress(messages)
    with contextlib.redirect_stdout(CleanStream(results)), contextlib.redirect_stderr(CleanStream(messages)):
        return _run(body, tell, progress)


@contextlib.contextmanager
def keep_going() -> Iterator[None]:
    """Meanwhile nobody has to read what is printed: who changes a host must not stop half-way for that."""
    with contextlib.redirect_stdout(PipeStream(sys.stdout, raises=False)):
        try:
            yield
        finally:
            sys.stdout.flush()


def _run(body: Callable[[Progress], int], tell: Callable[[SyscontainersError], int], progress: Progress) -> int:
    try:
        code = body(progress)
        sys.stdout.flush()
    except SyscontainersError as error:
        progress.clear()
        return tell(error)
    except (KeyboardInterrupt, Terminated):
        progress.clear()
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ReaderGoneError:
        return 0
    except OSError as error:
        progress.clear()
        return tell(from_os_error(error))
    return code


def require_root(verb: str, command: str = "syscontainer") -> None:
    """Raises SyscontainersError for anyone but root."""
    if os.geteuid() != 0:
        raise SyscontainersError(f"{command} {verb} must be run as root", f"sudo {command} {verb} …")


def tell_error(error: SyscontainersError, prefix: str = "") -> None:
    """What is wrong, the evidence, and what to do about it, on stderr."""
    print(one_line(f"{prefix}{error.message}"), file=sys.stderr)
    for line in error.details:
        print(one_line(f"    {line}"), file=sys.stderr)
    if error.hint:
        print(one_line(f"hint: {error.hint}"), file=sys.stderr)


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
