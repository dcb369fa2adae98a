"""What several verbs share of their parsers and checks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..containers.obtain import POLICIES, SourceOptions
from ..images.credentials import Credentials


def add_source_options(parser: argparse.ArgumentParser, policy: str | None = None) -> None:
    """How to reach a registry, and with a default ``policy`` also when."""
    if policy is not None:
        parser.add_argument("--pull", choices=POLICIES, default=policy, help=f"when to ask the registry ({policy})")
    parser.add_argument("--plain-http", action="store_true", help="speak plain http to the registry")
    parser.add_argument("--authfile", type=Path, metavar="FILE", help="take credentials from this auth.json")
    parser.add_argument("--creds", metavar="USER[:PASSWORD]", help="log in as this user; asks for a missing password")
    parser.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="choose another platform than this host's")


def read_source_options(options: argparse.Namespace) -> SourceOptions:
    """The typed form of ``add_source_options``; a verb without --pull always asks."""
    policy = getattr(options, "pull", "always")
    credentials = read_credentials(options.creds)
    return SourceOptions(policy, options.plain_http, options.authfile, options.platform, credentials)


def read_credentials(text: str | None) -> Credentials | None:
    """What ``--creds`` gave; a missing password is asked for on the terminal. Raises UsageError."""
    if text is None:
        return None
    import getpass  # brings termios along

    return Credentials.parse(text, getpass.getpass)


def add_assignments(parser: argparse.ArgumentParser) -> None:
    """``--set``, as often as wanted."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments", help="give a variable its value"
    )


def read_command(words: Sequence[str]) -> tuple[str, ...]:
    """What ``argparse.REMAINDER`` took for a command, without the ``--`` that may stand before it."""
    return tuple(words[1:] if words[:1] == ["--"] else words)
