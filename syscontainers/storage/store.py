"""The image store: containers/storage on disk (overlay driver), read and written by a program that is not Go.

**Tree.** What podman, CRI-O, Buildah and skopeo find below a graph root, and nothing else::

    storage.lock  userns.lock
    overlay/ID/{diff,link,lower,lower-layers,work,merged,empty}     a layer; diff is its content
    overlay/l/LINK -> ../ID/diff                                    its short name
    overlay-layers/{layers.json,layers.lock,ID.tar-split.gz}        records; how to get the very tar back
    overlay-images/{images.json,images.lock,ID/…}                   records; manifests and config
    overlay-containers/{containers.json,containers.lock}            who holds images (``holders``), if anybody does

Everything half-done lies outside, in a staging area on the same file system (``staging``), because any directory in
``overlay`` that no record names counts as damage to podman's check. From there things are renamed in, also while
podman has ``overlay`` mounted on itself (``moves``). A layer's ID depends on all layers below it, an
image's is its config's digest (``layers``, ``images``). Several programs may use one root; ours also works on
podman's own. Records and keys of theirs that we do not know stay as they are (``records``).

**Locks.** Writers take layers.lock before images.lock before containers.lock, exclusively for what they change; a
changed file is announced in its lock file first (``locks``). Unpacking holds none of them: a podman command waits for
a handful of renames and two small files. Readers take no lock at all. Records are replaced by a rename, so each read
sees one whole state; images are listed after their layers and removed before them, so who reads images first finds
the layers, unless the image was removed in between, and then that is what we report. *Claims* in the staging area,
one per layer, let two pulls share a download and keep ``prune_layers`` away from what a pull is about to build on;
they are taken base first, and before any lock of the store. A claim on an image keeps it from being removed while
somebody makes a container of it.

**Adding an image** (``commit``):

1. layers are unpacked and verified in the staging area, then dressed: metadata of directories that no tar named, mode
   of the top, ``link``, ``lower``, big data of the image;
2. a *ticket* in the staging area names the layers and the image to come;
3. one ``syncfs``: it and everything staged is on the disk, and no write of it was lost since the staging began;
4. under layers.lock and images.lock: layers that others put there meanwhile are dropped, the rest is renamed into
   place and linked, the directories synced; token, layers.json; big data renamed; token, images.json; of an image
   that was there and got another manifest, the plain ``manifest`` only now, for until now it belonged to the record;
5. the ticket goes.

**Removing** goes backwards: ticket, token and records, then the directories are renamed into the staging area, and
deleted after the locks are given back.

**What a crash leaves**, and who cleans it up:

=============================  ============================================  =====================================
it happens                     it leaves                                     cleaned up by
=============================  ============================================  =====================================
before 4                       a staging directory without a living owner    whoever stages next (``settle``)
                               one that cannot be deleted, with a warning    somebody who can; nobody waits for it
in 4, before layers.json       directories in overlay/ that no record names  the same, by the ticket
between the two JSON files     whole layers that no image uses               the next pull re-uses them, or a prune
before images.json             a second manifest that no record names        whoever stages next, by the ticket
between that and ``manifest``  there the first one; the other by its digest  whoever stages next, by the ticket
while a JSON file is written   a file ``.layers.json.XXXXXXXX.tmp``          the next writer of that file
after 4, before 5              a ticket whose work is done                   whoever stages next
while removing, after records  directories that no record names              whoever stages next, by the ticket
=============================  ============================================  =====================================

Nothing that is listed is ever less than whole, power cuts included: what a record names was synced before the record.
``verify`` reads an image again and compares it with its digests; ``adopt`` takes one over from another store.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import files
from ..errors import NotFoundError, SyscontainersError, UsageError
from ..progress import Progress
from . import commit, garbage, holders, images, tags
from .garbage import Pins, Pruned
from .holders import StoredContainer
from .images import Image, NewImage
from .layers import Layer, chain_of, read_layers, read_link
from .locks import lock_exclusively
from .paths import StorePaths
from .settle import settle_leftovers
from .staged import StagedLayer
from .staging import StagingArea, WorkingDirectory, share_claim

_DOCUMENT_LIMIT = 64 << 20
_OTHER_DRIVERS = ("vfs", "btrfs", "zfs", "aufs", "devicemapper")


def _warn(text: str) -> None:
    Progress(quiet=True).warn(text)


@dataclass(frozen=True)
class Store:
    """An image store. Making one does no I/O; absent files read as an empty store."""

    root: Path
    staging: Path
    warn: Callable[[str], None] = field(default=_warn, compare=False)
    """Is told on one line what is wrong, but in nobody's way."""

    @property
    def paths(self) -> StorePaths:
        """Where things lie below the root."""
        return StorePaths(self.root)

    @property
    def area(self) -> StagingArea:
        """Where half-done things lie."""
        return StagingArea(self.staging)

    def create(self) -> None:
        """Make what is missing of the tree, and clear up after dead processes.

        Raises UsageError, OSError and DocumentError; not for leftovers that are only in the way.
        """
        _make_tree(self.paths)
        self.area.create()
        if self.root.stat().st_dev != self.staging.stat().st_dev:
            raise UsageError(
                f"{self.staging}: not on the file system of {self.root}", "layers are renamed from one to the other"
            )
        settle_leftovers(self.area, self.root, self.warn)

    # Reading

    def images(self) -> list[Image]:
        """All images. Raises DocumentError."""
        return images.read_images(self.paths)

    def find_image(self, name: str) -> Image | None:
        """The image called ``name``: canonical, ``name@digest``, an ID or an ID's beginning (3 digits at least).

        Raises UsageError for a beginning that several images share, and DocumentError.
        """
        return images.find_image(self.images(), name)

    def layers(self) -> dict[str, Layer]:
        """All whole layers by ID. Raises DocumentError."""
        return read_layers(self.paths)

    def find_layer(self, layer_id: str) -> Layer | None:
        """One whole layer, or None. Raises DocumentError."""
        return self.layers().get(layer_id)

    def chain(self, image: Image) -> list[Layer]:
        """The layers of an image, base first. Raises NotFoundError if one is missing."""
        return chain_of(self.layers(), image.layer)

    def read_manifest(self, image: Image) -> bytes:
        """The manifest, byte for byte. Raises NotFoundError if the image was removed meanwhile."""
        # Found by its digest it is that of ``image`` also while a pull puts another one in its place.
        with contextlib.suppress(NotFoundError):
            return self.read_index(image, image.digest)
        return self.read_plain_manifest(image)

    def read_plain_manifest(self, image: Image) -> bytes:
        """The manifest under the key that all tools know. Raises NotFoundError if the image was removed meanwhile."""
        return self._read_big_data(image, images.MANIFEST)

    def read_config(self, image: Image) -> bytes:
        """The config, byte for byte. Raises NotFoundError if the image was removed meanwhile."""
        return self._read_big_data(image, f"sha256:{image.id}")

    def read_index(self, image: Image, digest: str) -> bytes:
        """An index that the image was chosen from, or its manifest, by digest. Raises NotFoundError."""
        return self._read_big_data(image, images.manifest_key(digest))

    def read_blob(self, image: Image, digest: str) -> bytes:
        """The config of an image whose ID does not tell its digest. Raises NotFoundError."""
        return self._read_big_data(image, digest)

    def _read_big_data(self, image: Image, key: str) -> bytes:
        try:
            return files.read_bounded(self.paths.big_data(image.id, key), _DOCUMENT_LIMIT)
        except FileNotFoundError:
            raise NotFoundError(f"image {image.id[:12]} has no {key} in the store", "pull it again") from None

    def lower_directories(self, image: Image) -> list[Path]:
        """The image's layers for overlayfs, top-most first, each by its shortest path; always two at least.

        Raises NotFoundError if a layer is missing, and SyscontainersError for an image without layers.
        """
        chain = self.chain(image)
        if not chain:
            raise SyscontainersError(f"image {image.id[:12]} has no layers, there is nothing to run")
        lowers = [self.content(layer.id) for layer in reversed(chain)]
        if len(lowers) == 1:
            # overlayfs mounts two lower directories or more when there is no upper one
            empty = self.paths.layer(chain[0].id) / "empty"
            lowers.append(empty if empty.is_dir() else empty.with_name("merged"))
        return lowers

    def content(self, layer_id: str) -> Path:
        """The directory with a layer's files, by its shortest path."""
        link = read_link(self.paths, layer_id)
        return self.paths.diff(layer_id) if link is None else self.paths.link(link)

    def containers(self) -> list[StoredContainer]:
        """The containers that others have here, and our holders. Raises DocumentError."""
        return holders.read_containers(self.paths)

    # Writing

    @contextlib.contextmanager
    def staging_directory(self) -> Iterator[WorkingDirectory]:
        """A fresh directory to unpack layers into; removed on exit, or after a crash by the next who stages."""
        self.create()
        with self.area.working_directory() as work:
            yield work

    @contextlib.contextmanager
    def claim_layers(self, layer_ids: Sequence[str]) -> Iterator[Mapping[str, Layer]]:
        """Claim the layers of an image (base first) until it is committed; yields those that are there already.

        Waits while others pull one of them; what they have put there by then is there. The missing ones are for
        the caller alone to fetch, and ``prune_layers`` removes none of the present ones.
        """
        self.create()
        with contextlib.ExitStack() as claims:
            present = self._claim_present(claims, layer_ids)
            for layer_id in layer_ids:
                if layer_id not in present and (layer := self._claim_missing(claims, layer_id)):
                    present[layer_id] = layer
            yield present

    def _claim_present(self, claims: contextlib.ExitStack, layer_ids: Sequence[str]) -> dict[str, Layer]:
        # Most layers of most pulls are there: sharing them first lets pulls on top of one base run side by side.
        # All before the one look at the records, and base first like everybody: so nobody waits in a circle.
        with contextlib.ExitStack() as undo:
            shared = {layer_id: undo.enter_context(contextlib.ExitStack()) for layer_id in layer_ids}
            for layer_id, claim in shared.items():
                claim.enter_context(self.area.claim(layer_id, exclusive=False))
            layers = self.layers()
            present = {layer_id: layers[layer_id] for layer_id in layer_ids if layer_id in layers}
            for layer_id in present:
                claims.push(shared[layer_id].pop_all())
            return present

    def _claim_missing(self, claims: contextlib.ExitStack, layer_id: str) -> Layer | None:
        claim = claims.enter_context(self.area.claim(layer_id, exclusive=True))
        layer = self.find_layer(layer_id)
        if layer is not None:
            share_claim(claim)
        return layer

    def commit_image(self, new: NewImage, layers: Sequence[StagedLayer | Layer], staging: WorkingDirectory) -> Image:
        """Add an image over ``layers`` (base first), all of it or nothing; durable on return.

        Staged layers lie in ``staging``; they are gone afterwards. Raises LayerGoneError if a present layer was removed
        meanwhile, DocumentError and OSError.
        """
        return commit.commit_image(self.paths, self.area, new, layers, staging)

    def tag(self, image: Image, name: str) -> None:
        """Call an image ``name`` (canonical) too; another image of that name loses it.

        Raises NotFoundError, and UsageError for a name that podman could not read or of another digest.
        """
        tags.add_name(self.paths, image.id, name)

    def untag(self, image: Image, name: str) -> bool:
        """Take a name from an image, which stays even without any; whether it had it."""
        return tags.remove_name(self.paths, image.id, name)

    @contextlib.contextmanager
    def keep_image(self, image: Image) -> Iterator[bool]:
        """Keep ``remove_image`` away from an image; yields whether it was still there when that began."""
        self.create()
        with self.area.claim_image(image.id, exclusive=False):
            yield any(found.id == image.id for found in self.images())

    def remove_image(self, image: Image, is_wanted: Callable[[], bool] = lambda: False) -> None:
        """Remove an image with all its names; its layers stay until ``prune_layers``.

        Raises ImageUsedError if somebody keeps it, if ``is_wanted`` says so when nobody can begin to, or if a
        container in this store uses it.
        """
        self.create()
        garbage.remove_image(self.paths, self.area, image.id, is_wanted)

    def hold_image(self, image: Image, holds_for: str, name: str) -> None:
        """Keep other tools, too, from removing an image, by a container called ``name`` (``holders``).

        Raises NotFoundError if the image is gone already.
        """
        self.create()
        holders.add_holder(self.paths, self.area, image, holds_for, name)

    def release_image(self, holds_for: str) -> None:
        """Undo ``hold_image``, if that was done."""
        identity = holders.holder_id(holds_for)
        if any(container.id == identity for container in self.containers()):
            self.create()
            holders.remove_holders(self.paths, self.area, [identity])

    def without_unfinished(self, images: Iterable[Image]) -> list[Image]:
        """``images`` without those that another tool, which writes to this store too, has in work."""
        return garbage.without_unfinished(self.paths, images)

    def prune_layers(self, pins: Pins = tuple, consumers: Sequence[Path] = ()) -> Pruned:
        """Remove every layer that no image, kept layer, pin (layer ID), consumer store or running pull needs.

        ``pins`` is called under the store's locks. ``consumers`` are the roots of stores that have this one as an
        additional image store. Raises DocumentError, having removed nothing, if one of them cannot be read, and what
        ``pins`` raises.
        """
        self.create()
        return garbage.prune_layers(self.paths, self.area, pins, consumers)

    def find_garbage(self, pins: Pins = tuple, consumers: Sequence[Path] = ()) -> Pruned:
        """What ``prune_layers`` would remove; changes nothing."""
        return garbage.find_garbage(self.paths, pins, consumers)


def _make_tree(paths: StorePaths) -> None:
    if paths.images_lock.exists() and paths.layers_lock.exists() and paths.links.is_dir():
        return
    for driver in _OTHER_DRIVERS:
        if (paths.root / f"{driver}-layers").exists():
            raise UsageError(f"{paths.root}: a store of the {driver} driver", "only overlay stores are supported")
    files.make_directories(paths.root, 0o700)
    with lock_exclusively(paths.storage_lock):
        for directory in (paths.overlay, paths.layer_records, paths.image_records):
            files.make_directories(directory, 0o700)
        files.make_directories(paths.links, 0o755)
        # Without these a reader on read-only media could not lock, and podman would not start. The last of them
        # stands for all the rest when somebody looks whether the tree is there.
        for lock in (paths.root / "userns.lock", paths.layers_lock, paths.images_lock):
            os.close(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        for directory in (paths.overlay, paths.layer_records, paths.image_records, paths.root, paths.root.parent):
            files.sync_directory(directory)
