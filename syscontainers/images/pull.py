"""Pulling: from a name to an image in the storage, every byte of it compared with a digest.

Nothing is visible before everything is verified: layers are unpacked in a staging directory that is removed with
the ``with`` block that made it, and ``Store.commit_image`` puts them all in place at once. An interrupt, a failing
layer or a full disk therefore leaves the storage as it was; a crash leaves staging directories that the next
pull sweeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError
from ..progress import Progress
from ..settings import Settings
from ..storage.images import Image, NewImage
from ..storage.store import Store
from ..typed import DocumentError
from .config import ImageConfig
from .credentials import Credentials
from .documents import Manifest, Platform, parse_manifest
from .layers import Fetcher, LayerFetcher, PlannedLayer, plan_layers
from .platforms import choose_manifest, wished_platform
from .reference import Reference
from .sources import Source, fetch_blob
from .transfers import Transfers
from .transports import open_source

_DEEPEST_INDEX = 4


@dataclass(frozen=True)
class PullRequest:
    """What the user asked for beside the name."""

    plain_http: bool = False
    authfile: Path | None = None
    platform: str | None = None
    """``os/architecture[/variant]``; None is this machine's."""
    credentials: Credentials | None = None
    """None takes what is configured for the registry."""


@dataclass(frozen=True)
class Resolved:
    """The one manifest for one platform, and the indexes that led to it by digest."""

    manifest: Manifest
    indexes: Mapping[str, bytes]


def pull(reference: Reference, store: Store, request: PullRequest, settings: Settings, progress: Progress) -> Image:
    """Get the image into ``store`` and give it its name there; what is there already is not fetched again.

    Raises NotFoundError (no such image, tag or platform), RefusedError (bytes or documents that are not as
    promised), UsageError, and SyscontainersError for everything between us and the source. The store is then as
    before.
    """
    where = str(reference)
    wish = wished_platform(request.platform)
    transfers = Transfers(progress.say)
    how = (request.plain_http, request.authfile, request.credentials)
    with open_source(reference, settings, transfers, *how, progress) as source:
        resolved = resolve(source, wish, where)
        with transfers.watched():
            data = read_config(source, resolved.manifest, store, where)
        config = ImageConfig.parse(data, f"{where}: config")
        check_config(config, resolved.manifest, wish, where)
        new = NewImage(
            manifest=resolved.manifest.raw.data,
            manifest_digest=resolved.manifest.raw.digest,
            config=data,
            names=tuple(filter(None, [source.stored_name()])),
            indexes=resolved.indexes,
            created=config.created,
        )
        if reference.is_path:
            _warn_of_names(store, new, progress)
        fetcher: Fetcher = LayerFetcher(source, transfers, progress, settings.parallel_downloads)
        if isinstance(source, Fetcher):
            fetcher = source  # another storage: its layers are files already
        return store_image(store, new, plan_layers(resolved.manifest, config), fetcher)


def _warn_of_names(store: Store, new: NewImage, progress: Progress) -> None:
    """A file calls itself what it likes; that it takes a registry's name from another image must not go unseen."""
    for name in new.names:
        other = store.find_image(name)
        if other is not None and other.id != new.id and not name.startswith("localhost/"):
            progress.warn(f"{name} meant the image {other.id[:12]} until now; this file says that the name is its own")


def resolve(source: Source, wish: Platform, where: str) -> Resolved:
    """Follow indexes to the manifest for ``wish``. Raises NotFoundError, RefusedError."""
    raw = source.fetch_manifest()
    indexes: dict[str, bytes] = {}
    for _ in range(_DEEPEST_INDEX + 1):
        document = parse_manifest(raw, f"{where}: manifest")
        if isinstance(document, Manifest):
            return Resolved(document, indexes)
        indexes[raw.digest] = raw.data
        raw = source.fetch_manifest(choose_manifest(document, wish, where))
    raise DocumentError(f"{where}: more than {_DEEPEST_INDEX} indexes within each other")


def read_config(source: Source, manifest: Manifest, store: Store, where: str) -> bytes:
    """The config blob: from the store if it has the image, else from the source, verified."""
    present = store.find_image(manifest.config.digest.removeprefix("sha256:"))
    if present is not None and present.digest == manifest.raw.digest:
        return store.read_config(present)
    return fetch_blob(source, manifest.config, f"{where}: config")


def check_config(config: ImageConfig, manifest: Manifest, wish: Platform, where: str) -> None:
    """The config must fit its manifest and run on ``wish``. Raises DocumentError, NotFoundError."""
    if len(config.diff_ids) != len(manifest.layers):
        raise DocumentError(
            f"{where}: the manifest has {len(manifest.layers)} layers, its config {len(config.diff_ids)}"
        )
    offered = config.platform
    if (offered.os, offered.architecture) != (wish.os, wish.architecture):
        raise NotFoundError(
            f"{where}: is for {offered}, not for {wish}", f"to take it all the same: --platform {offered}"
        )


def store_image(store: Store, new: NewImage, planned: Sequence[PlannedLayer], fetcher: Fetcher) -> Image:
    """Fetch the layers that are missing and commit the image. Raises what both of these raise."""
    with contextlib.ExitStack() as stack:
        # Of two pulls of one layer the first fetches it, and the second waits here and finds it.
        present = stack.enter_context(store.claim_layers([layer.id for layer in planned]))
        missing = [layer for layer in planned if layer.id not in present]
        if not missing and (image := find_same(store, new)):
            return image
        staging = stack.enter_context(store.staging_directory())
        staged = fetcher.fetch(missing, staging.path)
        return store.commit_image(new, [present.get(layer.id) or staged[layer.id] for layer in planned], staging)


def find_same(store: Store, new: NewImage) -> Image | None:
    """The image, if it is in the store already with all that ``new`` would add to it."""
    image = store.find_image(new.id)
    digests = {new.manifest_digest, *new.indexes}
    if image is None or image.digest != new.manifest_digest:
        return None
    return image if digests <= set(image.digests) and set(new.names) <= set(image.names) else None
