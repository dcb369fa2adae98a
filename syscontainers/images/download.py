"""One blob over a line that may break: the bytes in order, each once, whatever happens to connections.

Whoever consumes the bytes keeps hash and decompressor; after a break the missing rest is asked for by ``Range``
(OCI distribution-spec, "Pulling blobs"), so nothing is stored twice and nothing begins again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping

from ..errors import DigestError, SyscontainersError
from .connections import FAILURES, Response
from .documents import Descriptor
from .sources import CHUNK
from .transfers import Read, Transfers
from .wire import Patience

CHUNK_SECONDS = 240.0
"""How long one chunk may take, however steadily it drips: about 2 kB/s, below which a pull is not worth waiting for."""
_PROGRESS = 1 << 20
_NUMBER = r"[0-9]{1,18}"
_CONTENT_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)")

Get = Callable[[Mapping[str, str]], Response]
"""Ask for the blob with these extra headers; a reply of 200, 206 or 416. Raises SyscontainersError."""


class _BrokenError(Exception):
    """The body ended early; the rest may be asked for."""


class Download:
    """One blob in flight."""

    def __init__(self, get: Get, blob: Descriptor, transfers: Transfers, patience: Patience, what: str) -> None:
        self._get = get
        self._blob = blob
        self._transfers = transfers
        self._patience = patience
        self._what = what
        self._position = 0
        self._safe_point = 0

    def chunks(self) -> Generator[bytes, None, None]:
        """The bytes. Raises DigestError for a wrong size, SyscontainersError when the line stays broken."""
        failures = 0
        while True:
            try:
                yield from self._read_response()
                return
            except _BrokenError as error:
                self._transfers.check()
                # c/image's rule: a line that brought a megabyte since the last break is worth another try.
                failures = 1 if self._position - self._safe_point >= _PROGRESS else failures + 1
                self._safe_point = self._position
                if failures >= self._patience.tries:
                    place = f"after {self._position} of {self._blob.size} bytes"
                    raise SyscontainersError(f"{self._what}: broke off {place}: {error}", "try again later") from None
                self._transfers.wait(self._patience.delay(failures, None), f"{self._what}: {error}")

    def _read_response(self) -> Generator[bytes, None, None]:
        response = self._ask()
        try:
            with self._transfers.reading(response.stop) as read:
                self._discard(read, response, self._first_byte(response))
                while self._position < self._blob.size:
                    chunk = self._read(read, response, self._blob.size - self._position)
                    self._position += len(chunk)
                    yield chunk
                self._expect_end(read, response)
        finally:
            response.close()

    def _ask(self) -> Response:
        if self._position == 0:
            return self._get({})
        response = self._get({"Range": f"bytes={self._position}-"})
        if response.status != 416:
            return response
        # It does not like the range; the whole then, of which the beginning is thrown away.
        response.close()
        return self._get({})

    def _first_byte(self, response: Response) -> int:
        """Where in the blob the body begins; what must be wrong already is refused here."""
        match = _CONTENT_RANGE.fullmatch(response.header("Content-Range"))
        if response.status != 206:
            self._check_length(response, self._blob.size)
            return 0
        if match is None or int(match[1]) > self._position or int(match[2]) >= self._blob.size:
            raise DigestError(f"{self._what}: the registry sent other bytes than asked for")
        self._check_length(response, int(match[2]) + 1 - int(match[1]))
        return int(match[1])

    def _check_length(self, response: Response, expected: int) -> None:
        length = response.header("Content-Length")
        if length and length.strip().lstrip("0") != (str(expected) if expected else ""):
            raise DigestError(f"{self._what}: is {length[:20]} bytes long, promised were {expected}")

    def _discard(self, read: Read, response: Response, first: int) -> None:
        while first < self._position:
            first += len(self._read(read, response, self._position - first))

    def _read(self, read: Read, response: Response, left: int) -> bytes:
        try:
            with read.within(CHUNK_SECONDS):
                chunk = response.read(min(CHUNK, left))
        except FAILURES as error:
            raise _BrokenError("slower than 2 kB/s" if read.stalled else str(error)) from None
        if not chunk:
            raise _BrokenError("the registry closed the connection")
        return chunk

    def _expect_end(self, read: Read, response: Response) -> None:
        if response.header("Content-Length"):
            return  # compared before
        try:
            with read.within(CHUNK_SECONDS):
                surplus = response.read(1)
        except FAILURES:
            return  # all that was promised is here; how the connection ends does not matter
        if surplus:
            raise DigestError(f"{self._what}: is longer than the {self._blob.size} bytes promised")
