"""Fuzzes the readers of manifests and indexes.

Each input is refused with a reason, or is read; then everything that becomes part of a path or URL has the form it must
have, and reading the document again by its own media type gives the same.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from syscontainers.errors import RefusedError
from syscontainers.images.digests import is_digest
from syscontainers.images.documents import (
    ACCEPTED,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    RawManifest,
    parse_manifest,
)

from .choices import Choices, edit

_TYPES = (*ACCEPTED, "", "application/json", "text/html", "application/vnd.docker.distribution.manifest.v1+json")


def _descriptor(media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + "1" * 64, "size": 7, "annotations": {"a": "b"}, **more}


_PLATFORM = {"os": "linux", "architecture": "amd64", "variant": "v2", "os.version": "1", "os.features": ["x"]}
_GOOD = (
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": _descriptor(OCI_CONFIG, platform=_PLATFORM, data="e30="),
        "layers": [_descriptor(OCI_LAYER + "+gzip", urls=["https://x/"]), _descriptor(OCI_LAYER)],
        "annotations": {"a": "b"},
        "subject": _descriptor(OCI_MANIFEST),
    },
    {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": _descriptor("application/vnd.docker.container.image.v1+json"),
        "layers": [_descriptor(DOCKER_LAYER + ".gzip")],
    },
    {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_descriptor(OCI_MANIFEST, platform=_PLATFORM), _descriptor(OCI_INDEX)],
    },
)


def run(data: bytes) -> None:
    """One input: a byte for the kind, one for the type it comes as, then decisions or the document itself."""
    choices = Choices(data[:2])
    kind, media_type = choices.pick(4), choices.of(_TYPES)
    rest = data[2:]
    text = rest if kind == 3 else json.dumps(edit(_GOOD[kind], Choices(rest[:60]))).encode()
    try:
        read = parse_manifest(RawManifest(text, media_type), "image")
    except RefusedError:
        return  # with a reason
    own = json.loads(text).get("mediaType") or ""
    assert own in (*ACCEPTED, "")
    found = [*read.layers, read.config] if isinstance(read, Manifest) else list(read.manifests)
    assert all(_is_sound(each) for each in found), found
    assert type(parse_manifest(RawManifest(text, own), "image")) is type(read)


def _is_sound(descriptor: Descriptor) -> bool:
    return is_digest(descriptor.digest) and 0 <= descriptor.size <= 1 << 50


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    for number, document in enumerate(_GOOD):
        for of_type in range(len(_TYPES)):
            (corpus / f"raw{number}-{of_type}").write_bytes(bytes([3, of_type]) + json.dumps(document).encode())
            (corpus / f"edit{number}-{of_type}").write_bytes(bytes([number, of_type]) + bytes(range(number, 30)))
    yield run
