"""Whether the wishes for this host changed since they were last fulfilled, told without starting Python.

The stamp is a listing: the hash of each declaration, lock file, settings file and layout's index, and of each archive
of seeds, which may be large, its size and its time. ``syscontainers-apply.service`` makes the same listing with
find(1) and sha256sum(1) before it starts us, and leaves us alone where it equals the stamp; ``stamp_command`` is what
stands in the unit, and a test compares both. No time is compared with the clock, which may move.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import files
from .places import ROOTS, SHIPPED_SEEDS

SEEDS = (SHIPPED_SEEDS, Path("/var/lib/syscontainers/seeds"))
_HASHED = (".toml", ".lock")
_INDEX = "index.json"
# Deep enough for containers.d/NAME.toml.d/x.toml and seeds/LAYOUT/index.json, and not down into blobs.
_DEPTH = 3


def stamp_command(declared: Sequence[Path] = ROOTS, seeds: Sequence[Path] = SEEDS) -> str:
    """The shell command that writes the listing to its output."""
    return (
        f"{{ find -L {' '.join(map(str, (*declared, *seeds)))} -maxdepth {_DEPTH} "
        r'\( -name "*.toml" -o -name "*.lock" -o -name index.json \) \( -type f -o -type c \) '
        "-exec sha256sum -- {} + ; "
        f'find -L {" ".join(map(str, seeds))} -maxdepth 1 -name "*.tar" -type f -printf "%s %T@ %p\\n" ; }} '
        "2>/dev/null | LC_ALL=C sort 2>/dev/null"
    )


def take_stamp(declared: Sequence[Path] = ROOTS, seeds: Sequence[Path] = SEEDS) -> bytes:
    """The listing as it is now."""
    lines = [line for root in (*declared, *seeds) for line in _hashes(root)]
    lines += [line for root in seeds for line in _versions(root)]
    return b"".join(line + b"\n" for line in sorted(lines))


def write_stamp(stamp: Path, listing: bytes) -> None:
    """Note that everything in the listing is fulfilled; durable on return. The caller is the only one to do so."""
    files.make_directories(stamp.parent)
    files.sweep_temporaries(stamp)
    files.replace_file(stamp, listing)


def drop_stamp(stamp: Path) -> None:
    """From now on nothing is known to be fulfilled; durable on return."""
    files.remove_file(stamp)


def _hashes(root: Path) -> Iterator[bytes]:
    for path in _walk(root, _DEPTH):
        if path.name.endswith(_HASHED) or path.name == _INDEX:
            yield hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"  " + os.fsencode(path)


def _versions(root: Path) -> Iterator[bytes]:
    for path in _walk(root, 1):
        if path.name.endswith(".tar"):
            status = path.stat()
            seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
            yield f"{status.st_size} {seconds}.{nanoseconds:09}0 ".encode() + os.fsencode(path)


def _walk(root: Path, depth: int) -> Iterator[Path]:
    """Files and links to files or /dev/null up to ``depth`` below ``root``, as ``find -L`` goes."""
    try:
        entries = list(os.scandir(root))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir() and depth > 1:
            yield from _walk(path, depth - 1)
        elif entry.is_file() or path.is_char_device():
            yield path
