"""From an argument list to an exit code: find the verb, load its module, run it, tell what went wrong.

Only the module of the verb in question is imported, and no library beyond the standard one before a verb needs
it: ``--help``, ``--version`` and an empty ``list`` stay quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..errors import SyscontainersError, UsageError
from ..progress import Progress
from ..settings import load_settings
from .guard import run_guarded, tell_error
from .parsers import load_verb, verb_parser
from .verbs import GROUPS, VERBS


def main(arguments: Sequence[str]) -> int:
    """Run one command. Returns the exit code of ``docs/exit-codes.md``."""
    return run_guarded(lambda progress: _dispatch(arguments, progress), _tell)


def _tell(error: SyscontainersError) -> int:
    tell_error(error, "syscontainer: ")
    return error.exit_code


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
    return int(getattr(load_verb(verb), verb.function)(load_settings(config), progress, options))


def _overview() -> str:
    lines = ["usage: syscontainer [--config FILE] VERB [ARGUMENT…]", "", "Containers as systemd services."]
    for group in GROUPS:
        lines += ["", f"{group}:"]
        lines += [f"  {name:<11} {verb.summary}" for name, verb in VERBS.items() if verb.group == group]
    lines += ["", "  --version   the version", "  --config    another settings file", ""]
    return "\n".join([*lines, "syscontainer VERB --help says more about one."])
