"""Images in files: OCI layouts (``oci:``, ``oci-archive:``) and the flat directories of skopeo (``dir:``).

OCI image-spec, "Image Layout"; containers-transports(5).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from typing import TypeVar

from ..errors import DigestError, NotFoundError, UsageError
from ..typed import Document
from .archive import Files, read_whole
from .digests import hex_of
from .documents import MANIFEST_LIMIT, Descriptor, RawManifest
from .reference import Reference, canonical
from .sources import check_promise

_REF_NAME = "org.opencontainers.image.ref.name"
_FULL_NAME = "io.containerd.image.name"
_T = TypeVar("_T")


@contextlib.contextmanager
def open_file(files: Files, name: str, descriptor: Descriptor) -> Iterator[Generator[bytes, None, None]]:
    """The chunks of a blob's file. Raises NotFoundError, DigestError if it has another size than promised."""
    size = files.size(name)
    if size != descriptor.size:
        raise DigestError(f"{files.where}: {name} is {size} bytes long, promised were {descriptor.size}")
    with contextlib.closing(files.chunks(name)) as chunks:
        yield chunks


class LayoutSource:
    """One image of an OCI layout."""

    def __init__(self, reference: Reference, files: Files) -> None:
        self._reference = reference
        self._files = files
        self.entries = self._read_entries()
        """Every image of the layout, in the order of its index."""

    @functools.cached_property
    def _entry(self) -> Descriptor:
        return choose_by_name(self._reference, self.entries, [_names(entry) for entry in self.entries])

    def stored_name(self) -> str:
        """As ``Source``."""
        annotations = self._entry.annotations
        return self._reference.stored_name(annotations.get(_FULL_NAME) or annotations.get(_REF_NAME))

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """As ``Source``."""
        descriptor = wanted or self._entry
        data = read_whole(self._files, _blob_name(descriptor), MANIFEST_LIMIT)
        return check_promise(RawManifest(data, descriptor.media_type), descriptor, f"{self._reference}: manifest")

    def open_blob(self, descriptor: Descriptor) -> contextlib.AbstractContextManager[Generator[bytes, None, None]]:
        """As ``Source``."""
        return open_file(self._files, _blob_name(descriptor), descriptor)

    def _read_entries(self) -> list[Descriptor]:
        layout = self._read_document("oci-layout")
        if not layout.get_str("imageLayoutVersion").startswith("1."):
            layout.fail("imageLayoutVersion", "must be 1")
        index = self._read_document("index.json")
        return [Descriptor.from_document(entry) for entry in index.get_objects("manifests")]

    def _read_document(self, name: str) -> Document:
        return Document.parse(read_whole(self._files, name, MANIFEST_LIMIT), f"{self._files.where}: {name}")


def _blob_name(descriptor: Descriptor) -> str:
    return f"blobs/sha256/{hex_of(descriptor.digest)}"


def _names(entry: Descriptor) -> list[str]:
    return [entry.annotations[key] for key in (_REF_NAME, _FULL_NAME) if key in entry.annotations]


def choose_by_name(reference: Reference, entries: list[_T], names: list[list[str]]) -> _T:
    """The entry that ``reference.tag`` names, or the only one. Raises NotFoundError, UsageError."""
    wanted = reference.tag
    offered = ", ".join(sorted({name for several in names for name in several})) or f"{len(entries)} without a name"
    if wanted is None:
        if len(entries) != 1:
            raise UsageError(f"{reference}: holds {len(entries)} images", f"name one, or @0 and so on: {offered}")
        return entries[0]
    if wanted.startswith("@"):
        if int(wanted[1:]) >= len(entries):
            raise NotFoundError(f"{reference}: holds only {len(entries)} images", f"it holds {offered}")
        return entries[int(wanted[1:])]
    for entry, several in zip(entries, names, strict=True):
        if canonical(wanted) in map(canonical, several):
            return entry
    raise NotFoundError(f"{reference}: not found", f"it holds {offered}")


class DirectorySource:
    """The one image of a ``dir:`` directory; of several platforms, if its manifest is an index."""

    def __init__(self, reference: Reference, files: Files) -> None:
        self._reference = reference
        self._files = files
        version = read_whole(files, "version", 1024).decode(errors="replace").strip()
        if not version.startswith("Directory Transport Version: 1."):
            raise UsageError(f"{reference}: is no image directory of version 1: {version[:60]!r}", "try oci:")

    def stored_name(self) -> str:
        """As ``Source``."""
        return self._reference.stored_name()

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """As ``Source``."""
        if wanted is None:
            return RawManifest(read_whole(self._files, "manifest.json", MANIFEST_LIMIT), "")
        data = read_whole(self._files, f"{hex_of(wanted.digest)}.manifest.json", MANIFEST_LIMIT)
        return check_promise(RawManifest(data, wanted.media_type), wanted, f"{self._reference}: manifest")

    def open_blob(self, descriptor: Descriptor) -> contextlib.AbstractContextManager[Generator[bytes, None, None]]:
        """As ``Source``."""
        return open_file(self._files, hex_of(descriptor.digest), descriptor)
