"""What a container was brought to and did not come up with: ``apply`` does not try the very same again by itself.

Kept in ``rejected/NAME.json``. Who asks for it (``update NAME``) and who declares something else is never refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import files
from ..errors import SyscontainersError
from ..typed import Document
from .context import Context

_LIMIT = 1 << 20


@dataclass(frozen=True)
class Attempt:
    """What makes one generation differ from another."""

    image: str
    digest: str
    runtime: str
    values: Mapping[str, str]
    """What the user set."""


@dataclass(frozen=True)
class Rejection:
    """An attempt that failed, and how."""

    attempt: Attempt
    reason: str


def rejection_file(context: Context, name: str) -> Path:
    """Where the last one of a container is kept."""
    return context.settings.state / "rejected" / f"{name}.json"


def write_rejection(context: Context, name: str, rejection: Rejection) -> None:
    """Keep it, in place of an older one. Durable on return. Raises OSError."""
    path = rejection_file(context, name)
    files.make_directories(path.parent, 0o700)  # values may be secret
    files.replace_file(path, json.dumps(asdict(rejection)).encode() + b"\n", 0o600)


def read_rejection(context: Context, name: str) -> Rejection | None:
    """The last one; None as well for a damaged record, after which it is simply tried again."""
    path = rejection_file(context, name)
    try:
        document = Document.parse(files.read_bounded(path, _LIMIT), str(path))
        return Rejection(_parse_attempt(document.get_object("attempt")), document.get_str("reason"))
    except (OSError, SyscontainersError):
        return None


def _parse_attempt(document: Document) -> Attempt:
    values = document.get_object("values")
    return Attempt(
        image=document.get_str("image"),
        digest=document.get_str("digest"),
        runtime=document.get_str("runtime"),
        values={key: values.get_str(key) for key in values},
    )


def drop_rejection(context: Context, name: str) -> None:
    """Forget it. Durable on return."""
    if rejection_file(context, name).exists():
        files.remove_file(rejection_file(context, name))
