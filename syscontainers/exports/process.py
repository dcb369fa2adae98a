"""What an image config says about running the image, resolved for our own templates.

Entrypoint, Cmd, Env, WorkingDir, User, StopSignal and Volumes are honoured as every engine does (OCI image-spec,
"Image Configuration"); the user's parameters ARGS, CMD, ENV, CWD, USER and STOP_SIGNAL override them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import RefusedError, UsageError
from ..images.config import ImageConfig
from .parameters import as_words
from .signals import StopSignal, parse_signal
from .tree import normal_path, resolve_in_tree
from .users import User, resolve_user
from .volumes import Volume, read_volumes

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Process:
    """The payload's process and what it keeps."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: User
    stop_signal: StopSignal
    volumes: tuple[Volume, ...]


def read_process(image: ImageConfig, values: Mapping[str, str], tree: int) -> Process:
    """Resolve ``image`` in its own root ``tree``; ``values`` are the texts of our parameters, "" where not set.

    Raises UsageError where nothing says what to run, RefusedError for what no image may ask.
    """
    user = resolve_user(tree, values.get("USER") or image.user)
    return Process(
        args=choose_args(image, values.get("ARGS", ""), values.get("CMD", "")),
        env=merge_environment(image.env, as_words(values.get("ENV", "")), user.home),
        cwd=check_directory(tree, values.get("CWD") or image.working_dir),
        user=user,
        stop_signal=parse_signal(values.get("STOP_SIGNAL") or image.stop_signal),
        volumes=read_volumes(image.volumes, tree),
    )


def choose_args(image: ImageConfig, args: str, cmd: str) -> tuple[str, ...]:
    """ARGS replaces everything; CMD replaces the image's Cmd behind its Entrypoint. Raises UsageError."""
    chosen = tuple(as_words(args)) or image.entrypoint + (tuple(as_words(cmd)) or image.cmd)
    if not chosen or not chosen[0]:
        raise UsageError("the image does not say what to run", "--set ARGS='PROGRAM ARGUMENT…'")
    return chosen


def merge_environment(image: Sequence[str], extra: Sequence[str], home: str) -> tuple[str, ...]:
    """The payload's environment: each name once, at its first place with its last value; PATH and HOME always there.

    Raises UsageError for an entry of ``extra`` that sets nothing. Of the image's own, such entries are left out.
    """
    for entry in extra:
        if not entry.partition("=")[0] or "=" not in entry:
            raise UsageError(f"ENV: {entry[:60]!r} is not NAME=VALUE", "--set ENV='NAME=VALUE OTHER=VALUE'")
    merged: dict[str, str] = {}
    for entry in (DEFAULT_PATH, *image, *extra):
        name, equals, value = entry.partition("=")
        if name and equals:
            merged[name] = value
    merged.setdefault("HOME", home)
    return tuple(f"{name}={value}" for name, value in merged.items())


def check_directory(tree: int, path: str) -> str:
    """The working directory in normal form; nothing means /.

    Raises RefusedError for one that is relative or leads into /proc, directly or by a link: /proc/self/fd of the
    runtime holds doors to the host (CVE-2024-21626).
    """
    normal = normal_path(path or "/")
    if not normal.startswith("/") or not normal.isprintable():
        raise RefusedError(f"the working directory {path[:80]!r} is not an absolute path", "--set CWD=/…")
    final = resolve_in_tree(tree, normal).path
    if any(each == "/proc" or each.startswith("/proc/") for each in (normal, final)):
        raise RefusedError(f"the working directory {path[:80]!r} leads into /proc", "--set CWD=/…")
    return normal
