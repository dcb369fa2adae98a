"""Seeds: images that lie on this host as OCI layouts or archives, so that nothing has to be fetched.

A directory of seeds may itself be a layout, and may hold layouts and ``.tar`` archives of layouts. An entry is known
by its digest, and by its name where its annotation is a whole reference (``org.opencontainers.image.ref.name`` or
``io.containerd.image.name``). What the storage has under the same digest is never read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..containers.context import Context
from ..errors import SyscontainersError
from ..images.documents import Platform
from ..images.layout import LayoutSource
from ..images.pull import PullRequest, pull, resolve
from ..images.reference import Reference
from ..images.transfers import Transfers
from ..images.transports import open_source
from ..storage.images import Image


@dataclass(frozen=True)
class Seed:
    """One image in a layout or archive."""

    place: Reference
    """Where it lies: the layout or archive, and its number there."""
    stored_name: str
    """What importing it calls it."""
    digests: tuple[str, ...]
    """What it is known by: the digests of the indexes that lead to its manifest for the platform, then of that."""

    @property
    def manifest(self) -> str:
        """The digest of the manifest for the platform."""
        return self.digests[-1]

    @property
    def is_named(self) -> bool:
        """Whether its annotation is a whole reference; else it has only been given some name."""
        return not self.stored_name.startswith("localhost/")


def read_seeds(context: Context, directories: Sequence[Path], wish: Platform) -> list[Seed]:
    """Every seed of this host for a platform; what cannot be read is told about, and what lies beside it still is."""
    found: list[Seed] = []
    for place in _find_places(directories):
        with _leaving_out(context):
            for entry in _find_entries(context, place):
                with _leaving_out(context):
                    found.append(_read_seed(context, entry, wish))
    return found


@contextlib.contextmanager
def _leaving_out(context: Context) -> Iterator[None]:
    try:
        yield
    except SyscontainersError as error:
        context.progress.warn(f"seed left out: {error.message}")


def find_seed(seeds: Sequence[Seed], reference: Reference, digest: str | None) -> Seed | None:
    """The seed for ``reference``: with this very digest, or else with its name."""
    for seed in seeds:
        if digest in seed.digests if digest is not None else seed.stored_name == str(reference):
            return seed
    return None


def import_seed(context: Context, seed: Seed, reference: Reference, platform: str | None) -> Image:
    """Unpack a seed into the storage and call it ``reference`` there. Raises what ``pull`` raises.

    ``platform`` is the one that seeds were read for, in the words of ``PullRequest``.
    """
    context.progress.say(f"{reference}: from {seed.place.path}")
    image = pull(seed.place, context.store, PullRequest(platform=platform), context.settings, context.progress)
    if reference.image_id:
        return image
    context.store.tag(image, reference.kept_as)
    if not seed.is_named:
        context.store.untag(image, seed.stored_name)
    return image


def _find_places(directories: Sequence[Path]) -> Iterator[Reference]:
    for directory in directories:
        if not directory.is_dir():
            continue
        for path in (directory, *sorted(directory.iterdir())):
            if (path / "oci-layout").is_file():
                yield Reference("oci", path=path)
            elif path.suffix == ".tar" and path.is_file():
                yield Reference("oci-archive", path=path)


def _find_entries(context: Context, place: Reference) -> list[Reference]:
    with open_source(replace(place, tag="@0"), context.settings, Transfers()) as first:
        count = len(first.entries) if isinstance(first, LayoutSource) else 0
    return [replace(place, tag=f"@{number}") for number in range(count)]


def _read_seed(context: Context, place: Reference, wish: Platform) -> Seed:
    with open_source(place, context.settings, Transfers()) as source:
        resolved = resolve(source, wish, str(place))
        return Seed(place, source.stored_name(), (*resolved.indexes, resolved.manifest.raw.digest))
