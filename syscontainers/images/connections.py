"""Connections to web servers, each kept for the next request to the same place.

``http.client`` speaks on them. What it leaves to its caller is here: a time by which all of a reply's headers must have
come, an error when a body ends too early, an end from outside, and who may use a connection next. Whether, where and
with which secrets to ask is the wire's affair.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""The longest silence within a reply."""
HEADER_SECONDS = 120.0
"""The longest that a reply's headers may take, however steadily they drip in."""

FAILURES = (OSError, http.client.HTTPException, UnicodeError)
"""What a conversation that fails raises; the last for a host that cannot be one's name."""
_IN_TARGETS = "!#$%&'()*+,/:;=?@[]~"
"""What stands in a request's target as it is, beside letters and digits (RFC 3986); a ``%`` is of an encoded one."""
_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]
"""Scheme, host and port: whoever answers there (RFC 6454)."""


def origin_of(url: str) -> Origin:
    """Where ``url`` leads to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


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
        late = threading.Event()
        timer = threading.Timer(HEADER_SECONDS, _end, [self.connection.sock, late])
        timer.daemon = True
        timer.start()
        try:
            reply = self.connection.getresponse()
        finally:
            timer.cancel()
        if late.is_set():  # http.client takes the end of the connection for that of the headers
            raise TimeoutError("the headers do not end")
        return reply

    def is_dropped(self) -> bool:
        """Whether the other side has closed it, or says something that nobody asked for."""
        poll = select.poll()
        poll.register(self.connection.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Hang up."""
        self.connection.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return quote((parts.path or "/") + query, _IN_TARGETS)


def _end(connection: socket.socket, late: threading.Event) -> None:
    late.set()
    shut_down(connection)


def shut_down(connection: socket.socket) -> None:
    """Make whoever reads from ``connection`` return, from any thread; the object stays usable for its owner."""
    # By a descriptor of its own: TLS sockets would forget their state, of which the reader knows nothing. That there
    # is none any more means that the reply has come to its end meanwhile.
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)


def open_line(origin: Origin, context: ssl.SSLContext | None) -> Line:
    """Connect, with TLS if there is a ``context``. Raises one of ``FAILURES``."""
    _, host, port = origin
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
        self._is_closed = False

    def header(self, name: str, default: str = "") -> str:
        """What it says there; several lines count as one list (RFC 9110, section 5.3)."""
        return ", ".join(self._reply.headers.get_all(name, [default]))

    def read(self, most: int) -> bytes:
        """So many bytes of the body, fewer only before its end. Raises one of ``FAILURES``, at an early end too."""
        return self._checked(self._reply.read(most), most)

    def read_some(self, most: int) -> bytes:
        """As ``read``, but what has come so far will do."""
        return self._checked(self._reply.read1(most), most)

    def _checked(self, data: bytes, most: int) -> bytes:
        if most and not data and self._reply.length:
            raise ConnectionAbortedError(f"the connection was closed {self._reply.length} bytes too early")
        return data

    def stop(self) -> None:
        """Make a read that waits return, from any thread."""
        shut_down(self._connection)

    def close(self) -> None:
        """Done with it; may be called again."""
        if self._is_closed:
            return  # the line may be somebody else's by now
        self._is_closed = True
        reply = self._reply
        is_whole = (reply.isclosed() or reply.length == 0) and not reply.will_close
        reply.close()
        self._done(is_whole)


class Connections:
    """All lines of one client. Thread-safe; ``dial`` opens a new one, and raises one of ``FAILURES``."""

    def __init__(self, dial: Callable[[Origin], Line]) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Line]] = {}

    def send(self, method: str, url: str, headers: Mapping[str, str], body: str | None = None) -> Response:
        """One request, of which the caller closes the response. Raises one of ``FAILURES``."""
        line = self._line_to(origin_of(url))
        try:
            connection = line.connection.sock  # http.client forgets it where it is not to be kept
            reply = line.ask(method, url, headers, body)
        except BaseException:
            line.close()
            raise
        return Response(url, reply, connection, lambda is_whole: self._put_back(line) if is_whole else line.close())

    def close(self) -> None:
        """Hang up wherever nobody reads."""
        with self._lock:
            lines = [line for lines in self._idle.values() for line in lines]
            self._idle.clear()
        for line in lines:
            line.close()

    def _line_to(self, origin: Origin) -> Line:
        while line := self._take(origin):
            if not line.is_dropped():
                return line
            line.close()
        return self._dial(origin)

    def _take(self, origin: Origin) -> Line | None:
        with self._lock:
            lines = self._idle.get(origin)
            return lines.pop() if lines else None

    def _put_back(self, line: Line) -> None:
        with self._lock:
            self._idle.setdefault(line.origin, []).append(line)
