"""The parser of one verb, for running it, and of all of them, from which manual page and completion are made."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

from .verbs import VERBS, Verb

_DESCRIPTION = "Containers as systemd services, before any orchestrator exists."


def load_verb(verb: Verb) -> ModuleType:
    """The module of a verb, and with it only what this verb needs."""
    return importlib.import_module(f"..{verb.module}", __name__)


def verb_parser(name: str) -> argparse.ArgumentParser:
    """The parser of ``syscontainer NAME``."""
    module = load_verb(VERBS[name])
    parser = argparse.ArgumentParser(
        prog=f"syscontainer {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    _add_storage(parser)
    return parser


def whole_parser() -> argparse.ArgumentParser:
    """All verbs in one parser, as argparse-manpage and shtab want it; it imports everything."""
    parser = argparse.ArgumentParser(prog="syscontainer", description=_DESCRIPTION)
    add_global_options(parser)
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True)
    for name, verb in VERBS.items():
        module = load_verb(verb)
        below = verbs.add_parser(
            name,
            help=verb.summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(below)
        _add_storage(below)
    return parser


def add_global_options(parser: argparse.ArgumentParser) -> None:
    """What may stand before the verb; ``main`` reads it without argparse, which would read the verb's options too."""
    parser.add_argument("-V", "--version", action="store_true", help="print the version")
    parser.add_argument("--config", metavar="FILE", help="read this settings file in place of the host's")
    parser.add_argument("--storage", metavar="DIR", help="work in this containers/storage root, podman's for instance")


def _add_storage(parser: argparse.ArgumentParser) -> None:
    """The same after the verb, where everybody will write it; help and manual name it once, before."""
    parser.add_argument("--storage", metavar="DIR", help=argparse.SUPPRESS)
