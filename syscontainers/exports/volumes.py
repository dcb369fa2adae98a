"""Volumes: the directories that an image config declares as data, kept on the host below STATE_DIRECTORY/NAME.

Each becomes a bind mount and a tmpfiles rule that creates its source with the owner and mode that the directory has
in the image; systemd-tmpfiles does it at boot, so data directories exist before anything of ours could run. What the
image has inside such a directory is not copied out.

Each lies right below STATE_DIRECTORY/NAME under its whole path as systemd escapes it (``/var/lib/x`` is ``var-lib-x``),
never inside another: what a payload has in a volume is its own to change, and a link that it puts there on the way to
a volume of its next version would make the runtime bind, and systemd-tmpfiles chown, whatever the link points to.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RefusedError
from ..storage.mounts import list_directory
from ..systemd.unitfile import escape_path
from .rules import quote_field
from .tree import resolve_in_tree

_NOT_DATA = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class Volume:
    """One directory of data."""

    destination: str
    """Its absolute path in the container, without symbolic links."""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    hides: bool = False
    """Whether the image has something there, which will be out of sight."""

    def source(self, base: str) -> str:
        """Where it lies on the host; ``base`` is the container's own directory there."""
        return f"{base}/{escape_path(self.destination)}"

    def rule(self, base: str) -> str:
        """The tmpfiles.d(5) rule that creates its source and keeps its owner and mode."""
        return f"d {quote_field(self.source(base))} {self.mode:04o} {self.uid} {self.gid} -"


def read_volumes(paths: Sequence[str], tree: int) -> tuple[Volume, ...]:
    """The volumes of an image, parents before what lies in them.

    Raises RefusedError for paths that no volume may have.
    """
    destinations = sorted({_check_destination(tree, path) for path in paths})
    return tuple(_read_volume(tree, path) for path in destinations)


def _check_destination(tree: int, path: str) -> str:
    if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
        raise RefusedError(f"the image's volume {path[:80]!r} is not a plain absolute path")
    final = resolve_in_tree(tree, path).path
    if final == "/" or any(final == each or final.startswith(each + "/") for each in _NOT_DATA):
        raise RefusedError(f"the image's volume {path[:80]!r} cannot be a directory of data")
    return final


def _read_volume(tree: int, path: str) -> Volume:
    place = resolve_in_tree(tree, path)
    if place.status is None:
        return Volume(path)
    if not place.is_directory:
        raise RefusedError(f"the image's volume {path[:80]!r} is a file there")
    status = place.status
    hides = bool(list_directory(tree, path))
    return Volume(path, stat.S_IMODE(status.st_mode) & 0o1777, status.st_uid, status.st_gid, hides)
