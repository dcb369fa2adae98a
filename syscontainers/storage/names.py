"""Names of archive members: bytes, relative, without tricks."""

from __future__ import annotations

from ..errors import HostileArchiveError

_LONGEST_PATH = 4096
_SHOWN = 200

_SUSPECT = (b"/", b".")

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
AUFS = (b".wh..wh.plnk", b".wh..wh.aufs", b".wh..wh.orph")
"""What the AUFS driver left in old layers; means nothing elsewhere."""


def normalise(name: bytes) -> bytes:
    """Without leading and doubled slashes and ``.`` components; empty for the root.

    Raises HostileArchiveError for ``..``, for NUL and for what no file system can hold.
    """
    if name.startswith(b"./"):
        name = name[2:]
    if len(name) > _LONGEST_PATH:
        raise HostileArchiveError(f"the name is longer than {_LONGEST_PATH} bytes")
    # Nearly every name passes here; all tricks need one of these.
    if b"./" in name or b"//" in name or name.endswith(_SUSPECT) or name.startswith(b"/") or b"\0" in name:
        return _normalise_slowly(name)
    return name


def _normalise_slowly(name: bytes) -> bytes:
    if b"\0" in name:
        raise HostileArchiveError("the name contains a NUL")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise HostileArchiveError("the name contains '..'")
    return b"/".join(parts)


def show(name: bytes) -> str:
    """The name for a human: one line, no control characters, not endless."""
    text = name.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
