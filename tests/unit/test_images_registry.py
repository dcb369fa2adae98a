from __future__ import annotations

import contextlib
import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

import pytest

from syscontainers.errors import DigestError, NotFoundError, RefusedError, SyscontainersError, UsageError
from syscontainers.images import connections, download, tls, transfers, wire
from syscontainers.images.credentials import Credentials
from syscontainers.images.documents import Descriptor, Manifest, RawManifest, parse_manifest
from syscontainers.images.reference import Reference
from syscontainers.images.registry import Access, RegistrySource
from syscontainers.images.sources import fetch_blob
from syscontainers.images.transfers import CancelledError, Transfers
from syscontainers.images.wire import Patience, UnreachableError
from tests.images import build_image, digest_of, layer, to_json
from tests.registry import Answer, FaultyRegistry, Reply, Request, TunnellingProxy, blob_reply, error_reply

BIG = bytes(range(256)) * 20_000
IMAGE = build_image([layer(BIG, "plain")])
BLOB = Descriptor("", IMAGE.layers[0].digest, len(BIG))
QUICK = Patience(tries=4, first=0.001)
PLAIN = Access(plain_http=True, patience=QUICK)
USER = Credentials("user", "secret")


@contextlib.contextmanager
def source_at(
    host: str, access: Access = PLAIN, name: str = "g/n:1", transfers: Transfers | None = None
) -> Iterator[RegistrySource]:
    reference = Reference.parse(f"{host}/{name}")
    with contextlib.closing(RegistrySource(reference, access, transfers or Transfers())) as source:
        yield source


@contextlib.contextmanager
def registry(answer: Answer | None = None) -> Iterator[FaultyRegistry]:
    with FaultyRegistry(answer) as server:
        server.add(IMAGE, "1")
        yield server


def fetch_all(host: str, access: Access = PLAIN) -> list[bytes]:
    with source_at(host, access) as source:
        manifest = parse_manifest(source.fetch_manifest(), "image")
        assert isinstance(manifest, Manifest)
        return [fetch_blob(source, each, "blob") for each in (manifest.config, *manifest.layers)]


def fetch_manifest(answer: Answer, access: Access = PLAIN, name: str = "g/n:1") -> RawManifest:
    with registry(answer) as server, source_at(server.host, access, name) as source:
        return source.fetch_manifest()


def fetch_big(answer: Answer, descriptor: Descriptor = BLOB, access: Access = PLAIN) -> bytes:
    with registry(answer) as server, source_at(server.host, access) as source:
        return fetch_blob(source, descriptor, "blob")


def only(part: str, change: Callable[[Request, Reply], Reply | None]) -> Answer:
    """Change replies to requests whose path contains ``part``; leave the others."""
    return lambda request, reply: change(request, reply) if part in request.path else None


def first_times(count: int, part: str, faulty: Reply) -> Answer:
    """Send ``faulty`` for the first ``count`` requests whose path contains ``part``."""
    left = [count]

    def answer(request: Request, _reply: Reply) -> Reply | None:
        if part not in request.path or left[0] == 0:
            return None
        left[0] -= 1
        return faulty

    return answer


def test_everything_from_an_honest_registry() -> None:
    with registry() as server:
        assert fetch_all(server.host) == [IMAGE.config, BIG]
        assert {request.headers["Accept-Encoding"] for request in server.requests} == {"identity"}
        accepted = next(r for r in server.requests if "manifests" in r.path).headers["Accept"]
        assert "v1+json" in accepted
        assert "manifest.v1" not in accepted.replace("image.manifest.v1", "")
        assert len(server.paths("/v2/g/n/")) == len(server.requests) == 3


# Logins


def needs(header: str, challenge: str) -> Answer:
    """A registry that wants exactly this Authorization header; ``/token`` is not part of it."""

    def answer(request: Request, _reply: Reply) -> Reply | None:
        if request.path.startswith("/token") or request.headers.get("Authorization") == header:
            return None
        return error_reply(401, "UNAUTHORIZED", "who are you", WWW_Authenticate=challenge)

    return answer


def test_basic_login() -> None:
    with registry(needs("Basic dXNlcjpzZWNyZXQ=", 'Basic realm="r"')) as server:
        assert fetch_all(server.host, replace(PLAIN, credentials=USER))[1] == BIG
        with pytest.raises(SyscontainersError) as caught:
            fetch_all(server.host)
        assert "asks for a login" in caught.value.message
        assert "podman login" in caught.value.hint
        with pytest.raises(SyscontainersError, match="access denied"):
            fetch_all(server.host, replace(PLAIN, credentials=Credentials("user", "wrong")))


class TokenRegistry:
    """A registry that wants tokens and gives them out itself, below /token."""

    def __init__(self) -> None:
        self.valid = "first"
        self.asked: list[Request] = []
        self.reply = Reply(body=b'{"token": "first"}')
        self.challenge_everywhere = True
        self.host = ""

    def answer(self, request: Request, _reply: Reply) -> Reply | None:
        if request.path.startswith("/token"):
            self.asked.append(request)
            return self.reply
        if request.headers.get("Authorization") == f"Bearer {self.valid}":
            return None
        challenge = f'Bearer realm="http://{self.host}/token",service="srv"'
        if self.challenge_everywhere or request.path == "/v2/":
            return error_reply(401, "UNAUTHORIZED", "token please", WWW_Authenticate=challenge)
        return error_reply(401, "UNAUTHORIZED", "token please")


@pytest.fixture
def tokens() -> Iterator[TokenRegistry]:
    tokens = TokenRegistry()
    with registry(tokens.answer) as server:
        tokens.host = server.host
        yield tokens


@pytest.mark.parametrize("everywhere", [True, False])
def test_anonymous_token(tokens: TokenRegistry, everywhere: bool) -> None:
    tokens.challenge_everywhere = everywhere
    assert fetch_all(tokens.host)[1] == BIG
    (asked,) = tokens.asked
    assert parse_qs(urlsplit(asked.path).query) == {"service": ["srv"], "scope": ["repository:g/n:pull"]}
    assert asked.headers.get("Authorization") is None


def test_token_with_a_password(tokens: TokenRegistry) -> None:
    tokens.reply = Reply(body=b'{"access_token": "first"}')
    assert fetch_all(tokens.host, replace(PLAIN, credentials=USER))[1] == BIG
    assert parse_qs(urlsplit(tokens.asked[0].path).query)["account"] == ["user"]
    assert tokens.asked[0].headers["Authorization"] == "Basic dXNlcjpzZWNyZXQ="


def test_token_with_a_refresh_token(tokens: TokenRegistry) -> None:
    assert fetch_all(tokens.host, replace(PLAIN, credentials=Credentials("", "refresh")))[1] == BIG
    (asked,) = tokens.asked
    assert (asked.method, asked.path) == ("POST", "/token")
    form = parse_qs(asked.body.decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["refresh"]
    assert form["scope"] == ["repository:g/n:pull"]


def test_an_expired_token_is_renewed_once(tokens: TokenRegistry) -> None:
    with source_at(tokens.host) as source:
        source.fetch_manifest()
        tokens.valid, tokens.reply = "second", Reply(body=b'{"token": "second"}')
        assert fetch_blob(source, BLOB, "blob") == BIG
        assert len(tokens.asked) == 2
        tokens.valid = "third"
        with pytest.raises(SyscontainersError, match="access denied"):
            fetch_blob(source, BLOB, "blob")
        assert len(tokens.asked) == 3


def test_a_scope_that_does_not_suffice(tokens: TokenRegistry) -> None:
    # Some registries want more than pulling a repository says they do, and name it with the refusal.
    more = 'Bearer realm="http://{}/token",error="insufficient_scope",scope="repository:g/n:pull registry:x:*"'

    def answer(request: Request, reply: Reply) -> Reply | None:
        if "/blobs/" in request.path and request.headers.get("Authorization") == "Bearer first":
            tokens.reply = Reply(body=b'{"token": "wider"}')
            return error_reply(401, "DENIED", "more", WWW_Authenticate=more.format(tokens.host))
        if request.headers.get("Authorization") == "Bearer wider":
            return None
        return tokens.answer(request, reply)

    with registry(answer) as server:
        assert fetch_all(server.host)[1] == BIG
    scopes = [parse_qs(urlsplit(asked.path).query)["scope"] for asked in tokens.asked]
    assert scopes == [["repository:g/n:pull"], ["repository:g/n:pull registry:x:*"]]


def test_parallel_requests_share_one_token(tokens: TokenRegistry) -> None:
    with source_at(tokens.host) as source:
        threads = [threading.Thread(target=fetch_blob, args=(source, BLOB, "blob")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(tokens.asked) == 1


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(401), "refuses anonymous access"),
        (Reply(403), "refuses anonymous access"),
        (Reply(404), "status 404"),
        (Reply(body=b"{}"), "access_token is missing"),
        (Reply(body=b"[]"), "must be an object"),
        (Reply(body=b"nonsense"), "not valid JSON"),
        (Reply(body=b'{"token": 5}'), "must be a string"),
        (Reply(body=rb'{"token": "a\r\nX-Injected: b"}'), "cannot stand in a header"),
        (Reply(body=b'{"token": "' + b"x" * (1 << 20), endless=True), "longer than 1048576 bytes"),
    ],
)
def test_bad_token_servers(tokens: TokenRegistry, reply: Reply, message: str) -> None:
    tokens.reply = reply
    with pytest.raises(SyscontainersError, match=message):
        fetch_all(tokens.host)


@pytest.mark.parametrize("realm", ["ftp://x/", "file:///etc/passwd", "", "//x"])
def test_odd_realms_get_no_login(realm: str) -> None:
    with pytest.raises(RefusedError, match="not secure"):
        fetch_manifest(needs("x", f'Bearer realm="{realm}"'), replace(PLAIN, credentials=USER))


def test_an_unknown_login() -> None:
    with pytest.raises(SyscontainersError, match="of a kind we do not know"):
        fetch_manifest(needs("x", "Negotiate"))


def test_a_whole_conversation_on_one_connection() -> None:
    moved = redirect("/elsewhere", "/v2/g/n/blobs/")
    challenge = needs("Basic dXNlcjpzZWNyZXQ=", 'Basic realm="r"')

    def answer(request: Request, reply: Reply) -> Reply | None:
        if not request.path.startswith("/v2/"):
            request.path = request.path.removeprefix("/elsewhere")
            return server.honest_reply(request)
        return challenge(request, reply) or moved(request, reply)

    with registry(answer) as server:
        assert fetch_all(server.host, replace(PLAIN, credentials=USER))[1] == BIG
        assert len(server.paths()) == 6
        assert server.connections == 1


def test_netrc_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    with registry() as server:
        fetch_all(server.host)
        assert {request.headers.get("Authorization") for request in server.requests} == {None}


# Redirects


def redirect(target: str, part: str = "/blobs/", status: int = 307) -> Answer:
    return only(part, lambda request, _reply: Reply(status, {"Location": f"{target}{request.path}"}))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirected_blobs_without_the_login(status: int) -> None:
    # CVE-2020-15157's family: the store that blobs are in must not see the registry's token
    with registry() as store:
        inner = redirect(f"http://{store.host}", status=status)
        outer = needs("Basic dXNlcjpzZWNyZXQ=", 'Basic realm="r"')
        with registry(lambda request, reply: outer(request, reply) or inner(request, reply)) as server:
            assert fetch_all(server.host, replace(PLAIN, credentials=USER))[1] == BIG
        assert len(store.requests) == 2
        assert {request.headers.get("Authorization") for request in store.requests} == {None}


@pytest.mark.parametrize("part", ["/v2/", "/manifests/", "/blobs/"])
@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
@pytest.mark.parametrize("login", [USER, Credentials("", "refresh")])
def test_who_is_redirected_to_gets_no_login(part: str, scheme: str, login: Credentials) -> None:
    """CVE-2020-15157: the other host asked for the registry's credentials in the registry's name."""

    def thief(request: Request, _reply: Reply) -> Reply:
        if request.path.startswith("/token"):
            return Reply(body=b'{"token": "stolen"}')
        realm = f'{scheme} realm="http://{other.host}/token",service="srv"'
        return error_reply(401, "UNAUTHORIZED", "who are you", WWW_Authenticate=realm)

    def answer(request: Request, reply: Reply) -> Reply | None:
        if part in request.path and (part != "/v2/" or request.path == part):
            return redirect(f"http://{other.host}", part)(request, reply)
        return error_reply(401, "UNAUTHORIZED", "no challenge") if part == "/v2/" else None

    with registry(thief) as other, registry(answer) as server:
        with pytest.raises(SyscontainersError) as caught:
            fetch_all(server.host, replace(PLAIN, credentials=login))
        seen = [(request.path, request.headers.get("Authorization"), request.body) for request in other.requests]
        assert not [path for path, *_ in seen if path.startswith("/token")]
        assert {(secret, body) for _, secret, body in seen} == {(None, b"")}
        if part != "/v2/":
            assert "access denied" in caught.value.message
            assert f"by {other.host}" in caught.value.hint


def mute(greeting: Callable[[], Reply]) -> Answer:
    """A registry that refuses, and says only where it is greeted what it wants."""
    return lambda request, _: greeting() if request.path == "/v2/" else error_reply(401, "UNAUTHORIZED", "no challenge")


def test_who_is_greeted_in_place_of_the_registry_gets_no_login() -> None:
    with registry(needs("x", 'Basic realm="r"')) as other:
        with (
            registry(mute(lambda: Reply(307, {"Location": f"http://{other.host}/v2/"}))) as server,
            pytest.raises(SyscontainersError, match="access denied: no challenge"),
        ):
            fetch_all(server.host, replace(PLAIN, credentials=USER))
        asked = [*server.requests, *other.requests]
        assert other.requests
        assert {request.headers.get("Authorization") for request in asked} == {None}


def test_redirect_to_itself_keeps_the_login() -> None:
    secret = needs("Basic dXNlcjpzZWNyZXQ=", 'Basic realm="r"')

    def answer(request: Request, reply: Reply) -> Reply | None:
        moved = "/blobs/" in request.path and "?moved" not in request.path
        return secret(request, reply) or (Reply(307, {"Location": f"{request.path}?moved"}) if moved else None)

    with registry(answer) as server:
        assert fetch_all(server.host, replace(PLAIN, credentials=USER))[1] == BIG


def test_redirects_in_a_circle() -> None:
    with pytest.raises(RefusedError, match="without end"):
        fetch_manifest(redirect("", "/manifests/"))


@contextlib.contextmanager
def dripping(line: bytes) -> Iterator[str]:
    """A server that answers every connection with ``line`` again and again, until nobody listens."""

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-First: 1\r\n")
            while not done.wait(0.01):
                connection.sendall(line)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("line", [b"x", b"X-Next: "])
def test_headers_that_drip(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is in time for the socket, and the end never comes."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with dripping(line) as host, pytest.raises(UnreachableError, match="not reachable"):
        fetch_all(host)


NO_ADDRESSES = (
    "https://./",
    "http://[",
    "http://[::1",
    "https://x:99999/",
    "http://x:abc/",
    "http://a..b/",
    f"http://{'a' * 300}/",
)


@pytest.mark.parametrize("target", [*NO_ADDRESSES, "http://\xe9/", "http:///x", "http://x\0y/", "//", "http://%5b/"])
def test_addresses_that_are_none(target: str) -> None:
    """Each ended in a traceback, or could have."""
    once = replace(PLAIN, patience=replace(QUICK, tries=1))
    with pytest.raises(SyscontainersError):
        fetch_manifest(only("/manifests/", lambda *_: Reply(302, {"Location": target})), once)
    with pytest.raises(SyscontainersError):
        fetch_manifest(needs("x", f'Bearer realm="{target}"'), once)


@pytest.mark.parametrize("digits", ["9" * 5000, "-5", "abc", "1_0", "0x10"])
def test_numbers_that_are_none(digits: str) -> None:
    for headers in ({"Content-Length": digits}, {"Content-Range": f"bytes 0-{digits}/*"}):
        status = 206 if "Content-Range" in headers else 200
        with pytest.raises(SyscontainersError):
            fetch_big(only("/blobs/", lambda *_: Reply(status, headers, b"x" * 10)))  # noqa: B023


@pytest.mark.parametrize("target", ["ftp://127.0.0.1", "file://", "unix:/run/x", "http://" + "x" * 20_000])
def test_odd_redirects(target: str) -> None:
    with pytest.raises(RefusedError, match=r"not secure|endless address"):
        fetch_manifest(redirect(target, "/manifests/"))


def test_a_refresh_token_is_never_redirected(tokens: TokenRegistry) -> None:
    with registry() as thief:
        tokens.reply = Reply(307, {"Location": f"http://{thief.host}/token"})
        with pytest.raises(SyscontainersError, match="status 307"):
            fetch_all(tokens.host, replace(PLAIN, credentials=Credentials("", "refresh")))
        assert thief.requests == []


# Manifests


def manifest_reply(**change: object) -> Answer:
    return only("/manifests/", lambda _request, reply: replace(reply, **change))  # type: ignore[arg-type]


def test_an_unknown_tag() -> None:
    with registry() as server, source_at(server.host, name="g/n:2") as source:
        with pytest.raises(NotFoundError) as caught:
            source.fetch_manifest()
        assert f"{server.host}/g/n:2: not found: manifest unknown" in caught.value.message
        assert caught.value.exit_code == 4


def test_by_digest() -> None:
    with registry() as server:
        with source_at(server.host, name=f"g/n@{IMAGE.digest}") as source:
            assert source.fetch_manifest().data == IMAGE.manifest
        assert server.paths("/manifests/") == [f"/v2/g/n/manifests/{IMAGE.digest}"]


def test_by_digest_and_something_else_comes() -> None:
    with pytest.raises(DigestError) as caught:
        fetch_manifest(manifest_reply(body=IMAGE.manifest + b" ", headers={}), name=f"g/n@{IMAGE.digest}")
    assert caught.value.exit_code == 5


def test_docker_content_digest_is_compared() -> None:
    with pytest.raises(DigestError):
        fetch_manifest(manifest_reply(headers={"Docker-Content-Digest": digest_of(b"other")}))


@pytest.mark.parametrize("change", [{"size": 5}, {"digest": digest_of(b"other")}, {"media_type": "x"}])
def test_an_entry_of_an_index_is_a_promise(change: dict[str, object]) -> None:
    honest = Descriptor(IMAGE.media_type, IMAGE.digest, len(IMAGE.manifest))
    wanted = replace(honest, **change)  # type: ignore[arg-type]
    serve = only("/manifests/", lambda _request, _reply: Reply(body=IMAGE.manifest))
    with registry(serve) as server, source_at(server.host) as source:
        if "media_type" in change:
            assert source.fetch_manifest(wanted).data == IMAGE.manifest
        else:
            with pytest.raises(DigestError):
                source.fetch_manifest(wanted)


def test_other_places_of_a_layer_are_never_asked() -> None:  # CVE-2020-15157
    with registry() as elsewhere, registry() as server:
        document = json.loads(IMAGE.manifest)
        document["layers"][0]["urls"] = [f"http://{elsewhere.host}/v2/g/n/blobs/{document['layers'][0]['digest']}"]
        server.add(replace(IMAGE, manifest=to_json(document)), "1")
        assert fetch_all(server.host, replace(PLAIN, credentials=USER))[1] == BIG
        assert elsewhere.requests == []


@pytest.mark.parametrize("headers", [{f"X-{n}": "y" for n in range(200)}, {"X-Long": "y" * 100_000}])
def test_endless_headers(headers: dict[str, str]) -> None:
    with pytest.raises(UnreachableError):
        fetch_manifest(manifest_reply(headers=headers))


def test_an_endless_manifest() -> None:
    with pytest.raises(RefusedError, match="longer than 4194304 bytes"):
        fetch_manifest(manifest_reply(body=b" " * 65536, endless=True))


def chunked(*pieces: bytes, then: bytes = b"", pause: float = 0.0) -> Reply:
    """A body as it stands on the wire (RFC 9112, section 7.1), and ``then`` what is said again and again."""

    def raw() -> Iterator[bytes]:
        yield from pieces
        while then:
            time.sleep(pause)
            yield then

    return Reply(headers={"Transfer-Encoding": "chunked"}, raw=raw())


def test_chunks() -> None:
    middle = len(BIG) // 3
    pieces = [b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in (BIG[:middle], BIG[middle:])]
    assert fetch_big(only("/blobs/", lambda *_: chunked(*pieces, b"0\r\nX-End: 1\r\n\r\n"))) == BIG


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-fffff", b"x", b"", b"f" * 5000])
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_sizes_of_chunks_that_are_none(part: str, size: bytes) -> None:
    """http.client takes -1 for all there is, and fails in its own way for other numbers."""
    answer = only(part, lambda *_: chunked(size + b"\r\n", bytes(1 << 20)))
    with registry(answer) as server, pytest.raises(SyscontainersError):
        fetch_all(server.host)


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_an_endless_chunk_of_negative_size_is_not_kept(part: str) -> None:
    endless = only(part, lambda *_: chunked(b"-1\r\n", then=bytes(1 << 20)))
    tracemalloc.start()
    try:
        with registry(endless) as server, pytest.raises(SyscontainersError):
            fetch_all(server.host)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "reply",
    [
        lambda: chunked(b"3\r\n{ }\r\n0\r\n", then=b"X-Trailer: 1\r\n", pause=0.01),
        lambda: chunked(b"3\r\n{ }\r\n", then=b"0", pause=0.01),
        lambda: chunked(then=b"1\r\n \r\n", pause=0.01),
    ],
)
def test_a_body_that_drips(reply: Callable[[], Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between chunks, within them, and after them: each byte in time for the socket, and no end."""
    monkeypatch.setattr(wire, "BODY_SECONDS", 0.3)
    once = replace(PLAIN, patience=replace(QUICK, tries=1))
    with pytest.raises(UnreachableError, match="no answer in time"):
        fetch_manifest(only("/manifests/", lambda *_: reply()), once)


def test_a_compressed_manifest() -> None:
    headers = {"Content-Encoding": "gzip"}
    with pytest.raises(RefusedError, match="came compressed"):
        fetch_manifest(manifest_reply(body=gzip.compress(IMAGE.manifest), headers=headers))


def test_a_cut_manifest() -> None:
    with pytest.raises(UnreachableError):
        fetch_manifest(manifest_reply(cut=10))


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (401, 1, "access denied", "podman login"),
        (403, 1, "access denied", "podman login"),
        (418, 1, "status 418", ""),
        (500, 1, "status 500", ""),
        (404, 4, "not found", ""),
    ],
)
def test_refusals(status: int, code: int, message: str, hint: str) -> None:
    reply = error_reply(status, "X", "\x1b[2Jwiped\nscreen", WWW_Authenticate='Basic realm="x"')
    with pytest.raises(SyscontainersError) as caught:
        fetch_manifest(only("/manifests/", lambda *_: reply), replace(PLAIN, credentials=USER))
    assert caught.value.exit_code == code
    assert message in caught.value.message
    assert hint in caught.value.hint
    # no control character of theirs reaches the terminal
    assert caught.value.message.isprintable()
    assert "wiped screen" in caught.value.message


def test_error_messages_of_any_shape() -> None:
    for body in (b"", b"[]", b'{"errors": {}}', b'{"errors": [{"message": {"a": 1}}]}', b"\xff" * 100, b"[" * 60_000):
        reply = Reply(500, body=body)
        with pytest.raises(SyscontainersError, match="status 500"):
            fetch_manifest(only("/manifests/", lambda *_, reply=reply: reply))


# Patience


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_busy_registry_is_asked_again(status: int, part: str) -> None:
    with registry(first_times(3, part, Reply(status))) as server:
        assert fetch_all(server.host)[1] == BIG


def test_the_user_hears_why_it_takes_longer() -> None:
    told: list[str] = []
    answer = first_times(1, "/manifests/", Reply(503))
    with registry(answer) as server, source_at(server.host, transfers=Transfers(told.append)) as source:
        source.fetch_manifest()
        assert told == [f"{server.host}: busy (503); trying again in 0 s"]


@pytest.mark.parametrize(("status", "message"), [(429, "limits how often"), (503, "status 503")])
def test_but_not_for_ever(status: int, message: str) -> None:
    with registry(first_times(99, "/manifests/", Reply(status))) as server, source_at(server.host) as source:
        with pytest.raises(SyscontainersError, match=message):
            source.fetch_manifest()
        assert len(server.paths("/manifests/")) == QUICK.tries


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_other_refusals_are_final(status: int) -> None:
    with registry(first_times(99, "/manifests/", Reply(status))) as server, source_at(server.host) as source:
        with pytest.raises(SyscontainersError):
            source.fetch_manifest()
        assert len(server.paths("/manifests/")) == 1


def test_how_long_to_wait() -> None:
    patience = Patience()
    for failures, expected in ((1, 2), (2, 4), (3, 8), (9, 60)):
        assert expected <= patience.delay(failures, None) <= expected * 1.1
    assert 7 <= patience.delay(1, 7.0) <= 7.7
    assert patience.delay(1, 86_400.0) <= 66


NONSENSE = (
    "soon",
    "Mon, 01 Jan 2020 00:00:00 +99999999999999999999",
    "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT",
)


@pytest.mark.parametrize("form", ["seconds", "date", *NONSENSE])
def test_retry_after(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Transfers, "wait", lambda _self, seconds, _why: waited.append(seconds))
    value = {"seconds": "30", "date": formatdate(time.time() + 31, usegmt=True)}.get(form, form)
    fetch_manifest(first_times(1, "/manifests/", Reply(429, {"Retry-After": value})))
    (seconds,) = waited
    assert seconds < 1 if form in NONSENSE else 25 < seconds < 40


# Reaching it


def test_a_proxy_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwrap(request: Request, _reply: Reply) -> Reply | None:
        # a proxy is asked for whole URLs
        assert request.path.startswith("http://r.invalid/v2/")
        request.path = request.path.removeprefix("http://r.invalid")
        return server.honest_reply(request)

    with registry(unwrap) as server:
        monkeypatch.setenv("http_proxy", f"http://{server.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert fetch_all("r.invalid")[1] == BIG


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_proxy_that_wants_a_login(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def refuse(request: Request, _reply: Reply) -> Reply:
        seen.append(request.headers.get("Proxy-Authorization"))
        return error_reply(407, "DENIED", "not you")

    with registry(refuse) as server:
        monkeypatch.setenv("all_proxy", f"{scheme}us%65r:s%3Acret@{server.host}")
        with source_at("r.invalid") as source, pytest.raises(SyscontainersError, match="status 407: not you"):
            source.fetch_manifest()
    assert seen == ["Basic dXNlcjpzOmNyZXQ="]


def test_no_proxy_for_who_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "r.invalid, 127.0.0.0/8")
    with registry() as server:
        assert fetch_all(server.host)[1] == BIG


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://", "http://[", "http://h:99999"])
def test_a_proxy_that_cannot_be(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with (
        source_at("r.invalid") as source,
        pytest.raises(UnreachableError, match=r"r\.invalid: not reachable") as caught,
    ):
        source.fetch_manifest()
    assert "proxy" in caught.value.hint


@pytest.mark.parametrize("proxy", ["socks5://u:topsecret@h:1", "http://u:pa#topsecret@h", "http://u:topsecret@h:x"])
def test_a_proxys_password_is_never_shown(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with source_at("r.invalid") as source, pytest.raises(UnreachableError) as caught:
        source.fetch_manifest()
    assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("access", [PLAIN, replace(PLAIN, plain_http=False)])
def test_a_proxy_that_is_down(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with source_at("r.invalid", access) as source, pytest.raises(UnreachableError, match="Connection refused"):
        source.fetch_manifest()


def test_a_login_of_any_bytes() -> None:
    """As a shell passes what is no UTF-8 (PEP 383)."""
    with registry(needs("Basic dXP/OnNlY3JldA==", 'Basic realm="r"')) as server:
        assert fetch_all(server.host, replace(PLAIN, credentials=Credentials("us\udcff", "secret")))[1] == BIG


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with source_at(host) as source, pytest.raises(UnreachableError) as caught:
            source.fetch_manifest()
    assert caught.value.exit_code == 1
    assert caught.value.message == f"{host}: not reachable: Connection refused"
    assert caught.value.hint


def test_an_unknown_host() -> None:
    with source_at("no-such-host.invalid") as source, pytest.raises(UnreachableError, match="not reachable"):
        source.fetch_manifest()


def test_plain_http_where_https_was_expected() -> None:
    with registry() as server:
        with (
            source_at(server.host, replace(PLAIN, plain_http=False)) as source,
            pytest.raises(UnreachableError, match="speaks plain http") as caught,
        ):
            source.fetch_manifest()
        assert "--plain-http" in caught.value.hint
        # not a word went out in the clear
        assert server.requests == []


@pytest.mark.parametrize("name", ["WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"])
def test_plain_http_in_the_words_of_each_openssl(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(*_: object, **__: object) -> NoReturn:
        error = ssl.SSLError(1, f"[SSL: {name}]")
        error.reason = name
        raise error

    monkeypatch.setattr(connections.Connections, "send", send)
    with (
        source_at("r.example", replace(PLAIN, plain_http=False)) as source,
        pytest.raises(UnreachableError, match="speaks plain http") as caught,
    ):
        source.fetch_manifest()
    assert "--plain-http" in caught.value.hint


def test_an_insecure_registry_falls_back_to_http() -> None:
    with registry() as server:
        assert fetch_all(server.host, replace(PLAIN, plain_http=False, insecure=True))[1] == BIG


def test_https_where_plain_http_was_expected() -> None:
    said = Reply(400, body=b"Client sent an HTTP request to an HTTPS server.\n")
    with pytest.raises(SyscontainersError, match="speaks https") as caught:
        fetch_manifest(lambda *_: said)
    assert "--plain-http" in caught.value.hint


def test_no_registry_at_all() -> None:
    with pytest.raises(NotFoundError, match="not found") as caught:
        fetch_manifest(lambda *_: Reply(404, body=b"<html>"))
    assert "is no registry" in caught.value.hint
    with pytest.raises(NotFoundError) as caught:
        fetch_manifest(mute(lambda: Reply(404, body=b"<html>")))
    assert caught.value.hint == "is this a registry?"


# Blobs


def break_at(*positions: int, resume: Callable[[Request], Reply] | None = None) -> Answer:
    """Cut the connection after so many bytes of the first replies; then serve ranges, or what ``resume`` says."""
    left = list(positions)

    def answer(request: Request, reply: Reply) -> Reply | None:
        if "/blobs/" not in request.path:
            return None
        if request.headers.get("Range") and resume:
            return resume(request)
        return replace(reply, cut=left.pop(0)) if left else None

    return answer


def test_a_broken_download_goes_on_where_it_stopped() -> None:
    with registry(break_at(3_000_000, 1_500_000, 0)) as server, source_at(server.host) as source:
        assert fetch_blob(source, BLOB, "blob") == BIG
        ranges = [request.headers.get("Range") for request in server.requests if "/blobs/" in request.path]
    positions = [int(each.removeprefix("bytes=").removesuffix("-")) for each in ranges[1:] if each]
    assert ranges[0] is None
    # each continues where the bytes that were handed on ended, and none begins again
    assert len(positions) == 3
    assert positions == sorted(positions)
    assert positions[0] > 2_000_000


def test_a_registry_without_ranges_sends_the_whole_again() -> None:
    whole = Reply(body=BIG)
    assert fetch_big(break_at(3_000_000, resume=lambda _: whole)) == BIG


def test_a_registry_that_refuses_ranges_is_asked_for_the_whole() -> None:
    assert fetch_big(break_at(3_000_000, resume=lambda _: Reply(416))) == BIG


def test_a_range_that_begins_earlier() -> None:
    def earlier(request: Request) -> Reply:
        request.headers.replace_header("Range", "bytes=1000-")
        return blob_reply(request, BIG)

    assert fetch_big(break_at(3_000_000, resume=earlier)) == BIG


@pytest.mark.parametrize(
    "content_range", ["", "bytes 4000000-5119999/5120000", "bytes 0-5120000/5120001", "bytes */5120000", "nonsense"]
)
def test_a_range_that_was_not_asked_for(content_range: str) -> None:
    reply = Reply(206, {"Content-Range": content_range}, BIG[-100:])
    with pytest.raises(DigestError, match="other bytes than asked for"):
        fetch_big(break_at(3_000_000, resume=lambda _: reply))


def test_a_line_that_stays_broken() -> None:
    with registry(break_at(*[100] * 99)) as server, source_at(server.host) as source:
        with pytest.raises(SyscontainersError, match="broke off after 400 of 5120000 bytes"):
            fetch_blob(source, BLOB, "blob")
        assert len(server.paths("/blobs/")) == QUICK.tries


def test_a_bad_line_that_brings_something_each_time() -> None:
    small = replace(QUICK, tries=2)
    answer = break_at(*[1_200_000] * 4)
    with pytest.raises(SyscontainersError, match="broke off"):
        fetch_big(break_at(*[500_000] * 4), access=replace(PLAIN, patience=small))
    assert fetch_big(answer, access=replace(PLAIN, patience=small)) == BIG


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("change", [-1, 1, 1_000_000])
def test_another_size_than_promised(length: bool, change: int) -> None:
    body = BIG[:change] if change < 0 else BIG + b"x" * change
    reply = Reply(body=body, length=length)
    with pytest.raises(SyscontainersError) as caught:
        fetch_big(only("/blobs/", lambda *_: reply))
    # a short body without a length cannot be told from a broken line
    assert isinstance(caught.value, DigestError) or (change < 0 and not length)


def test_an_endless_blob() -> None:
    with pytest.raises(DigestError, match="longer"):
        fetch_big(only("/blobs/", lambda *_: Reply(body=BIG, endless=True)))


def test_other_bytes_than_promised() -> None:
    with pytest.raises(DigestError, match="has the digest"):
        fetch_big(only("/blobs/", lambda *_: Reply(body=BIG[::-1])))


def test_bytes_are_never_decoded() -> None:
    # Google's store labels gzip blobs so; decoding them would change what was hashed.
    body = gzip.compress(BIG)
    descriptor = Descriptor("", digest_of(body), len(body))
    reply = Reply(headers={"Content-Encoding": "gzip"}, body=body)
    assert fetch_big(only("/blobs/", lambda *_: reply), descriptor) == body


def test_a_lost_blob() -> None:
    with pytest.raises(NotFoundError, match="blob sha256:"):
        fetch_big(only("/blobs/", lambda *_: error_reply(404, "BLOB_UNKNOWN", "gone")))


def test_an_empty_blob() -> None:
    empty = Descriptor("", digest_of(b""), 0)
    assert fetch_big(only("/blobs/", lambda *_: Reply()), empty) == b""


# Ending transfers


def hanging(event: threading.Event) -> Answer:
    return only("/blobs/", lambda _request, reply: replace(reply, cut=600_000, hang=event))


def cancel_a_read(source: RegistrySource, transfers: Transfers, hanging: threading.Event) -> None:
    """Read a blob whose rest does not come, in a thread, and see what cancelling makes of that."""
    started = threading.Event()
    caught: list[BaseException] = []

    def read() -> None:
        try:
            with source.open_blob(BLOB) as chunks:
                for _ in chunks:
                    started.set()
        except SyscontainersError as error:
            caught.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert started.wait(10)
    transfers.cancel()
    thread.join(10)
    is_alive = thread.is_alive()
    hanging.set()
    assert not is_alive
    assert [type(error) for error in caught] == [CancelledError]


def test_cancelling_wakes_a_read_that_waits() -> None:
    event, transfers = threading.Event(), Transfers()
    with registry(hanging(event)) as server, source_at(server.host, transfers=transfers) as source:
        cancel_a_read(source, transfers, event)
        with pytest.raises(CancelledError):
            source.fetch_manifest()


def test_a_standstill_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "CHUNK_SECONDS", 0.05)
    monkeypatch.setattr(transfers, "WATCH_SECONDS", 0.01)
    event, watched = threading.Event(), Transfers()
    with registry(hanging(event)) as server, source_at(server.host, transfers=watched) as source, watched.watched():
        try:
            with pytest.raises(SyscontainersError, match=r"broke off after .*: slower than 2 kB/s"):
                fetch_blob(source, BLOB, "blob")
        finally:
            event.set()


def test_manifest_is_json_as_sent() -> None:
    # white space and key order are part of the digest
    data = json.dumps(json.loads(IMAGE.manifest), indent=3).encode()
    raw = fetch_manifest(manifest_reply(body=data, headers={"Content-Type": IMAGE.media_type}))
    assert raw.data == data


# https


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own, and what it signed: 127.0.0.1 as server, ``client`` as client."""

    directory: Path

    def server_context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        if wants_client:
            context.load_verify_locations(self.directory / "ca.crt")
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    where = tmp_path_factory.mktemp("authority")
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1")
    files = ("-keyout", where / "ca.key", "-out", where / "ca.crt")
    openssl(*new, *files, "-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign")
    by = ("-CA", where / "ca.crt", "-CAkey", where / "ca.key")
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")):
        files = ("-keyout", where / f"{name}.key", "-out", where / f"{name}.crt")
        openssl(*new, *files, *by, "-subj", f"/CN={name}", "-addext", extension)
    return Authority(where)


@pytest.fixture
def certs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tls, "CERTS_DIRECTORIES", (tmp_path / "absent", tmp_path / "certs.d"))
    return tmp_path / "certs.d"


HTTPS = replace(PLAIN, plain_http=False)


@pytest.mark.parametrize("access", [HTTPS, replace(HTTPS, insecure=True)])
def test_an_unknown_authority_is_not_believed(authority: Authority, certs: Path, access: Access) -> None:
    with FaultyRegistry(tls=authority.server_context()) as server:
        with pytest.raises(UnreachableError, match="certificate is not trusted") as caught:
            fetch_all(server.host, access)
        assert f"certs.d/{server.host}/ca.crt" in caught.value.hint
        assert server.requests == []


def test_an_authority_in_certs_d(authority: Authority, certs: Path) -> None:
    with FaultyRegistry(tls=authority.server_context()) as server:
        server.add(IMAGE, "1")
        (certs / server.host).mkdir(parents=True)
        shutil.copy(authority.directory / "ca.crt", certs / server.host)
        assert fetch_all(server.host, HTTPS)[1] == BIG


def test_a_client_certificate_in_certs_d(authority: Authority, certs: Path) -> None:
    with FaultyRegistry(tls=authority.server_context(wants_client=True)) as server:
        server.add(IMAGE, "1")
        (certs / server.host).mkdir(parents=True)
        shutil.copy(authority.directory / "ca.crt", certs / server.host)
        with pytest.raises(UnreachableError):
            fetch_all(server.host, HTTPS)
        shutil.copy(authority.directory / "client.crt", certs / server.host / "client.cert")
        shutil.copy(authority.directory / "client.key", certs / server.host / "client.key")
        assert fetch_all(server.host, HTTPS)[1] == BIG


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", "user:secret@"])
def test_https_by_a_proxy(
    scheme: str, login: str, authority: Authority, certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees where to, and nothing of what is said there; it may itself be behind https."""
    wanted = "Basic dXNlcjpzZWNyZXQ=" if login else None
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.directory / "ca.crt"))
    with (
        FaultyRegistry(tls=authority.server_context()) as server,
        TunnellingProxy(server.host, wanted, authority.server_context() if scheme == "https" else None) as proxy,
    ):
        server.add(IMAGE, "1")
        monkeypatch.setenv("https_proxy", f"{scheme}://{login}{proxy.host}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch_all(server.host, HTTPS)[1] == BIG
        assert proxy.asked == [server.host]
        assert {request.headers.get("Proxy-Authorization") for request in server.requests} == {None}


def test_a_tunnel_that_is_refused(authority: Authority, certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TunnellingProxy("127.0.0.1:1", "Basic x") as proxy:
        monkeypatch.setenv("https_proxy", proxy.host)
        monkeypatch.delenv("no_proxy", raising=False)
        with (
            source_at("r.invalid", HTTPS) as source,
            pytest.raises(UnreachableError, match=r"r\.invalid: not reachable: .*407") as caught,
        ):
            source.fetch_manifest()
        assert "proxy" in caught.value.hint
        assert proxy.asked == ["r.invalid:443"]


def test_who_stands_behind_the_proxy_is_not_believed(
    authority: Authority, certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyRegistry(tls=authority.server_context()) as server, TunnellingProxy(server.host) as proxy:
        monkeypatch.setenv("https_proxy", proxy.host)
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(UnreachableError, match="certificate is not trusted"):
            fetch_all(server.host, HTTPS)
        assert server.requests == []


def test_cancelling_reaches_the_socket_below_two_layers_of_tls(
    authority: Authority, certs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, transfers = threading.Event(), Transfers()
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.directory / "ca.crt"))
    monkeypatch.delenv("no_proxy", raising=False)
    with (
        FaultyRegistry(hanging(event), authority.server_context()) as server,
        TunnellingProxy(server.host, tls=authority.server_context()) as proxy,
        source_at(server.host, HTTPS, transfers=transfers) as source,
    ):
        server.add(IMAGE, "1")
        monkeypatch.setenv("https_proxy", f"https://{proxy.host}")
        cancel_a_read(source, transfers, event)


def test_a_broken_certs_d(certs: Path) -> None:
    (certs / "127.0.0.1:1").mkdir(parents=True)
    (certs / "127.0.0.1:1" / "ca.crt").write_text("nonsense")
    with pytest.raises(UsageError, match=r"ca\.crt") as caught:
        fetch_all("127.0.0.1:1", HTTPS)
    assert "containers-certs.d" in caught.value.hint


def test_https_never_leads_to_http(authority: Authority, certs: Path) -> None:
    with registry() as plain, FaultyRegistry(redirect(f"http://{plain.host}"), authority.server_context()) as server:
        server.add(IMAGE, "1")
        (certs / server.host).mkdir(parents=True)
        shutil.copy(authority.directory / "ca.crt", certs / server.host)
        with pytest.raises(RefusedError, match="redirects to http:, which is not secure"):
            fetch_all(server.host, HTTPS)
        assert plain.requests == []


def test_a_login_never_goes_to_an_untrusted_realm(authority: Authority, certs: Path) -> None:  # CVE-2019-10214
    with FaultyRegistry(tls=authority.server_context()) as realm:
        challenge = f'Bearer realm="https://{realm.host}/token"'
        with FaultyRegistry(needs("x", challenge), authority.server_context()) as server:
            (certs / server.host).mkdir(parents=True)
            shutil.copy(authority.directory / "ca.crt", certs / server.host)
            with pytest.raises(UnreachableError, match="certificate is not trusted"):
                fetch_all(server.host, replace(HTTPS, credentials=USER, patience=replace(QUICK, tries=1)))
            assert realm.requests == []


def test_a_login_never_goes_to_a_plain_realm(authority: Authority, certs: Path, tokens: TokenRegistry) -> None:
    challenge = f'Bearer realm="http://{tokens.host}/token"'
    with FaultyRegistry(needs("x", challenge), authority.server_context()) as server:
        (certs / server.host).mkdir(parents=True)
        shutil.copy(authority.directory / "ca.crt", certs / server.host)
        with pytest.raises(RefusedError, match="not secure"):
            fetch_all(server.host, replace(HTTPS, credentials=USER))
        assert tokens.asked == []


def test_a_first_contact_is_not_repeated() -> None:
    accepted = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def hang_up() -> None:
            with contextlib.suppress(OSError):  # the end of the test closes the listener
                while True:
                    connection, _ = listener.accept()
                    accepted.append(1)
                    connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            with pytest.raises(UnreachableError):
                fetch_all(f"127.0.0.1:{listener.getsockname()[1]}")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert len(accepted) == 1


def test_cancelled_before_a_read_was_registered() -> None:
    transfers = Transfers()
    transfers.cancel()
    with pytest.raises(CancelledError), transfers.reading(lambda: None):
        pytest.fail("nothing may be read any more")
