"""A layer's compressed bytes, held to what the manifest promised while they flow past."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from ..errors import DigestError
from .staged import LayerPromise


class PromisedBlob:
    """Counts and hashes the bytes that pass; never lets more through than were promised."""

    def __init__(self, chunks: Iterable[bytes], promise: LayerPromise) -> None:
        self._chunks = chunks
        self._promise = promise
        self._hash = hashlib.sha256()
        self.consumed = 0
        self.has_ended = False

    def __iter__(self) -> Iterator[bytes]:
        """The bytes as they come. Raises DigestError as soon as they are too many."""
        for chunk in self._chunks:
            self.consumed += len(chunk)
            if self.consumed > self._promise.size:
                raise DigestError(
                    f"layer {self._promise.digest}: longer than the {self._promise.size} bytes of its manifest",
                    "the registry or the transfer is broken; try again or pull from elsewhere",
                )
            self._hash.update(chunk)
            yield chunk
        self.has_ended = True

    def verify(self) -> str:
        """After the last byte: the digest. Raises DigestError unless size and digest are the promised ones."""
        promise = self._promise
        hint = "the registry or the transfer is broken; try again or pull from elsewhere"
        if self.consumed != promise.size:
            raise DigestError(f"layer {promise.digest}: {self.consumed} bytes instead of {promise.size}", hint)
        digest = f"sha256:{self._hash.hexdigest()}"
        if digest != promise.digest:
            raise DigestError(f"layer {promise.digest}: the bytes received are {digest}", hint)
        return digest
