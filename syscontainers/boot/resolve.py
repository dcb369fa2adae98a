"""From the name of an image to its digest and to the image itself, by what lies on this host first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..containers.context import Context
from ..containers.obtain import SourceOptions, obtain_image
from ..errors import NotFoundError
from ..images.reference import Reference
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


def find_digest(context: Context, sources: Sources, declaration: Declaration) -> str | None:
    """What the image's name means here and now; None where only the registry knows.

    Raises UsageError where a lock file does not say.
    """
    pinned = _pinned(sources, declaration.image)
    if pinned is not None:
        return pinned
    if declaration.update == ALWAYS and sources.online:
        return None
    seed = find_seed(sources.seeds, declaration.image, None)
    if seed is not None:
        return seed.manifest
    image = context.store.find_image(str(declaration.image))
    return None if image is None else image.digest


def fetch_image(context: Context, sources: Sources, declaration: Declaration) -> Image:
    """The image in the storage, under the declared name. Raises NotHereError, and what pulling raises."""
    reference, digest = declaration.image, find_digest(context, sources, declaration)
    if digest is not None:
        present = _find_in_store(context, digest)
        if present is not None:
            if str(reference) not in present.names:
                context.store.tag(present, str(reference))
            return present
        seed = find_seed(sources.seeds, reference, digest) or _seed_of_manifest(sources, digest)
        if seed is not None:
            return import_seed(context, seed, reference)
    if not sources.online:
        raise NotHereError(f"{reference}: neither in the storage nor among the seeds of this host")
    return _pull(context, sources, reference, digest)


def _pinned(sources: Sources, reference: Reference) -> str | None:
    return reference.digest if sources.lock is None else sources.lock.digest_of(reference)


def _find_in_store(context: Context, digest: str) -> Image | None:
    return next((image for image in context.store.images() if digest in image.digests), None)


def _seed_of_manifest(sources: Sources, digest: str) -> Seed | None:
    return next((seed for seed in sources.seeds if seed.manifest == digest), None)


def _pull(context: Context, sources: Sources, reference: Reference, digest: str | None) -> Image:
    wanted = reference if digest is None or reference.is_path else replace(reference, tag=None, digest=digest)
    image = obtain_image(context, wanted, replace(sources.options, policy="always"))
    if str(reference) not in image.names:
        context.store.tag(image, str(reference))
    return image
