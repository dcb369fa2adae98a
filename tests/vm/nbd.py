"""A client for one qemu-nbd: just enough of the NBD protocol to write into a qcow2 image.

Fixed newstyle handshake with NBD_OPT_EXPORT_NAME, then simple requests one after the other
(NetworkBlockDevice/nbd, doc/proto.md).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_MAGIC = b"NBDMAGICIHAVEOPT"
_FIXED_NEWSTYLE, _NO_ZEROES = 1, 2
_OPTION_EXPORT_NAME = 1
_REQUEST, _REPLY = 0x25609513, 0x67446698
_WRITE, _DISCONNECT, _WRITE_ZEROES = 1, 2, 6
_SECONDS = 10.0


class NbdError(Exception):
    """The server said no, or spoke another language."""


class NbdImage:
    """An image that is open for writing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        magic, flags = struct.unpack("!16sH", self._receive(18))
        if magic != _MAGIC or not flags & _FIXED_NEWSTYLE:
            raise NbdError(f"not a fixed newstyle server: {magic!r}")
        connection.sendall(struct.pack("!I", _FIXED_NEWSTYLE | _NO_ZEROES))
        connection.sendall(struct.pack("!8sII", b"IHAVEOPT", _OPTION_EXPORT_NAME, 0))
        self._receive(10)

    def write(self, offset: int, data: bytes) -> None:
        self._connection.sendall(struct.pack("!IHHQQI", _REQUEST, 0, _WRITE, 0, offset, len(data)) + data)
        self._expect_success()

    def write_zeroes(self, offset: int, length: int) -> None:
        self._connection.sendall(struct.pack("!IHHQQI", _REQUEST, 0, _WRITE_ZEROES, 0, offset, length))
        self._expect_success()

    def disconnect(self) -> None:
        self._connection.sendall(struct.pack("!IHHQQI", _REQUEST, 0, _DISCONNECT, 0, 0, 0))

    def _expect_success(self) -> None:
        magic, error, _cookie = struct.unpack("!IIQ", self._receive(16))
        if magic != _REPLY or error:
            raise NbdError(f"write failed with error {error}")

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._connection.recv(length - len(data))
            if not more:
                raise NbdError("the server has gone")
            data += more
        return data


@contextlib.contextmanager
def open_image(image: Path) -> Iterator[NbdImage]:
    """Serve the qcow2 ``image`` for the length of a ``with``; on return everything is in the file."""
    address = image.with_suffix(".nbd")
    # Unsafe: syncing protects against a crash of this machine, and then nobody wants the image.
    server = subprocess.Popen(["qemu-nbd", "--format=qcow2", "--cache=unsafe", f"--socket={address}", str(image)])
    try:
        with _connect(address, server) as connection:
            opened = NbdImage(connection)
            yield opened
            opened.disconnect()
        if server.wait(_SECONDS) != 0:
            raise NbdError(f"qemu-nbd failed on {image}")
    finally:
        server.kill()
        server.wait()
        address.unlink(missing_ok=True)


def _connect(address: Path, server: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + _SECONDS
    connection = socket.socket(socket.AF_UNIX)
    while True:
        try:
            connection.connect(str(address))
        except (FileNotFoundError, ConnectionRefusedError):
            if server.poll() is not None or time.monotonic() > deadline:
                connection.close()
                raise NbdError("qemu-nbd does not answer") from None
            time.sleep(0.01)
        else:
            return connection
