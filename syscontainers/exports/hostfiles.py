"""Host files: what an image brings along in ``/exports/hostfs`` for the host itself, and where it would go.

Only the plan; nothing is installed here. Directories that hold something are implied by it, empty ones are listed.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ..errors import RefusedError
from ..progress import human_size
from ..storage.mounts import Entry, read_file, walk
from .contract import EXPORTS, ExportsManifest
from .render import render

_ROOT = f"{EXPORTS}/hostfs"
_TEMPLATE_LIMIT = 16 << 20
_MOST_FILES = 10_000
_MOST_BYTES = 64 << 20
"""Of all together: they are held in memory, and kept with each generation."""
_HINT = "what the service itself needs belongs into the image, outside /exports"


@dataclass(frozen=True)
class HostFile:
    """One thing to install on the host."""

    path: str
    """Where it goes: absolute, after renaming."""
    source: str
    """Where it lies in the image."""
    kind: str
    """``file``, ``link`` or ``directory``."""
    mode: int
    target: str = ""
    """Where a link points."""
    template: bool = False
    """Whether variables are put in before it is installed."""


def plan_host_files(tree: int, manifest: ExportsManifest, values: Mapping[str, str]) -> tuple[HostFile, ...]:
    """The host files of the image whose root is ``tree``, sorted by destination.

    Raises RefusedError for devices, for destinations that are no plain paths or fall together, and for too much.
    """
    renames = {
        _plain(old): _plain(render(new, values, "manifest.json (renameFiles)"))
        for old, new in manifest.rename_files.items()
    }
    templates = {_plain(path) for path in manifest.installed_files_template}
    entries = list(_within_limits(walk(tree, _ROOT)))
    filled = {posixpath.dirname(entry.path) for entry in entries}
    found: dict[str, HostFile] = {}
    for file in _host_files(entries, filled, renames, templates):
        if file.path in found:
            raise RefusedError(f"manifest.json: renameFiles puts two files at {file.path}")
        found[file.path] = file
    return tuple(found[path] for path in sorted(found))


def check_size(size: int) -> None:
    """Raise RefusedError if ``size`` bytes are more than an image may bring along for the host."""
    if size > _MOST_BYTES:
        raise RefusedError(f"{_ROOT}: more than {human_size(_MOST_BYTES)} of files for the host", _HINT)


def read_template(tree: int, file: HostFile, values: Mapping[str, str]) -> bytes:
    """The content of a host file that is a template. Raises RefusedError for one that is no text."""
    data = read_file(tree, file.source, _TEMPLATE_LIMIT) or b""
    try:
        return render(data.decode(), values, file.source).encode()
    except UnicodeDecodeError as error:
        raise RefusedError(f"{file.source}: a template, and not UTF-8 text at byte {error.start}") from None


def rename_path(path: str, renames: Mapping[str, str]) -> str:
    """``path`` with each leading part that is renamed replaced; so a renamed directory takes along what is in it."""
    renamed = original = "/"
    for part in path.strip("/").split("/"):
        original, renamed = posixpath.join(original, part), posixpath.join(renamed, part)
        renamed = renames.get(renamed) or renames.get(original) or renamed
    return renamed


def _within_limits(entries: Iterable[Entry]) -> Iterator[Entry]:
    size = 0
    for number, entry in enumerate(entries, 1):
        if number > _MOST_FILES:
            raise RefusedError(f"{_ROOT}: more than {_MOST_FILES} files for the host", _HINT)
        size += entry.status.st_size if entry.is_file else 0
        check_size(size)
        yield entry


def _host_files(
    entries: list[Entry], filled: set[str], renames: Mapping[str, str], templates: set[str]
) -> Iterator[HostFile]:
    for entry in entries:
        if entry.is_directory and entry.path in filled:
            continue
        path = rename_path(entry.path, renames)
        kind = _kind_of(entry)
        mode = stat.S_IMODE(entry.status.st_mode)
        is_template = kind == "file" and path in templates
        yield HostFile(path, f"{_ROOT}/{entry.path}", kind, mode, entry.target, is_template)


def _kind_of(entry: Entry) -> str:
    if entry.is_directory:
        return "directory"
    if entry.is_file:
        return "file"
    if stat.S_ISLNK(entry.status.st_mode):
        return "link"
    raise RefusedError(f"{_ROOT}/{entry.path}: is neither a file nor a directory nor a link")


def _plain(path: str) -> str:
    if not path.startswith("/") or not path.isprintable() or ".." in path.split("/"):
        raise RefusedError(f"manifest.json: {path[:80]!r} is not a plain absolute path")
    return "/" + posixpath.normpath(path).lstrip("/")
