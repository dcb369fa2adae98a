"""Registries for tests, on loopback ports of their own.

``real_registry`` is Debian's docker-registry. ``FaultyRegistry`` is one of ours, for what a real one never does: wrong
digests, cut connections, odd logins. Both end with their ``with`` block and leave nothing.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Self

from tests.waiting import turns

from .images import Image, digest_of


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_CONFIGURATION = """\
version: 0.1
log:
  level: error
storage:
  filesystem:
    rootdirectory: {storage}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
"""


@contextlib.contextmanager
def real_registry(storage: Path) -> Iterator[str]:
    """Run docker-registry (Debian package) with its files below ``storage``; gives ``127.0.0.1:PORT``."""
    program = shutil.which("docker-registry")
    assert program, "apt-get install docker-registry"
    storage.mkdir(parents=True, exist_ok=True)
    # Somebody may take the free port between our look and the registry's bind: then try another.
    for _ in range(5):
        port = free_port()
        configuration = storage / "config.yml"
        configuration.write_text(_CONFIGURATION.format(storage=storage / "data", port=port))
        with open(storage / "log", "wb") as log:
            process = subprocess.Popen([program, "serve", str(configuration)], stdout=log, stderr=log)
        try:
            if _wait_for(process, port):
                yield f"127.0.0.1:{port}"
                return
        finally:
            process.kill()
            process.wait()
    raise AssertionError(f"docker-registry does not start: {(storage / 'log').read_text()}")


def _wait_for(process: subprocess.Popen[bytes], port: int) -> bool:
    for _ in turns(20):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5):
            return True
    return False


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Message
    body: bytes = b""


@dataclass
class Reply:
    """What to send; ``cut`` ends the connection after so many bytes of the body, ``endless`` repeats it for ever."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    endless: bool = False
    length: bool = True
    hang: threading.Event | None = None
    """Wait for this after the body's ``cut``, with the connection open."""
    raw: Iterator[bytes] | None = None
    """What to send after the headers in place of all that, piece by piece; no length is told."""


Answer = Callable[[Request, Reply], Reply | None]
"""Look at a request and at what an honest registry would reply; return another reply, or None to leave it."""


class _Server:
    """A server of threads on a loopback port of its own, for as long as its ``with`` block; with ``tls`` by https."""

    def __init__(self, handler: type[http.server.BaseHTTPRequestHandler], tls: ssl.SSLContext | None) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if tls:
            # The handshake is left to each connection's thread: a client that gives up must not stop the others.
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FaultyRegistry(_Server):
    """A registry that serves images by tag and lets ``answer`` change any reply. ``requests`` records them all.

    ``connections`` counts on what they came. With ``tls`` it speaks https.
    """

    def __init__(self, answer: Answer | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.connections = 0
        self._manifests: dict[str, Image] = {}
        self._blobs: dict[str, bytes] = {}
        registry = self

        class Handler(_Handler):
            def handle(self) -> None:
                registry.connections += 1
                super().handle()

            def handle_request(self, request: Request) -> Reply:
                return registry.reply(request)

        super().__init__(Handler, tls)

    def add(self, image: Image, tag: str = "latest") -> None:
        """Serve ``image`` in every repository."""
        self._manifests[tag] = image
        self._manifests.update({each.digest: each for each in image.all_manifests()})
        self._blobs.update(image.all_blobs())

    def paths(self, part: str = "") -> list[str]:
        """The paths that were asked for and contain ``part``."""
        return [request.path for request in self.requests if part in request.path]

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        honest = self.honest_reply(request)
        changed = self.answer(request, honest) if self.answer else None
        return honest if changed is None else changed

    def honest_reply(self, request: Request) -> Reply:
        """What a good registry says."""
        path = request.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path == "/v2/":
            return Reply(body=b"{}")
        if "/manifests/" in path and name in self._manifests:
            image = self._manifests[name]
            headers = {"Content-Type": image.media_type, "Docker-Content-Digest": digest_of(image.manifest)}
            return Reply(headers=headers, body=image.manifest)
        if "/blobs/" in path and name in self._blobs:
            return blob_reply(request, self._blobs[name])
        return error_reply(404, "MANIFEST_UNKNOWN", "manifest unknown")


def blob_reply(request: Request, blob: bytes) -> Reply:
    """A blob, honouring ``Range: bytes=N-``."""
    start = request.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
    if not start:
        return Reply(headers={"Content-Type": "application/octet-stream"}, body=blob)
    first = int(start)
    return Reply(206, {"Content-Range": f"bytes {first}-{len(blob) - 1}/{len(blob)}"}, blob[first:])


def error_reply(status: int, code: str, message: str, **headers: str) -> Reply:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Reply(status, {key.replace("_", "-"): value for key, value in headers.items()}, body)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Replies are written in pieces; with Nagle's algorithm each piece would wait for the client's delayed ACK.
    disable_nagle_algorithm = True

    def handle_request(self, request: Request) -> Reply:
        raise NotImplementedError

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def handle(self) -> None:
        # Clients that do not like our certificate hang up in the middle of the handshake.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            super().handle()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        reply = self.handle_request(Request(self.command, self.path, self.headers, body))
        # The client hanging up on us is what several tests are about.
        with contextlib.suppress(ConnectionError):
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        has_length = reply.length and not reply.endless and reply.raw is None
        if has_length and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.body)))
        self.close_connection = self.close_connection or not has_length or reply.cut is not None
        self.end_headers()
        for piece in reply.raw or ():
            self.wfile.write(piece)
        self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        if reply.hang:
            self.wfile.flush()
            reply.hang.wait(60)
        while reply.endless:
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
        pass


class TunnellingProxy(_Server):
    """A proxy that opens tunnels (RFC 9110, section 9.3.6) to one place, and notes what it was asked.

    With ``login`` it wants that Proxy-Authorization, with ``tls`` it is itself spoken to by https.
    """

    def __init__(self, target: str, login: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        proxy, (host, _, port) = self, target.rpartition(":")

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                proxy.asked.append(self.path)
                if self.headers.get("Proxy-Authorization") != login:
                    self.send_error(407)
                    return
                with socket.create_connection((host, int(port))) as other:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.flush()
                    back = threading.Thread(target=_pump, args=(other, self.connection))
                    back.start()
                    _pump(self.connection, other)
                    back.join()
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is the base class's)
                pass

        super().__init__(Handler, tls)


def _pump(source: socket.socket, target: socket.socket) -> None:
    # Either side may hang up at any time.
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
