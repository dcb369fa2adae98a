"""Where the wishes for this host lie: declarations, seeds, the lock file and the stamp.

Declarations follow systemd's order (systemd.unit(5), "Unit File Load Path"): ``/etc`` is the administrator's,
``/run`` is for this boot only, ``/usr/lib`` came with the operating system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..settings import Settings

ROOTS = (Path("/etc/syscontainers"), Path("/run/syscontainers"), Path("/usr/lib/syscontainers"))
SHIPPED_SEEDS = Path("/usr/share/syscontainers/seeds")
LOCK_NAME = "containers.lock"


@dataclass(frozen=True)
class Places:
    """The directories that decide what this host runs, each kind with the one that wins first."""

    declarations: tuple[Path, ...]
    seeds: tuple[Path, ...]
    """Where OCI layouts and archives lie."""
    locks: tuple[Path, ...]
    """Lock files; the first that exists counts, alone."""
    stamp: Path
    """The listing of everything above when ``apply`` last had nothing left to do."""


def find_places(settings: Settings) -> Places:
    """The places of this host."""
    return Places(
        declarations=tuple(root / "containers.d" for root in ROOTS),
        seeds=(settings.state / "seeds", SHIPPED_SEEDS),
        locks=tuple(root / LOCK_NAME for root in ROOTS),
        stamp=settings.state / "applied",
    )
