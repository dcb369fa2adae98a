"""Options that several of the ancestor's verbs share."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable

from ...containers.context import Context
from ...containers.obtain import SourceOptions
from ..common import read_credentials
from .names import Named

Handler = Callable[[Context, argparse.Namespace], int]


def later(module: str, function: str) -> Handler:
    """A handler whose module is loaded when it is wanted: ``containers list`` needs little of what others do."""

    def run(context: Context, options: argparse.Namespace) -> int:
        found: Handler = getattr(importlib.import_module(f".{module}", __package__), function)
        return found(context, options)

    return run


def add_storage(parser: argparse.ArgumentParser) -> None:
    """``--storage``: only the ancestor's place for system containers is one of ours."""
    parser.add_argument("--storage", type=_storage, metavar="ostree", help="accepted; there is one storage")


def _storage(text: str) -> str:
    if text != "ostree":
        raise argparse.ArgumentTypeError(f"{text!r} is not kept here: use docker or podman for it, or say ostree")
    return text


def add_credentials(parser: argparse.ArgumentParser) -> None:
    """``--src-creds``."""
    parser.add_argument("--src-creds", metavar="USER[:PASSWORD]", help="log in to the registry as this user")


def source_of(named: Named | None, credentials: str | None = None, *, policy: str = "missing") -> SourceOptions:
    """How to get at an image; the ancestor asked a registry only on a pull, or for an image that was not there."""
    plain_http = named.plain_http if named else False
    return SourceOptions(policy, plain_http, credentials=read_credentials(credentials))
