"""Who we are to a registry: the files and helpers that podman and docker also read.

containers-auth.json(5), docker's "config.json"; a helper speaks the protocol of docker-credential-helpers. The
systemd credential ``registry-auth.json`` (systemd.exec(5), "LoadCredential=") serves units that pull at boot.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError, UsageError
from ..files import read_bounded
from ..typed import Document, DocumentError
from .reference import DOCKER_HUB, Reference

SYSTEMD_CREDENTIAL = "registry-auth.json"
_LIMIT = 1 << 20
_HELPER = re.compile(r"[A-Za-z0-9_-]+")
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_HELPER_TIMEOUT = 30.0


@dataclass(frozen=True)
class Credentials:
    """A user name with a secret, or a refresh token (then ``username`` is empty)."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"

    @classmethod
    def parse(cls, text: str, ask: Callable[[str], str]) -> Credentials:
        """Read ``USER[:PASSWORD]``; ``ask`` is given a prompt where the password is missing. Raises UsageError."""
        username, colon, secret = text.partition(":")
        if not username:
            raise UsageError("credentials without a user name", "write USER:PASSWORD, or USER to be asked")
        return cls(username, secret if colon else ask(f"Password of {username}: "))

    @property
    def is_refresh_token(self) -> bool:
        """Whether the secret is an OAuth2 refresh token rather than a password."""
        return not self.username


def find_credentials(
    reference: Reference, authfile: Path | None, environ: Mapping[str, str] = os.environ
) -> Credentials | None:
    """What is configured for the registry, or None for anonymous access; the first file with an answer wins.

    An ``authfile`` is the only one looked at, and must exist. Raises UsageError, SyscontainersError.
    """
    if authfile is not None and not authfile.exists():
        raise UsageError(f"{authfile}: no such file", "log in first: podman login --authfile FILE REGISTRY")
    for path, legacy in _candidates(authfile, environ):
        try:
            data = read_bounded(path, _LIMIT)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise SyscontainersError(f"{path}: {error.strerror}", "no credentials can be read from it") from None
        if found := _search_file(_open_file(data, path, legacy), reference):
            return found
    return None


def _candidates(authfile: Path | None, environ: Mapping[str, str]) -> Iterator[tuple[Path, bool]]:
    explicit = authfile or (Path(environ["REGISTRY_AUTH_FILE"]) if environ.get("REGISTRY_AUTH_FILE") else None)
    if explicit:
        yield explicit, False
        return
    home = Path(environ.get("HOME", "/root"))
    if directory := environ.get("CREDENTIALS_DIRECTORY"):
        yield Path(directory, SYSTEMD_CREDENTIAL), False
    runtime = environ.get("XDG_RUNTIME_DIR")
    yield Path(runtime, "containers/auth.json") if runtime else Path(f"/run/containers/{os.getuid()}/auth.json"), False
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json", False
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json", False
    yield home / ".dockercfg", True


def _open_file(data: bytes, path: Path, legacy: bool) -> Document:
    try:
        document = Document.parse(data or b"{}", str(path))
        return Document({"auths": document.raw()}, str(path)) if legacy else document
    except DocumentError as error:
        raise UsageError(error.message, "write it with podman login") from None


def _keys(reference: Reference) -> Iterator[str]:
    """``host/group/name``, ``host/group``, ``host``."""
    name = reference.name
    while name:
        yield name
        name = name.rpartition("/")[0]
    if reference.registry == DOCKER_HUB:
        yield from _HUB_KEYS


def _search_file(document: Document, reference: Reference) -> Credentials | None:
    try:
        helpers = document.get_string_map("credHelpers", {})
        entries = document.get_object("auths", {})
        # docker writes keys as URLs
        bare = {_without_scheme(key): key for key in entries}
        for key in _keys(reference):
            if key in helpers:
                return _ask_helper(helpers[key], key, document)
            if key in entries or key in bare:
                found = _read_entry(entries.get_object(key if key in entries else bare[key]))
                if found:
                    return found
        store = document.get_str("credsStore", "")
        hub = reference.registry == DOCKER_HUB
        return _ask_helper(store, _HUB_KEYS[0] if hub else reference.registry, document) if store else None
    except DocumentError as error:
        raise UsageError(error.message, "write it with podman login") from None


def _without_scheme(key: str) -> str:
    bare = key.removeprefix("https://").removeprefix("http://")
    return re.sub(r"/(?:v1|v2)?/?$", "", bare)


def _read_entry(entry: Document) -> Credentials | None:
    if token := entry.get_str("identitytoken", ""):
        return Credentials("", token)
    encoded = entry.get_str("auth", "")
    if not encoded:
        return None
    try:
        username, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        entry.fail("auth", "must be the base64 of USER:PASSWORD")
    if not colon or not username:
        entry.fail("auth", "must be the base64 of USER:PASSWORD")
    # docker pads the secret with NUL characters
    return Credentials(username, secret.rstrip("\0"))


def _ask_helper(name: str, server: str, document: Document) -> Credentials | None:
    from ..run import run  # few have a helper, and child processes take a while to load

    # The name becomes part of a program's name.
    if not _HELPER.fullmatch(name):
        document.fail("credHelpers", f"name a program oddly: {name!r}")
    program = f"docker-credential-{name}"
    done = run([program, "get"], check=False, stdin=server.encode(), timeout=_HELPER_TIMEOUT)
    if done.returncode != 0:
        if b"credentials not found" in done.stdout:
            return None
        raise SyscontainersError(f"{program}: no credentials for {server}", f"echo {server} | {program} get")
    reply = Document.parse(done.stdout, program)
    username, secret = reply.get_str("Username"), reply.get_str("Secret")
    return Credentials("" if username == "<token>" else username, secret)
