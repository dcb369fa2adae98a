"""The lock file: which bytes each image's name means on this host.

``[images]`` maps references to digests, of a manifest or of an index. Where a lock file exists, boot follows it
and nothing else: a reference that is not in it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import SyscontainersError, UsageError
from ..images.digests import is_digest
from ..images.reference import Reference
from .fragments import Fragment, read_fragment

_HINT = "syscontainer lock writes a new one"
_HEADER = "# Made by `syscontainer lock`: the image that each name means.\n"


@dataclass(frozen=True)
class Lock:
    """What a lock file says."""

    path: Path
    digests: Mapping[str, str]
    """Canonical reference to digest."""

    def digest_of(self, reference: Reference) -> str:
        """The digest that is pinned. Raises UsageError for a reference without one."""
        digest = reference.digest or self.digests.get(str(reference))
        if digest is None:
            raise UsageError(f"{self.path}: does not pin {reference}", _HINT)
        return digest


def read_lock(places: Sequence[Path]) -> Lock | None:
    """The first lock file that there is. Raises UsageError with the line of what is wrong."""
    for path in places:
        if path.is_file():
            fragment = read_fragment(path)
            return Lock(path, {} if fragment is None else _read_digests(fragment))
    return None


def _read_digests(fragment: Fragment) -> dict[str, str]:
    images = fragment.table.get("images", {})
    for key in fragment.table:
        if key != "images" or not isinstance(images, dict):
            fragment.fail((key,), "does not belong into a lock file")
    digests = {}
    for name, digest in images.items():
        if not isinstance(digest, str) or not is_digest(digest):
            fragment.fail(("images", name), "must be sha256: and 64 hexadecimal digits")
        digests[str(Reference.parse(name))] = digest
    return digests


def write_lock(path: Path, digests: Mapping[str, str]) -> None:
    """Replace the lock file; durable on return. Raises SyscontainersError and OSError."""
    text = _HEADER + write_toml({"images": dict(sorted(digests.items()))})
    files.make_directories(path.parent)
    files.replace_file(path, text.encode())


def write_toml(table: Mapping[str, object]) -> str:
    """TOML text of ``table``, read back and compared.

    The writer of ``toml`` loses or distorts some strings (control characters, backslashes) without a word. Raises
    SyscontainersError where it did.
    """
    import tomllib

    import toml

    try:
        text = toml.dumps(table)
        same = tomllib.loads(text) == table
    except (tomllib.TOMLDecodeError, IndexError, ValueError):
        same = False
    if not same:
        raise SyscontainersError("this cannot be written as TOML", "values with control characters or backslashes")
    return str(text)
