"""Which layers of a store are mounted, by anybody, as the kernel tells it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .store import Store

_MOUNTINFO = Path("/proc/self/mountinfo")
_LOWER = re.compile(r"(?:^|,)lowerdir\+?=(?P<paths>[^,]*)")


def layers_in_mounts(store: Store, mountinfo: Path = _MOUNTINFO) -> frozenset[str]:
    """The layers that some overlay mount of this mount namespace is made of (proc_pid_mountinfo(5)). Raises OSError."""
    found: set[str] = set()
    for line in mountinfo.read_text(errors="surrogateescape").splitlines():
        kind, _, options = line.partition(" - ")[2].partition(" ")
        if kind == "overlay":
            found.update(layers_of_options(store, _unescape(options)))
    return frozenset(found)


def layers_of_options(store: Store, options: str) -> Iterator[str]:
    """The layers of ``store`` that overlay mount options name, by their short or their long path."""
    for match in _LOWER.finditer(options):
        for path in match["paths"].split(":"):
            layer = _layer_of(store, Path(path))
            if layer is not None:
                yield layer


def _layer_of(store: Store, path: Path) -> str | None:
    overlay = store.paths.overlay
    if path.parent == store.paths.links:
        try:
            return path.readlink().parent.name
        except OSError:  # the link is gone, and with it the layer
            return None
    return path.parent.name if path.name == "diff" and path.parent.parent == overlay else None


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
