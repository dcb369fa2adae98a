"""From what the user called an image to an image in the storage."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError, SyscontainersError
from ..images.config import ImageConfig
from ..images.credentials import Credentials
from ..images.documents import Platform
from ..images.platforms import suits, wished_platform
from ..images.reference import Reference
from ..storage.images import Image
from .context import Context

POLICIES = ("missing", "always", "never")


@dataclass(frozen=True)
class SourceOptions:
    """How to get at images, and when to ask the registry."""

    policy: str = "missing"
    """``missing`` asks only for what the storage lacks for the platform, ``always`` every time, ``never`` not at all.

    What lies on this host costs nothing to look at, so ``missing`` always does, and takes an image that was built anew.
    """
    plain_http: bool = False
    authfile: Path | None = None
    platform: str | None = None
    credentials: Credentials | None = None
    """Those to use in place of what is configured for the registry."""


def obtain_image(context: Context, reference: Reference, source: SourceOptions) -> Image:
    """The image, pulled if the policy says so. Raises NotFoundError and everything that pulling raises."""
    if source.policy == "never" or (source.policy == "missing" and not reference.is_local):
        present = find_present(context, reference, wished_platform(source.platform))
        if present is not None:
            return present
    if source.policy == "never":
        raise NotFoundError(f"{reference}: not in the storage for this platform", f"syscontainer pull {reference}")
    # HTTP and the decompressors take longer to load than all that came before, and are needed only from here on
    from ..images.pull import PullRequest, pull

    request = PullRequest(source.plain_http, source.authfile, source.platform, source.credentials)
    image = pull(reference, context.store, request, context.settings, context.progress)
    _tell_names(context, reference, image)
    return image


def find_present(context: Context, reference: Reference, wish: Platform) -> Image | None:
    """What the storage has under this name, if it is for the wished platform."""
    image = context.store.find_image(reference.kept_as)
    if image is None:
        return None
    config = ImageConfig.parse(context.store.read_config(image), f"{reference}: config")
    return image if suits(config.platform, wish) else None


def _tell_names(context: Context, reference: Reference, image: Image) -> None:
    """A file calls its image what it likes, and whoever asks for that name later gets it."""
    names = [name for name in image.names if not reference.asks_for(name)] if reference.is_local else []
    if names:
        context.progress.say(f"{reference}: is known here as {', '.join(names)}")


@contextlib.contextmanager
def image_on_approval(context: Context, reference: Reference, source: SourceOptions) -> Iterator[Image]:
    """The image, kept from being removed; if what it is wanted for fails, images and names are as they were before."""
    from .holds import kept_image  # knows generations, of which a mere pull needs nothing

    before = context.store.images()
    obtained: list[Image] = []
    try:
        with kept_image(context, lambda: obtain_image(context, reference, source)) as image:
            obtained.append(image)
            yield image
    except BaseException:
        for image in obtained:
            _give_back(context, image, before)
        raise


def _give_back(context: Context, image: Image, before: Sequence[Image]) -> None:
    """Undo the obtaining of ``image``; what goes wrong here must not hide why it is undone."""
    # What this needs is of no use to those who only name an image
    from .garbage import prune_layers, remove_unused

    holders = {name: each for each in before for name in each.names}
    try:
        now = context.store.find_image(image.id)
        gained = [name for name in (now.names if now else ()) if name not in holders or holders[name].id != image.id]
        if image.id in {each.id for each in before}:
            _move_names(context, image, gained, holders)
        elif remove_unused(context, image):
            _move_names(context, None, gained, holders)
            prune_layers(context)
    except (SyscontainersError, OSError) as error:
        context.progress.warn(f"the image pulled for it stays, syscontainer prune --all removes it: {error}")


def _move_names(context: Context, image: Image | None, names: Sequence[str], holders: Mapping[str, Image]) -> None:
    """Give names to those images that had them, and take them from ``image``."""
    for name in names:
        if name in holders:
            context.store.tag(holders[name], name)
        elif image is not None:
            context.store.untag(image, name)
