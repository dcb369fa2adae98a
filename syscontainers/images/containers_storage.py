"""Images that podman, Buildah or CRI-O have on this host: ``containers-storage:NAME`` (containers-transports(5)).

The store is the one of storage.conf unless the reference names another; as those tools do, we look into the
additional image stores too. Documents pass the same checks as those of a registry. Layers are taken over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, RefusedError, UsageError
from ..progress import Progress
from ..settings import Settings
from ..storage.adopt import adopt_layer, check_owner
from ..storage.images import Image
from ..storage.staged import StagedLayer
from ..storage.storageconf import Places, read_conf
from ..storage.store import Store
from .digests import digest_of, verify_digest
from .documents import Descriptor, RawManifest
from .layers import PlannedLayer
from .reference import DOCKER_HUB, Reference

_OFFICIAL = f"{DOCKER_HUB}/library/"
_LOCAL = "localhost/"


@dataclass(frozen=True)
class Found:
    """An image of another store."""

    store: Store
    image: Image
    name: str
    """What it is to be called with us; empty for one that has no name."""


def open_stores(reference: Reference, settings: Settings) -> Iterator[Store]:
    """The store that the reference means, then those that are only read, each looked at when it is its turn.

    Raises SyscontainersError, and RefusedError for one that is not root's alone.
    """
    conf = read_conf(Places.on(settings.host))
    roots = [reference.root] if reference.root else list(reversed(conf.roots))
    for root in dict.fromkeys([*roots, *conf.additional]):
        real = check_owner(root)
        yield Store(real, real)  # nothing is written there, so nothing is staged either


def find_local(reference: Reference, stores: Iterable[Store]) -> Found | None:
    """The image in the first of the ``stores`` that has it, or None. Raises UsageError for an ambiguous ID."""
    for store in stores:
        for name in _names(reference):
            image = store.find_image(name)
            if image is not None:
                return Found(store, image, _own_name(image) if reference.image_id else name)
    return None


def _names(reference: Reference) -> Iterator[str]:
    yield reference.kept_as
    if reference.kept_as.startswith(_OFFICIAL):
        # podman's own name for what it built under a name without a registry.
        yield _LOCAL + reference.kept_as.removeprefix(_OFFICIAL)


def _own_name(image: Image) -> str:
    for name in image.names:
        with contextlib.suppress(UsageError):  # another tool's name may be any text
            reference = Reference.parse(name)
            if str(reference) == name and not reference.is_local and reference.digest in (None, image.digest):
                return name
    return ""


def local_digest(reference: Reference, settings: Settings) -> str | None:
    """The digest of the manifest that ``reference`` means now, or None. Raises what ``open_stores`` raises."""
    found = find_local(reference, open_stores(reference, settings))
    return found.image.digest if found else None


class ContainersStorageSource:
    """One image of another store on this host; also the fetcher of its layers."""

    def __init__(self, reference: Reference, settings: Settings, progress: Progress) -> None:
        """Raises NotFoundError, and what ``open_stores`` and ``find_local`` raise."""
        self._reference = reference
        self._progress = progress
        self._settings = settings
        found = find_local(reference, self._stores())
        if found is None:
            raise NotFoundError(f"{reference}: not in {self._where()}", "podman images lists what is there")
        self._store, self._image, self._name = found.store, found.image, found.name

    def _stores(self) -> Iterator[Store]:
        return open_stores(self._reference, self._settings)

    def _where(self) -> str:
        return ", ".join(str(store.root) for store in self._stores())

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """As ``Source``."""
        digest = self._reference.digest if wanted is None else wanted.digest
        if digest is None:
            data = self._store.read_manifest(self._image)
            return self._verified(data, self._image.digest or digest_of(data))
        if digest not in self._image.digests:
            self._store, self._image = self._find_instance(digest)
        return self._verified(self._store.read_index(self._image, digest), digest)

    def _find_instance(self, digest: str) -> tuple[Store, Image]:
        """The image of a list (podman manifest); it has a record of its own."""
        for store in self._stores():
            for image in store.images():
                if digest in image.digests:
                    return store, image
        raise NotFoundError(f"{self._reference}: no image with the digest {digest} in {self._where()}")

    def _verified(self, data: bytes, digest: str) -> RawManifest:
        return RawManifest(verify_digest(data, digest, f"{self._reference}: manifest"), "")

    @contextlib.contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[Iterable[bytes]]:
        """As ``Source``, but only for the config. Raises UsageError for a layer, which is there as files only."""
        try:
            data = self._store.read_blob(self._image, descriptor.digest)
        except NotFoundError:
            raise UsageError(
                f"{self._reference}: {descriptor.digest[:19]} is not kept as it was downloaded",
                "podman save --format oci-archive makes an archive of the image",
            ) from None
        yield [data]

    def stored_name(self) -> str:
        """As ``Source``."""
        return self._name

    def fetch(self, missing: Sequence[PlannedLayer], directory: Path) -> dict[str, StagedLayer]:
        """Take ``missing`` layers over (see ``LayerFetcher``). Raises RefusedError and what ``adopt_layer`` raises."""
        return {planned.id: self._adopt(planned, directory / planned.id) for planned in missing}

    def _adopt(self, planned: PlannedLayer, directory: Path) -> StagedLayer:
        # An image that was built on one of an additional store has its lower layers there.
        for store in self._stores():
            layer = store.find_layer(planned.id)
            if layer is not None and layer.diff_id == planned.promise.diff_id:
                staged = adopt_layer(store, layer, directory)
                self._progress.say(f"{planned.label}: from {store.root}")
                return staged
        raise RefusedError(
            f"{self._reference}: {self._store.root} has no layer with the digest {planned.promise.diff_id[:19]}",
            "what was pulled in parts (zstd:chunked) has none of its own: pull the image from its registry",
        )
