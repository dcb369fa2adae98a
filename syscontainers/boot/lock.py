"""Pinning every declared image to a digest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..containers.context import Context
from ..containers.obtain import SourceOptions
from ..images.platforms import wished_platform
from .declaration import ALWAYS, make_declarations
from .fragments import read_declared, read_paths
from .lockfile import read_lock, write_lock
from .places import Places
from .resolve import ask_digest, known_here
from .seeds import read_seeds


@dataclass(frozen=True)
class LockRequest:
    """What was asked for."""

    paths: tuple[Path, ...] = ()
    to: Path | None = None
    renew: bool = False
    source: SourceOptions = field(default_factory=SourceOptions)


def lock(context: Context, places: Places, request: LockRequest) -> dict[str, str]:
    """Write the lock file: each declared reference with its digest. Raises what reading and resolving raise."""
    path = request.to or places.locks[0]
    old = None if request.renew else read_lock([path])
    wish = wished_platform(request.source.platform)
    seeds = read_seeds(context, places.seeds, wish)
    declared = read_paths(request.paths) if request.paths else read_declared(places.declarations)
    digests: dict[str, str] = {}
    for declaration in make_declarations(declared):
        name = str(declaration.image)
        pinned = old.digests.get(name) if old is not None else None
        local = declaration.update != ALWAYS
        digests[name] = (
            declaration.image.digest
            or pinned
            or (known_here(context, seeds, declaration.image, wish) if local else None)
            or ask_digest(context, declaration.image, request.source)
        )
    write_lock(path, digests)
    return digests
