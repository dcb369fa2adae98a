"""What a case of the corpus is, and how archives are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from syscontainers.storage.limits import Limits
from tests.archive import END


@dataclass(frozen=True)
class Place:
    """Where things are when the layer is unpacked; ``up`` leads from the layer's root to the canary.

    The canary directory holds a file ``secret`` and a directory ``tools``.
    """

    canary: bytes
    up: bytes


@dataclass(frozen=True)
class Case:
    """One archive."""

    name: str
    attack: str
    blob: Callable[[Place], bytes]
    rejected: str | None
    """Part of the reason; None for contained."""
    tar: Callable[[], bytes] | None = None
    """The plain tar of a compressed blob that is to be contained."""
    limits: Limits = field(default_factory=Limits)
    present: tuple[bytes, ...] = ()
    absent: tuple[bytes, ...] = ()


def tar_of(*members: bytes) -> Callable[[Place], bytes]:
    data = b"".join(members) + END
    return lambda _place: data


def placed(build: Callable[[Place], bytes]) -> Callable[[Place], bytes]:
    return lambda place: build(place) + END


def bytes_of(data: bytes) -> Callable[[Place], bytes]:
    return lambda _place: data
