"""Making seeds: images copied, as they are and verified, into one OCI layout that an operating system can ship.

OCI image-spec, "Image Layout". Each image keeps its manifest byte for byte; of an index only the manifest for the
wanted platform is taken. Blobs come first and ``index.json`` last, so a layout is whole at any moment. Who writes holds
a lock on the directory, from the first blob to the last that is swept; who reads needs none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from .. import files
from ..containers.context import Context
from ..containers.obtain import SourceOptions
from ..errors import DigestError
from ..images.digests import hex_of
from ..images.documents import MANIFEST_LIMIT, Descriptor, Manifest
from ..images.platforms import wished_platform
from ..images.pull import resolve
from ..images.reference import Reference
from ..images.sources import Source
from ..images.transfers import Transfers
from ..images.transports import open_source
from ..typed import Document

_REF_NAME = "org.opencontainers.image.ref.name"
_INDEX = "index.json"


def add_seed(context: Context, layout: Path, reference: Reference, options: SourceOptions) -> str:
    """Copy one image into ``layout``, replacing the one of that name. Returns the digest of its manifest.

    Raises DocumentError for a layout that is none, and what reading the source raises; the layout is then as it was,
    but for blobs that nothing names.
    """
    wish = wished_platform(options.platform)
    how = (options.plain_http, options.authfile, options.credentials)
    with open_source(reference, context.settings, Transfers(), *how) as source:
        manifest = resolve(source, wish, str(reference)).manifest
        name = source.stored_name()
        with _write_lock(context, layout):
            # What cannot be read must show before anything is copied.
            list(_used_digests(layout, _read_others(layout, name)))
            _create_layout(layout)
            for descriptor in (manifest.config, *manifest.layers):
                _copy_blob(context, source, descriptor, layout)
            files.replace_file(_blob(layout, manifest.raw.digest), manifest.raw.data)
            _enter(layout, manifest, name, str(wish.architecture))
            _sweep(layout)
    return manifest.raw.digest


@contextlib.contextmanager
def _write_lock(context: Context, layout: Path) -> Iterator[None]:
    """Keep others from adding seeds to ``layout``: what nothing names yet would be swept, an entry overwritten."""
    files.make_directories(layout)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(files.lock_directory(layout, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            context.progress.say(f"{layout}: waiting for another command that adds seeds")
            stack.enter_context(files.lock_directory(layout))
        yield


def _create_layout(layout: Path) -> None:
    files.make_directories(layout / "blobs" / "sha256")
    if not (layout / "oci-layout").exists():
        files.replace_file(layout / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}\n')


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / hex_of(digest)


def _copy_blob(context: Context, source: Source, descriptor: Descriptor, layout: Path) -> None:
    path = _blob(layout, descriptor.digest)
    if path.is_file() and path.stat().st_size == descriptor.size:
        return
    temporary = files.temporary_name(path)
    try:
        with source.open_blob(descriptor) as chunks, temporary.open("wb") as file:
            digest = hashlib.sha256()
            for chunk in chunks:
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != hex_of(descriptor.digest):
            raise DigestError(f"{descriptor.digest}: came as sha256:{digest.hexdigest()}")
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    context.progress.finish(descriptor.digest, f"{descriptor.digest[:19]}: copied")


def _read_entries(layout: Path) -> list[Document]:
    """The images of a layout, as its index has them; none where there is no layout yet. Raises DocumentError."""
    try:
        index = _read(layout / _INDEX)
    except FileNotFoundError:
        return []
    return index.get_objects("manifests")


def _read(path: Path) -> Document:
    return Document.parse(files.read_bounded(path, MANIFEST_LIMIT), str(path))


def _read_others(layout: Path, name: str) -> list[Document]:
    entries = _read_entries(layout)
    names = [Descriptor.from_document(entry).annotations.get(_REF_NAME) for entry in entries]
    return [entry for entry, other in zip(entries, names, strict=True) if other != name]


def _enter(layout: Path, manifest: Manifest, name: str, architecture: str) -> None:
    entry = {
        "mediaType": manifest.raw.media_type,
        "digest": manifest.raw.digest,
        "size": len(manifest.raw.data),
        "annotations": {_REF_NAME: name},
        "platform": {"os": "linux", "architecture": architecture},
    }
    others = [other.raw() for other in _read_others(layout, name)]
    files.sync_file_system(layout)  # the blobs, before anything names them
    document = {"schemaVersion": 2, "manifests": [*others, entry]}
    files.replace_file(layout / _INDEX, json.dumps(document, indent=1).encode() + b"\n")


def _sweep(layout: Path) -> None:
    """Remove the blobs that no image of the layout is made of any more, and what interrupted writes left."""
    files.sweep_temporaries(layout / _INDEX)
    used = {hex_of(digest) for digest in _used_digests(layout, _read_entries(layout))}
    for blob in (layout / "blobs" / "sha256").iterdir():
        if blob.name not in used:
            blob.unlink()


def _used_digests(layout: Path, entries: Iterable[Document]) -> Iterator[str]:
    """The blobs that ``entries`` and all below them are made of. Raises DocumentError and OSError."""
    for entry in entries:
        descriptor = Descriptor.from_document(entry)
        yield descriptor.digest
        document = _read(_blob(layout, descriptor.digest))
        yield from _used_digests(layout, document.get_objects("manifests", []))
        config = document.get_optional_object("config")
        for part in (*document.get_objects("layers", []), *([] if config is None else [config])):
            yield Descriptor.from_document(part).digest
