"""Host files: what an image brings along for the host itself (``/exports/hostfs``), and who owns them.

Decided rules, the first two as Project Atomic's clients know them:

* A path at which something stands that is not ours is left alone and not owned: it is neither updated nor removed.
* A file that was edited since we wrote it is left alone, by an update and by an uninstall, and no longer owned.
* Of two containers that bring the same path, the one that came first owns it, until it goes. Of two that are installed
  at the same time that is the one whose transaction has its record first (see ``journal``).

Which paths a container owns, with a fingerprint of what was written there, stands in ``hostfiles/NAME.json``. It is
published in the same transaction as the files. What each generation brings is kept in its directory, so that a rollback
renders nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import RefusedError, SyscontainersError
from ..exports.contract import ExportsManifest
from ..exports.hostfiles import HostFile, check_size, plan_host_files, read_template
from ..files import read_bounded
from ..storage.mounts import read_file
from ..typed import Document, DocumentError
from .changes import Change, Content, change_to, read_content
from .context import Context

SAVED_NAME = "hostfs.json"
_FILE_LIMIT = 64 << 20
_RECORD_LIMIT = 1 << 30

HostFiles = Mapping[str, Content]
"""Absolute path → what is to be there."""


@dataclass(frozen=True)
class HostChanges:
    """What publishing a generation's host files comes to."""

    changes: tuple[Change, ...]
    owned: Mapping[str, str]
    notices: tuple[str, ...]


def read_host_files(tree: int, manifest: ExportsManifest, values: Mapping[str, str]) -> dict[str, Content]:
    """The host files of the image whose root is ``tree``, rendered. Raises RefusedError and what rendering raises."""
    files: dict[str, Content] = {}
    size = 0
    for file in plan_host_files(tree, manifest, values):
        files[file.path] = content = _read_content(tree, file, values)
        size += len(content.data)
        check_size(size)  # a template may have grown
    for path in files:
        for parent in map(str, PurePosixPath(path).parents):
            if parent in files and not files[parent].directory:
                # Through a link of the image's own it would land, and later be undone, anywhere on the host.
                raise RefusedError(f"the image's host file {path} lies below {parent}, which is no directory")
    return files


def save_host_files(files: HostFiles) -> bytes:
    """As they stand in the generation's directory."""
    return json.dumps({path: content.to_json() for path, content in files.items()}).encode() + b"\n"


def load_host_files(data: bytes, where: str) -> dict[str, Content]:
    """The reverse of ``save_host_files``. Raises DocumentError."""
    document = Document.parse(data, where)
    found = {path: Content.from_json(document.get_object(path)) for path in document}
    return {path: content for path, content in found.items() if content is not None}


def plan_host_changes(
    context: Context, name: str, wanted: HostFiles, claimed: frozenset[Path] = frozenset()
) -> HostChanges:
    """What has to change so that ``wanted`` are the host files of container ``name``, by the rules above.

    ``claimed`` are paths at which another container is about to put something.
    """
    notices: list[str] = []
    try:
        owned = read_owned(context, name)
    except DocumentError as error:  # then nothing is ours to remove, and the container can still be uninstalled
        notices.append(f"{error.message}: its host files stay where they are")
        owned = {}
    ours = {path for path, mark in owned.items() if _is_as_written(context, path, mark, notices.append)}
    parents = _parents(context, owned, wanted)
    gone = sorted(ours - set(wanted) - set(parents), reverse=True)
    changes = [change_to(_on_host(context, path), None) for path in gone]
    changes += [change_to(_on_host(context, path), Content(mode=0o755, directory=True)) for path in parents]
    kept = dict.fromkeys(parents, "0")
    for path, content in wanted.items():
        place = _on_host(context, path)
        if path not in ours and (place in claimed or os.path.lexists(place)):
            notices.append(f"File {path} already exists")
            continue
        changes.append(change_to(place, content))
        kept |= {path: fingerprint(content)}
    record = _ownership_file(context, name)
    changes.append(change_to(record, Content(_to_bytes(kept), 0o600) if kept else None))
    return HostChanges(tuple(c for c in changes if c.before != c.after), kept, tuple(notices))


def fingerprint(content: Content) -> str:
    """What tells whether somebody has changed it: a file's sha256, a link's target, ``0`` for a directory."""
    if content.directory:
        return "0"
    return f"-> {content.target}" if content.target is not None else hashlib.sha256(content.data).hexdigest()


def _read_content(tree: int, file: HostFile, values: Mapping[str, str]) -> Content:
    if file.kind == "directory":
        return Content(mode=file.mode, directory=True)
    if file.kind == "link":
        return Content(target=file.target)
    data = read_template(tree, file, values) if file.template else read_file(tree, file.source, _FILE_LIMIT)
    return Content(data or b"", file.mode)


def _is_as_written(context: Context, path: str, mark: str, say: Callable[[str], None]) -> bool:
    try:
        content = read_content(_on_host(context, path))
    except SyscontainersError:  # something else altogether stands there now
        content = Content(target="\0")
    if content is None:
        return True
    if fingerprint(content) == mark:
        return True
    say(f"Will not delete {path} as it was manually modified.")
    return False


def _parents(context: Context, owned: Mapping[str, str], wanted: HostFiles) -> list[str]:
    """Directories on the way to ``wanted`` that we make, or made before; they go again with the last file."""
    found = {str(parent) for path in wanted for parent in PurePosixPath(path).parents} - set(wanted)
    return sorted(path for path in found if path in owned or not _on_host(context, path).exists())


def _on_host(context: Context, path: str) -> Path:
    return context.settings.host / path.lstrip("/")


def _ownership_file(context: Context, name: str) -> Path:
    return context.settings.state / "hostfiles" / f"{name}.json"


def read_owned(context: Context, name: str) -> dict[str, str]:
    """Path → fingerprint of what was written there, ``0`` for a directory. Raises DocumentError."""
    path = _ownership_file(context, name)
    try:
        data = read_bounded(path, _RECORD_LIMIT)
    except FileNotFoundError:
        return {}
    document = Document.parse(data, str(path))
    return {key: document.get_str(key) for key in document}


def _to_bytes(owned: Mapping[str, str]) -> bytes:
    return json.dumps(dict(sorted(owned.items())), indent=1).encode() + b"\n"
