"""Writing an OCI image layout (image-spec, image-layout.md): blobs by digest and an index of names."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEDIA = "application/vnd.oci.image"
# The same content must have the same digest tomorrow.
CREATED = "2023-01-01T00:00:00Z"


@dataclass(frozen=True)
class Layer:
    """A layer that lies in the layout."""

    descriptor: dict[str, Any]
    diff_id: str


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Layout:
    """A layout in ``directory``, which is made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._manifests: list[dict[str, Any]] = []
        (directory / "blobs/sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def add_blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Store ``data``; its descriptor."""
        digest = _digest(data)
        (self.directory / "blobs" / digest.replace(":", "/")).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_layer(self, tar: bytes) -> Layer:
        """Store a layer, compressed with gzip and no time stamp in it."""
        blob = gzip.compress(tar, compresslevel=6, mtime=0)
        return Layer(self.add_blob(blob, f"{MEDIA}.layer.v1.tar+gzip"), _digest(tar))

    def add_image(self, tag: str, layers: Sequence[Layer], architecture: str, config: Mapping[str, Any]) -> None:
        """Store an image of ``layers``, the lowest first, under the name ``tag``."""
        document = {
            "created": CREATED,
            "architecture": architecture,
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA}.manifest.v1+json",
            "config": self.add_blob(json.dumps(document).encode(), f"{MEDIA}.config.v1+json"),
            "layers": [layer.descriptor for layer in layers],
        }
        descriptor = self.add_blob(json.dumps(manifest).encode(), f"{MEDIA}.manifest.v1+json")
        self._manifests.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": tag}})

    def write_index(self) -> None:
        """Make the images findable; the last thing to do."""
        index = {"schemaVersion": 2, "mediaType": f"{MEDIA}.index.v1+json", "manifests": self._manifests}
        (self.directory / "index.json").write_text(json.dumps(index))
