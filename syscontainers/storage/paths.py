"""Where things lie in a containers/storage root (overlay driver), and how they are spelt."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

_PLAIN_KEY = re.compile(r"[.0-9a-z]+")
_LINK = re.compile(r"[A-Z2-7]{26}")
_HEX_ID = re.compile(r"[0-9a-f]{64}")


def is_id(text: str) -> bool:
    """Whether ``text`` is a full layer, image or container ID."""
    return _HEX_ID.fullmatch(text) is not None


def is_link(text: str) -> bool:
    """Whether ``text`` is a name that the overlay driver gives to the short link of a layer."""
    return _LINK.fullmatch(text) is not None


def link_name(layer_id: str) -> str:
    """The short name of a layer of ours in ``overlay/l``.

    The driver draws it at random. Ours follows from the ID: consumers copy our names into the ``lower`` files of
    their own layers, so a layer that was removed and pulled again must get the name that it had.
    """
    return base64.b32encode(hashlib.sha256(layer_id.encode()).digest()).decode()[:26]


def big_data_name(key: str) -> str:
    """The file name of an image's big data item: itself when it is plain, else ``=`` and its base64."""
    return key if _PLAIN_KEY.fullmatch(key) else "=" + base64.b64encode(key.encode()).decode()


@dataclass(frozen=True)
class StorePaths:
    """The paths below one root."""

    root: Path

    @property
    def storage_lock(self) -> Path:
        """Guards the making of the tree."""
        return self.root / "storage.lock"

    @property
    def overlay(self) -> Path:
        """One directory per layer, and ``l``."""
        return self.root / "overlay"

    @property
    def links(self) -> Path:
        """The short names of the layers."""
        return self.root / "overlay/l"

    @property
    def layer_records(self) -> Path:
        """``layers.json`` and the tar-split files."""
        return self.root / "overlay-layers"

    @property
    def layers_json(self) -> Path:
        """The records of all layers that outlive a reboot."""
        return self.layer_records / "layers.json"

    @property
    def volatile_layers_json(self) -> Path:
        """The records of layers of volatile containers (since c/storage 1.45); never written by us."""
        return self.layer_records / "volatile-layers.json"

    @property
    def layers_lock(self) -> Path:
        """Guards ``layers.json``, ``overlay`` and the tar-split files."""
        return self.layer_records / "layers.lock"

    @property
    def image_records(self) -> Path:
        """``images.json`` and one directory of big data per image."""
        return self.root / "overlay-images"

    @property
    def images_json(self) -> Path:
        """The records of all images."""
        return self.image_records / "images.json"

    @property
    def images_lock(self) -> Path:
        """Guards ``images.json`` and the images' big data."""
        return self.image_records / "images.lock"

    @property
    def container_records(self) -> Path:
        """There only if podman, CRI-O or Buildah keep containers here; never made by us."""
        return self.root / "overlay-containers"

    @property
    def containers_lock(self) -> Path:
        """Guards the containers' records."""
        return self.container_records / "containers.lock"

    @property
    def containers_json(self) -> tuple[Path, Path]:
        """The records of containers, the second of those that a reboot ends (since c/storage 1.45)."""
        return self.container_records / "containers.json", self.container_records / "volatile-containers.json"

    def layer(self, layer_id: str) -> Path:
        """The directory of a layer."""
        return self.overlay / layer_id

    def diff(self, layer_id: str) -> Path:
        """The content of a layer."""
        return self.overlay / layer_id / "diff"

    def link(self, name: str) -> Path:
        """The short link ``name``."""
        return self.links / name

    def tar_split(self, layer_id: str) -> Path:
        """What turns ``diff`` back into the very bytes of the layer's tar."""
        return self.layer_records / f"{layer_id}.tar-split.gz"

    def layer_data(self, layer_id: str) -> Path:
        """The big data of a layer; rare."""
        return self.layer_records / layer_id

    def image(self, image_id: str) -> Path:
        """The directory of an image's big data."""
        return self.image_records / image_id

    def big_data(self, image_id: str, key: str) -> Path:
        """One item of an image's big data."""
        return self.image(image_id) / big_data_name(key)
