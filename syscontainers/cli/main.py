"""From an argument list to an exit code: find the verb, load its module, run it, tell what went wrong.

Only the module of the verb in question is imported, and no library beyond the standard one before a verb needs
it: ``--help``, ``--version`` and an empty ``list`` stay quick.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from .. import __version__
from ..errors import SyscontainersError, UsageError
from ..progress import Progress
from ..settings import load_settings
from .parsers import load_verb, verb_parser
from .verbs import GROUPS, VERBS

INTERRUPTED = 130


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; half-done things must be undone as for an interrupt."""


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code of ``docs/exit-codes.md``."""
    signal.signal(signal.SIGTERM, _raise_terminated)
    signal.signal(signal.SIGHUP, _raise_terminated)
    os.umask(
        0o022
    )  # what is written here has a mode of its own; a user's umask must not lock a payload out of its root
    progress = Progress()
    try:
        return _dispatch(arguments, progress)
    except SyscontainersError as error:
        progress.clear()
        _tell(error)
        return error.exit_code
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
        _tell(_from_os_error(error))
        return 1


def _raise_terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def _tell(error: SyscontainersError) -> None:
    print(f"syscontainer: {error.message}", file=sys.stderr)
    for line in error.details:
        print(f"    {line}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)


def _from_os_error(error: OSError) -> SyscontainersError:
    where = f"{error.filename}: " if error.filename else ""
    hint = "run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    return SyscontainersError(f"{where}{error.strerror or error}", hint)


def _dispatch(arguments: Sequence[str], progress: Progress) -> int:
    words = list(arguments)
    config = _take_config(words)
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[0] == "help":
            return _dispatch([words[1], "--help"], progress)
        print(_overview())
        return 0 if words else UsageError.exit_code
    if words[0] in ("-V", "--version"):
        print(f"syscontainer {__version__}")
        return 0
    return _run_verb(words, config, progress)


def _take_config(words: list[str]) -> Path | None:
    """``--config FILE`` may stand before the verb."""
    if words and words[0] == "--config":
        if len(words) < 2:
            raise UsageError("--config needs a file", "syscontainer --config FILE VERB")
        config = Path(words[1])
        del words[:2]
        return config
    if words and words[0].startswith("--config="):
        return Path(words.pop(0).removeprefix("--config="))
    return None


def _run_verb(words: list[str], config: Path | None, progress: Progress) -> int:
    verb = VERBS.get(words[0])
    if verb is None:
        raise UsageError(f"{words[0]!r} is not a verb of syscontainer", "syscontainer --help lists them")
    parser = verb_parser(words[0])
    options = parser.parse_args(words[1:])
    code = getattr(load_verb(verb), verb.function)(load_settings(config), progress, options)
    sys.stdout.flush()
    return int(code)


def _overview() -> str:
    lines = ["usage: syscontainer [--config FILE] VERB [ARGUMENT…]", "", "Containers as systemd services."]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<11} {verb.summary}" for name, verb in VERBS.items() if verb.group == group]
    lines += ["", "  --version   the version", "  --config    another settings file", ""]
    return "\n".join([*lines, "syscontainer VERB --help says more about one."])
