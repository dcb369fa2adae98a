"""From what the user called an image to an image in the storage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import NotFoundError
from ..images.credentials import Credentials
from ..images.reference import Reference
from ..storage.images import Image
from .context import Context

POLICIES = ("missing", "always", "never")


@dataclass(frozen=True)
class SourceOptions:
    """How to get at images, and when to ask the registry."""

    policy: str = "missing"
    """``missing`` asks only when the storage has no such image, ``always`` every time, ``never`` not at all.

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
        present = context.store.find_image(reference.kept_as)
        if present is not None:
            return present
    if source.policy == "never":
        raise NotFoundError(f"{reference}: not in the storage", f"syscontainer pull {reference}")
    # requests and the decompressors are 0.2 s of imports, needed only from here on
    from ..images.pull import PullRequest, pull

    request = PullRequest(source.plain_http, source.authfile, source.platform, source.credentials)
    return pull(reference, context.store, request, context.settings, context.progress)
