"""``atomic``: the command of Project Atomic's provisioning scripts, for its system containers, on top of ours.

Nothing is decided here: each verb reads the ancestor's options, makes the request that our own verb would make, and
prints what its clients look for. It runs where the command is called ``atomic``, which a link does::

    ln -s "$(command -v syscontainer)" /usr/local/bin/atomic

``docs/atomic.md`` says what is kept, what is changed on purpose and what is refused. Exit codes are the ancestor's: 0
done or nothing to do, 1 any failure, 2 a wrong command line or a declined question.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .. import __version__
from ..containers.context import Context
from ..errors import SyscontainersError, UsageError
from ..progress import Progress
from ..settings import load_settings
from .ancestor.tables import DeclinedError
from .guard import keep_going, run_guarded, tell_error


class Verb(NamedTuple):
    """Where a verb lives and how the overview describes it."""

    module: str
    configure: str
    summary: str


VERBS = {
    "pull": Verb("lifecycle", "configure_pull", "fetch an image"),
    "install": Verb("lifecycle", "configure_install", "make a container of an image a systemd service"),
    "uninstall": Verb("lifecycle", "configure_uninstall", "stop and remove a container"),
    "run": Verb("lifecycle", "configure_run", "start a container, or run a command in it"),
    "stop": Verb("lifecycle", "configure_stop", "stop a container"),
    "mount": Verb("mounts", "configure_mount", "look at the files of a container or an image"),
    "unmount": Verb("mounts", "configure_unmount", "end that"),
    "containers": Verb("containers", "configure", "list, update, rollback, delete"),
    "images": Verb("images", "configure", "list, info, delete, prune, tag, verify, update, version"),
    "info": Verb("images", "configure_info", "the labels of an image, and what can be set"),
}
# What the ancestor did beyond system containers, and who does it now.
GONE = {
    "diff": "syscontainer diff compares a container with its update",
    "help": "atomic VERB --help",
    "host": "rpm-ostree",
    "push": "skopeo copy or podman push",
    "scan": "a scanner of images",
    "sign": "skopeo standalone-sign or podman image sign",
    "storage": "containers-storage.conf(5), and settings.md in share/doc/syscontainers",
    "top": "systemd-cgtop",
    "trust": "podman image trust",
    "upload": "skopeo copy or podman push",
}
_IGNORED_VARIABLES = ("ATOMIC_OSTREE_REPO", "ATOMIC_OSTREE_CHECKOUT_PATH", "ATOMIC_CONF", "ATOMIC_CONFD")


def main(arguments: Sequence[str]) -> int:
    """Run one command of the ancestor's. Returns its exit code."""
    options = _global_parser().parse_args(arguments)
    return run_guarded(lambda progress: _dispatch(options, progress), lambda error: _tell(error, debug=options.debug))


def _global_parser() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {name:<11} {verb.summary}" for name, verb in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="atomic",
        usage="atomic [--debug] [-i] [-y] [-v] VERB [ARGUMENT…]",
        description=f"System containers, by the command of Project Atomic.\n\n{verbs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show the options, and the traceback of an error")
    parser.add_argument("-i", "--ignore", action="store_true", help="accepted; nothing has to be installed first")
    parser.add_argument("-y", "--assumeyes", action="store_true", help="answer every question with yes")
    parser.add_argument("verb", metavar="VERB")
    parser.add_argument("words", metavar="ARGUMENT", nargs=argparse.REMAINDER)
    return parser


def _dispatch(given: argparse.Namespace, progress: Progress) -> int:
    _warn_of_ignored(progress)
    options = _verb_parser(given.verb).parse_args(given.words, argparse.Namespace(assumeyes=given.assumeyes))
    if given.debug:
        print(options, file=sys.stderr)
    with keep_going():
        return int(options.run(Context(load_settings(), progress), options))


def _verb_parser(name: str) -> argparse.ArgumentParser:
    verb = VERBS.get(name)
    if verb is None:
        hint = f"try: {GONE[name]}" if name in GONE else "atomic --help lists the verbs"
        raise UsageError(f"{name!r} is not here: only what concerns system containers is", hint)
    parser = argparse.ArgumentParser(prog=f"atomic {name}", description=verb.summary)
    getattr(importlib.import_module(f"..ancestor.{verb.module}", __name__), verb.configure)(parser)
    return parser


def _warn_of_ignored(progress: Progress) -> None:
    for name in _IGNORED_VARIABLES:
        if name in os.environ:
            progress.warn(f"{name} has no effect; see settings.md in share/doc/syscontainers")


def _tell(error: SyscontainersError, *, debug: bool) -> int:
    tell_error(error)
    if debug:
        import traceback

        traceback.print_exception(error)
    return 2 if isinstance(error, DeclinedError) else 1
