"""A layer's tar, byte for byte as it was pulled, from its files and its tar-split.

tar-split keeps everything of an archive but the contents of its files: gzip over lines of JSON, of which type 2 are
raw bytes (headers, padding) and type 1 stand for a file's contents, with its size and the CRC-64 of it.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastcrc import crc64
from isal import igzip, isal_zlib

from .. import kernel
from ..errors import RefusedError
from ..typed import Document

_CHUNK = 1 << 20
_LONGEST_LINE = 64 << 20
_FILE, _SEGMENT = 1, 2
_RESOLVE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

Complain = Callable[[bytes, str], None]
"""Is told of each file whose content is not what it was: its name in the archive, and what is wrong."""


class TarSplitError(RefusedError):
    """A tar-split file is missing or is not one."""


@dataclass(frozen=True)
class Segment:
    """Raw bytes of the archive."""

    data: bytes


@dataclass(frozen=True)
class FileContent:
    """The place of a file's contents."""

    name: bytes
    size: int
    crc: bytes
    """CRC-64/GO-ISO, big endian; empty for an empty file."""


def read_tar_split(path: Path) -> Iterator[Segment | FileContent]:
    """The entries of a tar-split file in order. Raises TarSplitError and DocumentError."""
    try:
        with igzip.open(path, "rb") as lines:  # type: ignore[no-untyped-call]
            number = 0
            while line := lines.readline(_LONGEST_LINE):
                yield _parse_entry(line, number, f"{path.name}: line {number + 1}")
                number += 1
    except (OSError, EOFError, ValueError, isal_zlib.IsalError) as error:  # type: ignore[misc]  # typed as a value
        raise TarSplitError(f"{path}: cannot be read: {error}", "remove the image and pull it again") from None


def _parse_entry(line: bytes, number: int, where: str) -> Segment | FileContent:
    document = Document.parse(line, where)
    if document.get_int("position", 0) != number:
        document.fail("position", f"must be {number}")
    payload = base64.b64decode(document.get_str("payload", ""), validate=True)
    if document.get_int("type") == _SEGMENT:
        return Segment(payload)
    if document.get_int("type") != _FILE:
        document.fail("type", "is unknown")
    return FileContent(_name(document), document.get_int("size", 0, minimum=0), payload)


def _name(document: Document) -> bytes:
    if "name_raw" in document:  # of names that are not UTF-8
        return base64.b64decode(document.get_str("name_raw"), validate=True)
    return document.get_str("name", "").encode()


def assemble_tar(tar_split: Path, diff: Path, complain: Complain) -> Iterator[bytes]:
    """The bytes of a layer's tar in pieces; the contents come from the files below ``diff``.

    A file that is missing, of another size or of another CRC is reported to ``complain``; the stream goes on with
    what there is, zeros where nothing is. Raises TarSplitError, DocumentError and OSError.
    """
    root = os.open(diff, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for entry in read_tar_split(tar_split):
            if isinstance(entry, Segment):
                yield entry.data
            elif entry.size:
                yield from _content(root, entry, complain)
    finally:
        os.close(root)


def _content(root: int, entry: FileContent, complain: Complain) -> Iterator[bytes]:
    left, crc = entry.size, 0
    with contextlib.ExitStack() as stack:
        try:
            file = _open_file(root, entry.name)
            stack.callback(os.close, file)
            while left and (data := os.read(file, min(left, _CHUNK))):
                left -= len(data)
                crc = crc64.go_iso(data, crc)
                yield data
            size = os.fstat(file).st_size
        except OSError as error:
            complain(entry.name, f"cannot be read: {error.strerror}")
        else:
            if size != entry.size:
                complain(entry.name, f"has {size} bytes, not {entry.size}")
            elif crc.to_bytes(8, "big") != entry.crc:
                complain(entry.name, "has other contents")
    yield from _zeros(left)


def _open_file(root: int, name: bytes) -> int:
    # Inside the layer whatever a name says: the tar-split of another writer may hold absolute ones.
    return kernel.openat2(root, name.lstrip(b"/"), _OPEN, resolve=_RESOLVE)


def _zeros(count: int) -> Iterator[bytes]:
    while count:
        piece = bytes(min(count, _CHUNK))
        count -= len(piece)
        yield piece
