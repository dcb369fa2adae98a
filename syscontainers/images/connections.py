"""Connections to web servers, each kept for the next request to the same place.

``http.client`` speaks on them. What it leaves to its caller is here: a time by which all of a reply's headers must have
come, an error when a body ends too early, an end from outside, and who may use a connection next. Whether, where and
with which secrets to ask is the wire's affair.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""The longest silence within a reply."""
HEADER_SECONDS = 120.0
"""The longest that a reply's headers may take, however steadily they drip in."""

FAILURES = (OSError, http.client.HTTPException, ValueError)
"""What a conversation that fails raises; the last for hosts that cannot be one's name, and numbers that are none."""
_IN_TARGETS = "!#$%&'()*+,/:;=?@[]~"
"""What stands in a request's target as it is, beside letters and digits (RFC 3986); a ``%`` is of an encoded one."""
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port: whoever answers there (RFC 6454)."""


def origin_of(url: str) -> Origin:
    """Where ``url`` leads to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", _PORTS.get(parts.scheme, 0) if parts.port is None else parts.port


def url_of(origin: Origin) -> str:
    """Its address, as it stands before the path of a URL."""
    scheme, host, port = origin
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == _PORTS.get(scheme) else f"{scheme}://{name}:{port}"


@dataclass(frozen=True)
class Line:
    """A connection to an origin, by a proxy perhaps."""

    origin: Origin
    connection: http.client.HTTPConnection
    prefix: str = ""
    """What a proxy wants before the target of each request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What it wants to be told each time."""

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: str | None) -> http.client.HTTPResponse:
        """Send a request and wait for the headers of the reply. Raises one of ``FAILURES``."""
        self.connection.request(method, self.prefix + _target(url), body, {**self.headers, **headers})
        with _within(self.connection.sock, HEADER_SECONDS):
            return self.connection.getresponse()

    def is_dropped(self) -> bool:
        """Whether the other side has closed it, or says something that nobody asked for."""
        connection = self.connection.sock
        # What TLS has decrypted already is no news to the kernel; urllib3's TLS within TLS has it one level down.
        pending = getattr(getattr(connection, "sslobj", connection), "pending", None)
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0) or (pending and pending()))

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    text = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with contextlib.suppress(UnicodeEncodeError):
        return quote(text.encode("latin-1"), _IN_TARGETS)  # as http.client decodes headers, where it comes from
    return quote(text, _IN_TARGETS)


@contextlib.contextmanager
def _within(connection: socket.socket, seconds: float) -> Iterator[None]:
    """What is read in this block must be over in time, however steadily it drips. Raises TimeoutError if it is not."""
    late = threading.Event()
    timer = threading.Timer(seconds, _end, [connection, late])
    timer.daemon = True
    timer.start()
    try:
        yield
    except FAILURES:
        if not late.is_set():
            raise
    finally:
        timer.cancel()
        timer.join()  # a process that is forked next must not have it half there
    if late.is_set():  # http.client takes the end of the connection for that of the headers
        raise TimeoutError("not over in time")


def _end(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    _shut_down(connection)


def _shut_down(connection: socket.socket) -> None:
    """Make whoever reads from ``connection`` return, from any thread; the object stays usable for its owner."""
    # By a descriptor of its own: TLS sockets would forget their state, of which the reader knows nothing. That there
    # is none any more means that the reply has come to its end meanwhile.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def open_line(origin: Origin, context: ssl.SSLContext | None) -> Line:
    """Connect, with TLS if there is a ``context``. Raises one of ``FAILURES``."""
    _, host, port = origin
    host = host.rstrip(".")  # no certificate has the dot
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=context)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    connection.sock.settimeout(SILENCE_SECONDS)
    return Line(origin, connection)


class Response:
    """A reply whose headers are here; the body is read from its line, and never decoded."""

    def __init__(
        self, url: str, reply: http.client.HTTPResponse, connection: socket.socket, done: Callable[[bool], None]
    ) -> None:
        self.url = url
        self.status = reply.status
        self._reply = reply
        self._connection = connection
        self._done = done
        self._is_broken = reply.status < http.HTTPStatus.OK  # the reply proper is still to come
        self._is_closed = False

    def header(self, name: str) -> str:
        """What it says there, if anything; several lines count as one list (RFC 9110, section 5.3)."""
        return ", ".join(self._reply.headers.get_all(name, []))

    def read(self, most: int) -> bytes:
        """At most so many bytes of the body, and none at its end.

        Raises one of ``FAILURES``, where the body ends too early once all that came has been read.
        """
        # A chunk of negative size would be read to the end of the connection; read1 takes what has come.
        read = self._reply.read1 if self._reply.chunked else self._reply.read
        try:
            data = read(most)
            if most and not data and self._reply.length:
                raise ConnectionAbortedError(f"the connection was closed {self._reply.length} bytes too early")
            if len(data) > most:
                raise http.client.HTTPException("a chunk of negative size")
        except BaseException:
            self._is_broken = True
            raise
        return data

    def within(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        """What is read in this block must be over in ``seconds``. Raises TimeoutError if it is not."""
        return _within(self._connection, seconds)

    def stop(self) -> None:
        """Make a read that waits return, from any thread."""
        _shut_down(self._connection)

    def close(self) -> None:
        """Done with it; may be called again."""
        if self._is_closed:
            return  # the line may be somebody else's by now
        self._is_closed = True
        reply = self._reply
        is_over = reply.isclosed() or reply.length == 0
        reply.close()
        self._done(is_over and not self._is_broken and not reply.will_close)


class Connections:
    """All lines of one client. Thread-safe; ``dial`` opens a new one, and raises one of ``FAILURES``."""

    def __init__(self, dial: Callable[[Origin], Line]) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Line]] = {}

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str | None = None) -> Response:
        """One request, of which the caller closes the response. Raises one of ``FAILURES``."""
        origin = origin_of(url)
        kept = self._take(origin)
        if kept is not None:
            try:
                return self._ask(kept, method, url, headers, body)
            except (ConnectionResetError, BrokenPipeError):
                # The other side had just closed it. A question may be put again (RFC 9110, section 9.2.2).
                if method != "GET":
                    raise
        return self._ask(self._dial(origin), method, url, headers, body)

    def _ask(self, line: Line, method: str, url: str, headers: Mapping[str, str], body: str | None) -> Response:
        try:
            connection = line.connection.sock  # http.client forgets it where it is not to be kept
            reply = line.ask(method, url, headers, body)
        except BaseException:
            line.close()
            raise
        return Response(url, reply, connection, lambda is_free: self._put_back(line) if is_free else line.close())

    def close(self) -> None:
        """Hang up wherever nobody reads."""
        with self._lock:
            lines = [line for lines in self._idle.values() for line in lines]
            self._idle.clear()
        for line in lines:
            line.close()

    def _take(self, origin: Origin) -> Line | None:
        while line := self._pop(origin):
            if not line.is_dropped():
                return line
            line.close()
        return None

    def _pop(self, origin: Origin) -> Line | None:
        with self._lock:
            lines = self._idle.get(origin)
            return lines.pop() if lines else None

    def _put_back(self, line: Line) -> None:
        with self._lock:
            self._idle.setdefault(line.origin, []).append(line)
