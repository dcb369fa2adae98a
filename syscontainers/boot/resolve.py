"""From the name of an image to its digest and to the image itself, by what lies on this host first.

What is pinned may be an index. Then the image is the one that this index names for the platform: every image that was
ever chosen from it is recorded under its digest too, by podman as by us, also one for another platform. So an image is
never taken for its record alone; the index is read.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..containers.context import Context
from ..containers.obtain import SourceOptions, find_present, obtain_image
from ..errors import NotFoundError, RefusedError
from ..images.containers_storage import local_digest
from ..images.digests import digest_of
from ..images.documents import Index, Manifest, Platform, RawManifest, parse_manifest
from ..images.platforms import choose_manifest, wished_platform
from ..images.pull import resolve
from ..images.reference import STORAGE, Reference
from ..images.transfers import Transfers
from ..images.transports import open_source
from ..storage.images import Image
from .declaration import ALWAYS, Declaration
from .lockfile import Lock
from .seeds import Seed, find_seed, import_seed


class NotHereError(NotFoundError):
    """Neither seeds nor storage have the image, and nobody may be asked."""


@dataclass(frozen=True)
class Sources:
    """Where images may come from, the first that has one wins: lock file, seeds, storage, registry."""

    lock: Lock | None
    seeds: tuple[Seed, ...]
    options: SourceOptions
    online: bool = True
    """Whether registries may be asked."""

    @functools.cached_property
    def platform(self) -> Platform:
        """What images have to be for."""
        return wished_platform(self.options.platform)


def expect_digest(context: Context, sources: Sources, declaration: Declaration) -> str | None:
    """The digest of the manifest that ``fetch_image`` would come to; None where only the registry knows.

    What is pinned and not on this host is given as it is pinned. Raises UsageError where a lock file does not say, and
    what reading the storage raises.
    """
    digest = _find_digest(context, sources, declaration)
    if digest is None:
        return None
    present = _find_in_store(context, digest, sources.platform)
    if present is not None:
        return present.digest
    seed = find_seed(sources.seeds, declaration.image, digest)
    return digest if seed is None else seed.manifest


def _find_digest(context: Context, sources: Sources, declaration: Declaration) -> str | None:
    """What the image's name means here and now, which may be an index; None where only the registry knows."""
    pinned = _pinned(sources, declaration.image)
    if pinned is not None:
        return pinned
    if declaration.update == ALWAYS and sources.online:
        return None
    return known_here(context, sources.seeds, declaration.image, sources.platform)


def known_here(context: Context, seeds: Sequence[Seed], reference: Reference, wish: Platform) -> str | None:
    """The digest that seeds have under this name, or the stores of this host; podman's come first where it is meant."""
    seed = find_seed(seeds, reference, None)
    if seed is not None:
        return seed.manifest
    digest = local_digest(reference, context.settings) if reference.transport == STORAGE else None
    if digest is None:
        image = find_present(context, reference, wish)
        digest = None if image is None else image.digest
    return digest


def fetch_image(context: Context, sources: Sources, declaration: Declaration) -> Image:
    """The image in the storage, under the declared name. Raises NotHereError, and what pulling raises."""
    reference, digest = declaration.image, _find_digest(context, sources, declaration)
    if digest is not None:
        present = _find_in_store(context, digest, sources.platform)
        if present is not None:
            return _named(context, present, reference)
        seed = find_seed(sources.seeds, reference, digest)
        if seed is not None:
            return import_seed(context, seed, reference, sources.options.platform)
    if not sources.online and not reference.is_local:
        raise NotHereError(f"{reference}: neither in the storage nor among the seeds of this host")
    return _pull(context, sources, reference, digest)


def ask_digest(context: Context, reference: Reference, options: SourceOptions) -> str:
    """The digest of the manifest that the registry has for this host now. Raises what resolving raises."""
    wish = wished_platform(options.platform)
    how = (options.plain_http, options.authfile, options.credentials)
    with open_source(reference, context.settings, Transfers(), *how) as source:
        return resolve(source, wish, str(reference)).manifest.raw.digest


def _pinned(sources: Sources, reference: Reference) -> str | None:
    return reference.digest if sources.lock is None else sources.lock.digest_of(reference)


def _find_in_store(context: Context, digest: str, wish: Platform) -> Image | None:
    """The image whose manifest has this digest, or that which the index with this digest names for ``wish``.

    Raises NotFoundError for an index that names none.
    """
    for image in context.store.images():
        document = _read_document(context, image, digest) if digest in image.digests else None
        if isinstance(document, Manifest):
            return image
        if document is not None:
            return _find_in_store(context, choose_manifest(document, wish, digest).digest, wish)
    return None


def _read_document(context: Context, image: Image, digest: str) -> Manifest | Index | None:
    """What the image's record calls ``digest``; None if it is something else, as of a list that podman has changed."""
    store = context.store
    try:
        data = store.read_manifest(image) if digest == image.digest else store.read_index(image, digest)
    except NotFoundError:
        return None
    if digest_of(data) != digest:
        return None
    return parse_manifest(RawManifest(data, ""), f"{digest} of image {image.id[:12]}")


def _pull(context: Context, sources: Sources, reference: Reference, digest: str | None) -> Image:
    wanted = reference
    if digest is not None and reference.repository:
        wanted = replace(reference, tag=None, digest=digest)
    image = obtain_image(context, wanted, replace(sources.options, policy="always"))
    if digest is not None and digest not in image.digests:
        raise RefusedError(
            f"{reference}: has the digest {image.digest} now, wanted is {digest}",
            "syscontainer lock --renew pins it anew",
        )
    return _named(context, image, reference)


def _named(context: Context, image: Image, reference: Reference) -> Image:
    """The image, called what whoever asks for ``reference`` will look for."""
    if reference.kept_as not in (*image.names, image.id) and not reference.image_id:
        context.store.tag(image, reference.kept_as)
    return image
