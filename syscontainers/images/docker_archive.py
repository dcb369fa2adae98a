"""Images in what ``docker save`` writes: a tar with ``manifest.json``, a config and the layers' tars.

Docker "Image Specification v1.2", section "Combined Image JSON + Filesystem Changeset Format". There is no registry
manifest in it, so one is made: from the config and the layers, schema 2, the same each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Generator

from ..typed import Document, DocumentError, parse_json
from .archive import Files, read_whole
from .config import ImageConfig
from .digests import digest_of
from .documents import (
    CONFIG_LIMIT,
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    MANIFEST_LIMIT,
    MOST_LAYERS,
    Descriptor,
    RawManifest,
)
from .layout import choose_by_name, open_file
from .reference import Reference

# How compressed streams begin: gzip (RFC 1952), zstd (RFC 8878), xz, bzip2. Old Docker never compressed them.
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh")


class DockerArchiveSource:
    """One image of a docker-archive."""

    def __init__(self, reference: Reference, files: Files) -> None:
        self._reference = reference
        self._files = files
        self._entry = self._choose()
        self._names: dict[str, str] = {}

    def stored_name(self) -> str:
        """As ``Source``."""
        tags = self._entry.get_strings("RepoTags", [])
        return self._reference.stored_name(tags[0] if tags else None)

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """As ``Source``; a manifest made here."""
        del wanted  # there is no index that could promise one
        name = self._entry.get_str("Config")
        data = read_whole(self._files, name, CONFIG_LIMIT)
        layers = self._describe_layers(ImageConfig.parse(data, f"{self._files.where}: {name}"))
        config = Descriptor(DOCKER_CONFIG, digest_of(data), len(data))
        self._names[config.digest] = name
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": _to_json(config),
            "layers": [_to_json(layer) for layer in layers],
        }
        return RawManifest(json.dumps(manifest, separators=(",", ":")).encode(), DOCKER_MANIFEST)

    def open_blob(self, descriptor: Descriptor) -> contextlib.AbstractContextManager[Generator[bytes, None, None]]:
        """As ``Source``."""
        return open_file(self._files, self._names[descriptor.digest], descriptor)

    def _choose(self) -> Document:
        where = f"{self._files.where}: manifest.json"
        images = parse_json(read_whole(self._files, "manifest.json", MANIFEST_LIMIT), where)
        if not isinstance(images, list):
            raise DocumentError(f"{where}: must be a list")
        entries = [Document(entry, f"{where}[{number}]") for number, entry in enumerate(images)]
        return choose_by_name(self._reference, entries, [entry.get_strings("RepoTags", []) for entry in entries])

    def _describe_layers(self, config: ImageConfig) -> list[Descriptor]:
        names = self._entry.get_strings("Layers")
        if len(names) != len(config.diff_ids) or len(names) > MOST_LAYERS:
            self._entry.fail("Layers", f"are {len(names)}, but the config has {len(config.diff_ids)}")
        layers = [self._describe(name, diff_id) for name, diff_id in zip(names, config.diff_ids, strict=True)]
        self._names.update(zip((layer.digest for layer in layers), names, strict=True))
        return layers

    def _describe(self, name: str, diff_id: str) -> Descriptor:
        with contextlib.closing(self._files.chunks(name)) as chunks:
            first = next(chunks, b"")
            if not first.startswith(_COMPRESSED):
                # The tar itself, whose digest the config promises and the unpacker checks.
                return Descriptor(DOCKER_LAYER, diff_id, self._files.size(name))
            digest = hashlib.sha256(first)
            for chunk in chunks:
                digest.update(chunk)
        return Descriptor(f"{DOCKER_LAYER}.gzip", f"sha256:{digest.hexdigest()}", self._files.size(name))


def _to_json(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "size": descriptor.size, "digest": descriptor.digest}
