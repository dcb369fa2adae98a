"""A corpus of hostile layers: one archive per trick, with the class of attack or the CVE it stands for.

Archives are made by code and told where the canary is, a directory beside the layer that nothing may touch. Each is
either rejected, for the reason given, or contained: unpacked, with everything it does staying inside.
"""

from __future__ import annotations

from collections.abc import Iterator

from . import links, marks, names, records, streams
from .case import Case, Place

__all__ = ["Case", "Place", "cases"]


def cases() -> Iterator[Case]:
    """The whole corpus."""
    for group in (names, links, marks, records, streams):
        yield from group.cases()
