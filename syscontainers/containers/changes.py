"""What a transaction does to files, as data that can be carried out, reversed and written to its record.

A change says what stands at a path before and after, both as whole contents; so playing a row of changes
backwards needs nothing but the row. Each single change is atomic (write beside and rename) and repeating it does
no harm: recovery may undo changes that were already undone.

Days may lie between a power cut and the recovery, and an operator may have mended by hand what he found. So undoing
looks first: what is neither the one nor the other content is kept beside, as ``PATH.edited``, and told.
"""

from __future__ import annotations

import base64
import itertools
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError
from ..files import make_directories, remove_file, replace_file, replace_symlink, sync_directory
from ..typed import Document


@dataclass(frozen=True)
class Content:
    """A regular file's bytes and mode, a symbolic link's target, or a directory's mode."""

    data: bytes = b""
    mode: int = 0o644
    target: str | None = None
    directory: bool = False

    def to_json(self) -> dict[str, object]:
        """As it stands in a record."""
        if self.target is not None:
            return {"target": self.target}
        if self.directory:
            return {"directory": True, "mode": self.mode}
        return {"data": base64.b64encode(self.data).decode(), "mode": self.mode}

    @classmethod
    def from_json(cls, document: Document | None) -> Content | None:
        """The reverse of ``to_json``; None stands for a path at which nothing is."""
        if document is None:
            return None
        if "target" in document:
            return cls(target=document.get_str("target"))
        if document.get_bool("directory", False):
            return cls(mode=document.get_int("mode"), directory=True)
        return cls(base64.b64decode(document.get_str("data")), document.get_int("mode"))


@dataclass(frozen=True)
class Change:
    """``path`` goes from ``before`` to ``after``; None means nothing there."""

    path: Path
    before: Content | None
    after: Content | None

    def to_json(self) -> dict[str, object]:
        """As it stands in a record."""
        return {
            "path": str(self.path),
            "before": self.before.to_json() if self.before else None,
            "after": self.after.to_json() if self.after else None,
        }

    @classmethod
    def from_json(cls, document: Document) -> Change:
        """The reverse of ``to_json``. Raises DocumentError."""
        before, after = document.get_optional_object("before"), document.get_optional_object("after")
        return cls(Path(document.get_str("path")), Content.from_json(before), Content.from_json(after))


def read_content(path: Path) -> Content | None:
    """What stands at ``path`` now. Raises SyscontainersError for a device and its like."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(status.st_mode):
        return Content(target=os.readlink(path))
    if stat.S_ISREG(status.st_mode):
        return Content(path.read_bytes(), stat.S_IMODE(status.st_mode))
    if stat.S_ISDIR(status.st_mode):
        return Content(mode=stat.S_IMODE(status.st_mode), directory=True)
    raise SyscontainersError(f"{path}: in the way, and neither a file nor a link", "move it away")


def change_to(path: Path, after: Content | None) -> Change:
    """The change that brings ``path`` from what it is now to ``after``.

    Raises SyscontainersError where a directory stands and something else has to.
    """
    before = read_content(path)
    if before is not None and after is not None and before.directory != after.directory:
        raise SyscontainersError(f"{path}: in the way", "move it away")
    return Change(path, before, after)


def apply_changes(changes: Iterable[Change]) -> None:
    """Carry out each change in order; after return they survive a power cut. Raises OSError."""
    for change in changes:
        _put(change.path, change.after)


def undo_changes(changes: Iterable[Change]) -> list[str]:
    """Bring back what was there before, in reverse order; durable on return.

    Returns what was found changed by somebody else and where it is kept now. Raises OSError, and SyscontainersError
    where a device or its like stands in the way.
    """
    kept = []
    for change in reversed(list(changes)):
        now = read_content(change.path)
        if now is not None and not any(_same(now, ours) for ours in (change.before, change.after)):
            kept.append(_keep_aside(change.path, now))
        if now is None or now != change.before:
            _put(change.path, change.before)
        elif change.path.parent.is_dir():
            sync_directory(change.path.parent)  # perhaps it came back a moment before a kill, and not yet on the disk
    return kept


def _same(one: Content, other: Content | None) -> bool:
    """A directory is the same whatever its mode: only what is in it matters, and that is looked at elsewhere."""
    return one == other or (other is not None and one.directory and other.directory)


def edited_name(path: Path) -> Path:
    """Where to keep what somebody made of ``path``: a name beside it under which nothing is."""
    names = (f"{path.name}.edited{number or ''}" for number in itertools.count())
    return next(each for each in map(path.with_name, names) if not os.path.lexists(each))


def _keep_aside(path: Path, content: Content) -> str:
    if content.target is not None:  # all there is to a link can be told
        return f"{path}: somebody made it a link to {content.target}, which is undone"
    aside = edited_name(path)
    path.rename(aside)
    return f"{path}: somebody changed it meanwhile; that is kept as {aside}"


def _put(path: Path, content: Content | None) -> None:
    if content is None:
        _remove(path)
    elif content.directory:
        make_directories(path, content.mode)
    elif content.target is not None:
        make_directories(path.parent)
        replace_symlink(path, content.target)
    else:
        make_directories(path.parent)
        replace_file(path, content.data, content.mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        _remove_if_empty(path)
        return
    remove_file(path)
    # A drop-in directory of ours goes with its last file.
    if path.parent.name.endswith(".service.d") and path.parent.is_dir():
        _remove_if_empty(path.parent)


def _remove_if_empty(directory: Path) -> None:
    """A directory in which somebody put more stays."""
    if not any(directory.iterdir()):
        directory.rmdir()
        sync_directory(directory.parent)
