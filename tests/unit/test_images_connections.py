"""Lines that are kept: which of them may be used again, and what comes on them."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from syscontainers.images import connections as module
from syscontainers.images.connections import FAILURES, Connections, Line, Origin, open_line, origin_of

FRESH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nFRESH"
STALE = FRESH.replace(b"FRESH", b"STALE")


class Scripted:
    """A server that gives each connection its own replies, one for each request, and then closes it.

    ``requests`` are those of all connections, as they came.
    """

    def __init__(self, *scripts: Sequence[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self._listener.getsockname()[1]}{path}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end of the test closes the listener
            for script in self._scripts:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection, script), daemon=True).start()

    def _serve(self, connection: socket.socket, script: Sequence[bytes]) -> None:
        # A client that hangs up is what some tests are about.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._tls:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            for reply in script:
                self.requests.append(_read_request(connection))
                connection.sendall(reply)
                if b"Connection: close" in reply:
                    return
            _read_request(connection)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(1 << 16)
        if not part:
            raise ConnectionError("the client hung up")
        data += part
    return data


def directly(origin: Origin) -> Line:
    return open_line(origin, None)


def ask(connections: Connections, url: str, method: str = "GET") -> bytes:
    with contextlib.closing(connections.send(method, url, {}, None)) as response:
        return response.read(100)


@pytest.fixture
def connections() -> Iterator[Connections]:
    with contextlib.closing(Connections(directly)) as ours:
        yield ours


def test_a_line_is_kept(connections: Connections) -> None:
    with Scripted([FRESH, FRESH, FRESH]) as server:
        assert [ask(connections, server.url()) for _ in range(3)] == [b"FRESH"] * 3
        assert server.connections == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nFRESH",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nFRESH",
    ],
)
def test_a_line_on_which_something_went_wrong_is_not(
    broken: bytes, connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else comes on it would be taken for the reply to the next question."""
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.2)
    with Scripted([broken, STALE], [FRESH]) as server:
        with contextlib.suppress(*FAILURES):
            ask(connections, server.url())
        assert ask(connections, server.url()) == b"FRESH"
        assert server.connections == 2


def test_what_nobody_asked_for_is_not_taken_for_a_reply(connections: Connections) -> None:
    with Scripted([FRESH + STALE], [FRESH]) as server:
        assert ask(connections, server.url()) == b"FRESH"
        assert ask(connections, server.url()) == b"FRESH"


def test_a_line_that_dies_at_the_question_costs_no_time(connections: Connections) -> None:
    """Servers close idle connections; that may happen just as we ask."""
    with Scripted([FRESH], [FRESH]) as server:
        assert ask(connections, server.url()) == b"FRESH"
        assert ask(connections, server.url()) == b"FRESH"
        assert server.connections == 2


def test_but_a_secret_is_not_sent_twice(connections: Connections) -> None:
    with Scripted([FRESH], [FRESH]) as server:
        ask(connections, server.url())
        with pytest.raises(FAILURES):
            ask(connections, server.url(), "POST")
        assert server.connections == 1


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("/caf\xc3\xa9", "/caf%C3%A9"),  # UTF-8, as http.client reads headers
        ("/\u20ac", "/%E2%82%AC"),
        ("/a b\n/%2f?x=a&y=%20#z", "/a%20b/%2f?x=a&y=%20"),
        ("", "/"),
        ("?x", "/?x"),
    ],
)
def test_addresses_as_they_are_asked_for(said: str, asked: str, connections: Connections) -> None:
    with Scripted([FRESH]) as server:
        ask(connections, server.url(said))
        assert server.requests[0].startswith(b"GET %s HTTP/1.1\r\n" % asked.encode())


def test_the_port_nought_is_no_default() -> None:
    assert origin_of("https://h:0/") != origin_of("https://h/")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of localhost and 127.0.0.1, in one file."""
    where = tmp_path_factory.mktemp("certificate") / "both.pem"
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    names = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    subprocess.run([*new, *names, "-keyout", where, "-out", where.with_suffix(".crt")], check=True, capture_output=True)
    where.write_bytes(where.read_bytes() + where.with_suffix(".crt").read_bytes())
    return where


@pytest.fixture
def trusting(certificate: Path) -> Iterator[Connections]:
    context = ssl.create_default_context(cafile=certificate)
    with contextlib.closing(Connections(lambda origin: open_line(origin, context))) as ours:
        yield ours


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def test_what_tls_has_decrypted_already_counts_as_come(trusting: Connections, tls: ssl.SSLContext) -> None:
    """One record holds the whole reply and more than is read at once: nothing is left for the kernel to tell of."""
    with Scripted(
        [FRESH + b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n" + bytes(12_000)], [FRESH], tls=tls
    ) as server:
        assert ask(trusting, server.url()) == b"FRESH"
        assert ask(trusting, server.url()) == b"FRESH"


def test_a_host_with_a_dot_at_its_end(trusting: Connections, tls: ssl.SSLContext) -> None:
    with Scripted([FRESH], tls=tls) as server:
        assert ask(trusting, server.url(host="localhost.")) == b"FRESH"


def test_an_early_end_is_told_after_what_came(connections: Connections) -> None:
    with (
        Scripted([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nFRESH"]) as server,
        contextlib.closing(connections.send("GET", server.url(), {})) as response,
    ):
        assert response.read(100) == b"FRESH"
        with pytest.raises((OSError, http.client.HTTPException), match="4 bytes too early"):
            response.read(100)
