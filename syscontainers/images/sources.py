"""What every place that images come from can do."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from ..errors import DigestError, RefusedError
from .digests import verify_digest
from .documents import ACCEPTED, Descriptor, RawManifest

CHUNK = 512 << 10
"""Bytes per piece of a blob: large enough that Python's part per piece does not show."""


class Source(Protocol):
    """One image in one place. Blobs may be opened from several threads at once."""

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """The manifest or index that the reference names, or that a ``wanted`` entry of an index promises.

        The bytes have the digest of the reference or entry. Raises NotFoundError, RefusedError, SyscontainersError.
        """
        ...

    def open_blob(self, descriptor: Descriptor) -> AbstractContextManager[Iterable[bytes]]:
        """The bytes of a blob as they come in, exactly ``descriptor.size`` of them; their digest is not checked.

        Raises NotFoundError, DigestError for a wrong size, SyscontainersError.
        """
        ...

    def stored_name(self) -> str:
        """The canonical name under which the image is to be kept; known once its manifest was fetched."""
        ...


def fetch_blob(source: Source, descriptor: Descriptor, what: str) -> bytes:
    """A whole small blob, verified; the caller has bounded ``descriptor.size``. Raises DigestError and as above."""
    with source.open_blob(descriptor) as chunks:
        return verify_digest(b"".join(chunks), descriptor.digest, what)


def check_promise(raw: RawManifest, wanted: Descriptor, what: str) -> RawManifest:
    """Return ``raw`` if it is what an index promised. Raises DigestError, RefusedError."""
    if len(raw.data) != wanted.size:
        raise DigestError(f"{what}: is {len(raw.data)} bytes long, promised were {wanted.size}")
    verify_digest(raw.data, wanted.digest, what)
    if {raw.media_type, wanted.media_type} <= set(ACCEPTED) and raw.media_type != wanted.media_type:
        raise RefusedError(f"{what}: came as {raw.media_type}, promised was {wanted.media_type}")
    return raw
