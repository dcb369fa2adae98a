"""From an argument list to an exit code: find the verb, load its module, run it, tell what went wrong.

Only the module of the verb in question is imported, and no library beyond the standard one before a verb needs
it: ``--help``, ``--version`` and an empty ``list`` stay quick.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..errors import SyscontainersError, UsageError
from ..progress import Progress
from ..settings import load_settings, use_storage
from .guard import keep_going, require_root, run_guarded, tell_error
from .parsers import load_verb, verb_parser
from .verbs import GROUPS, VERBS

_GLOBALS = {"--config": "FILE", "--storage": "DIR"}


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code of ``docs/exit-codes.md``."""
    return run_guarded(lambda progress: _dispatch(arguments, progress), _tell)


def _tell(error: SyscontainersError) -> int:
    tell_error(error, "syscontainer: ")
    return error.exit_code


def _dispatch(arguments: Sequence[str], progress: Progress) -> int:
    words = list(arguments)
    chosen = _take_globals(words)
    if not words or words[0] in ("-h", "--help", "help"):
        if len(words) > 1 and words[0] == "help":
            return _dispatch([words[1], "--help"], progress)
        print(_overview())
        return 0 if words else UsageError.exit_code
    if words[0] in ("-V", "--version"):
        print(f"syscontainer {__version__}")
        return 0
    return _run_verb(words, chosen, progress)


def _take_globals(words: list[str]) -> dict[str, str]:
    """The options that may stand before the verb, with their values; they are taken out of ``words``."""
    found = {}
    while words and (option := words[0].partition("=")[0]) in _GLOBALS:
        _, equals, value = words.pop(0).partition("=")
        if not equals and not words:
            raise UsageError(f"{option} needs a value", f"syscontainer {option} {_GLOBALS[option]} VERB")
        found[option] = value if equals else words.pop(0)
    return found


def _run_verb(words: list[str], chosen: Mapping[str, str], progress: Progress) -> int:
    verb = VERBS.get(words[0])
    if verb is None:
        raise UsageError(f"{words[0]!r} is not a verb of syscontainer", "syscontainer --help lists them")
    parser = verb_parser(words[0])
    options = parser.parse_args(words[1:])
    if verb.needs_root:
        require_root(words[0])
    settings = load_settings(Path(chosen["--config"]) if "--config" in chosen else None)
    storage = options.storage if options.storage is not None else chosen.get("--storage")
    if storage is not None:
        settings = use_storage(settings, storage)
    with contextlib.nullcontext() if verb.reads_only else keep_going():
        return int(getattr(load_verb(verb), verb.function)(settings, progress, options))


def _overview() -> str:
    lines = [
        "usage: syscontainer [--config FILE] [--storage DIR] VERB [ARGUMENT…]",
        "",
        "Containers as systemd services.",
    ]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<11} {verb.summary}" for name, verb in VERBS.items() if verb.group == group]
    lines += ["", "  --version   the version", "  --config    another settings file"]
    lines += ["  --storage   another storage root, podman's own for instance", ""]
    return "\n".join([*lines, "syscontainer VERB --help says more about one."])
