"""tar-split: everything of a tar but its files' contents, from which the same tar can be made again.

One JSON object a line, gzipped (github.com/vbatts/tar-split, "Packing"; containers/storage keeps it as
``<layer>.tar-split.gz``): segments of raw bytes, and one line per member with the CRC-64 of its contents. podman needs
it to push, save and check a layer; ``assemble.py`` reads it.
"""

from __future__ import annotations

import json
import string
import zlib
from binascii import b2a_base64
from collections.abc import Callable
from typing import BinaryIO

from fastcrc import crc64

try:
    from isal import isal_zlib as gzip_library
except ImportError:  # pragma: no cover
    import zlib as gzip_library  # type: ignore[no-redef]

_LEVEL = 1
_PLAIN = b"/.-_+" + string.ascii_letters.encode() + string.digits.encode()
_FLUSH_AT = 128 << 10
_LARGEST_SEGMENT = 1 << 20
_HEADER = b'{"type":2,"payload":"%b","position":%d}\n'
_WITH_CONTENTS = _HEADER + b'{"type":1,%b,"size":%d,"payload":"%b","position":%d}\n'
_WITHOUT_CONTENTS = _HEADER + b'{"type":1,%b,"payload":null,"position":%d}\n'

checksum: Callable[..., int] = crc64.go_iso
"""CRC-64/GO-ISO of a buffer; the second argument continues an earlier one."""


def _name_field(name: bytes) -> bytes:
    if not name.translate(None, _PLAIN):
        return b'"name":"%b"' % name
    try:
        text = json.dumps(name.decode("utf-8"), ensure_ascii=False)
    except UnicodeDecodeError:
        return b'"name_raw":"%b"' % b2a_base64(name, newline=False)
    # Go's encoder escapes what could end a script element or a line of JavaScript.
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return b'"name":%b' % text.encode()


class TarSplitWriter:
    """Writes the file while the tar is read: segments and members in the order of the archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._gzip = gzip_library.compressobj(_LEVEL, zlib.DEFLATED, 31)
        self._lines: list[bytes] = []
        self._held = 0
        self._position = 0

    def add_segment(self, raw: bytes) -> None:
        """Bytes that are not contents; nothing for none."""
        for at in range(0, len(raw), _LARGEST_SEGMENT):
            payload = b2a_base64(raw[at : at + _LARGEST_SEGMENT], newline=False)
            self._add(_HEADER % (payload, self._position))
            self._position += 1

    def add_member(self, raw: bytes, name: bytes, size: int, crc: int) -> None:
        """The bytes before a member's contents, and the member with size and CRC-64 of its contents."""
        if len(raw) > _LARGEST_SEGMENT:
            self.add_segment(raw[:-_LARGEST_SEGMENT])
            raw = raw[-_LARGEST_SEGMENT:]
        header, position = b2a_base64(raw, newline=False), self._position
        if size:
            payload = b2a_base64(crc.to_bytes(8, "big"), newline=False)
            self._add(_WITH_CONTENTS % (header, position, _name_field(name), size, payload, position + 1))
        else:
            self._add(_WITHOUT_CONTENTS % (header, position, _name_field(name), position + 1))
        self._position = position + 2

    def _add(self, lines: bytes) -> None:
        self._lines.append(lines)
        self._held += len(lines)
        if self._held >= _FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._gzip.compress(b"".join(self._lines)))
        self._lines.clear()
        self._held = 0

    def finish(self) -> None:
        """Write what is held back; the file stays open."""
        self._flush()
        self._file.write(self._gzip.flush())
