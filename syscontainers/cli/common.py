"""What several verbs share of their parsers and checks."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..containers.obtain import POLICIES, SourceOptions
from ..errors import SyscontainersError


def add_source_options(parser: argparse.ArgumentParser, policy: str | None = None) -> None:
    """How to reach a registry, and with a default ``policy`` also when."""
    if policy is not None:
        parser.add_argument("--pull", choices=POLICIES, default=policy, help=f"when to ask the registry ({policy})")
    parser.add_argument("--plain-http", action="store_true", help="speak plain http to the registry")
    parser.add_argument("--authfile", type=Path, metavar="FILE", help="take credentials from this auth.json")
    parser.add_argument("--platform", metavar="OS/ARCH[/VARIANT]", help="choose another platform than this host's")


def read_source_options(options: argparse.Namespace) -> SourceOptions:
    """The typed form of ``add_source_options``; a verb without --pull always asks."""
    policy = getattr(options, "pull", "always")
    return SourceOptions(policy, options.plain_http, options.authfile, options.platform)


def add_assignments(parser: argparse.ArgumentParser) -> None:
    """``--set``, as often as wanted."""
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="assignments", help="give a variable its value"
    )


def require_root(verb: str) -> None:
    """Raises SyscontainersError for anyone but root."""
    if os.geteuid() != 0:
        raise SyscontainersError(f"syscontainer {verb} must be run as root", f"sudo syscontainer {verb} …")
