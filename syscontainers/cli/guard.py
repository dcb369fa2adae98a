"""What surrounds every command of ours: signals, umask, who may run it, and what becomes of an error."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from ..errors import SyscontainersError, from_os_error
from ..progress import Progress
from ..terminal import CleanStream, one_line

INTERRUPTED = 130


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; half-done things must be undone as for an interrupt."""


def run_guarded(body: Callable[[Progress], int], tell: Callable[[SyscontainersError], int]) -> int:
    """Run ``body``; its exit code, or the one that ``tell`` gives after it has told the user of an error."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    signal.signal(signal.SIGHUP, _raise_terminated)
    # What is written here has a mode of its own; a user's umask must not lock a payload out of its root.
    os.umask(0o022)
    progress = Progress()
    with contextlib.redirect_stdout(CleanStream(sys.stdout)), contextlib.redirect_stderr(CleanStream(sys.stderr)):
        return _run(body, tell, progress)


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
    except BrokenPipeError:
        # Who read our output has gone (`syscontainer list | head -1`); the interpreter must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
