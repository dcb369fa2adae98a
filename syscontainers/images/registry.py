"""Images in a registry: the pull half of the OCI distribution-spec 1.1, which Docker's registry API v2 became.

https first; plain http only where the machine's owner allowed it. Everything the registry says is bounded and
compared with the digest that led to it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from urllib.parse import urlsplit

from ..errors import NotFoundError, RefusedError, SyscontainersError
from .auth import Authority
from .connections import Response, origin_of
from .credentials import Credentials
from .digests import is_digest, verify_digest
from .documents import ACCEPTED, MANIFEST_LIMIT, Descriptor, RawManifest
from .download import Download
from .reference import DOCKER_HUB, Reference
from .sources import check_promise
from .transfers import Transfers
from .wire import Patience, UnreachableError, Wire

_HUB_HOST = "registry-1.docker.io"
_ERROR_LIMIT = 64 << 10
_MESSAGE_LENGTH = 200


@dataclass(frozen=True)
class Access:
    """How a registry may be talked to."""

    plain_http: bool = False
    """Only plain http: the user's word for this one command."""
    insecure: bool = False
    """Plain http if it does not speak https: the owner's word in the settings."""
    credentials: Credentials | None = None
    patience: Patience = field(default_factory=Patience)

    @property
    def schemes(self) -> tuple[str, ...]:
        """What to try, in this order."""
        if self.plain_http:
            return ("http",)
        return ("https", "http") if self.insecure else ("https",)


class RegistrySource:
    """One image in one registry."""

    def __init__(self, reference: Reference, access: Access, transfers: Transfers) -> None:
        self._reference = reference
        self._access = access
        self._transfers = transfers
        self._host = _HUB_HOST if reference.registry == DOCKER_HUB else reference.registry
        allow_http = access.plain_http or access.insecure
        # certs.d goes by the registry's name, which for Docker Hub is not the host that serves it
        self._wire = Wire(
            self._host,
            transfers,
            access.patience,
            certificates=reference.registry,
            allow_http=allow_http,
        )
        self._authority = Authority(
            self._wire, reference.registry, reference.repository, access.credentials, allow_http=allow_http
        )
        self._base = ""
        self._has_answered = False

    def close(self) -> None:
        """Drop the connections."""
        self._wire.close()

    def stored_name(self) -> str:
        """As ``Source``."""
        return self._reference.stored_name()

    def fetch_manifest(self, wanted: Descriptor | None = None) -> RawManifest:
        """As ``Source``."""
        reference = self._reference
        digest = wanted.digest if wanted else reference.digest
        response = self._get(f"manifests/{digest or reference.tag}", {"Accept": ", ".join(ACCEPTED)})
        if response.status != 200:
            self._refuse(
                response, f"{reference}", "it has no such tag or repository, or is no registry; check the name"
            )
        raw = self._read_manifest(response, f"{reference}: manifest")
        if wanted is not None:
            return check_promise(raw, wanted, f"{reference}: manifest")
        if digest is not None:
            verify_digest(raw.data, digest, f"{reference}: manifest")
        return raw

    @contextlib.contextmanager
    def open_blob(self, descriptor: Descriptor) -> Iterator[Iterator[bytes]]:
        """As ``Source``."""
        what = f"{self._reference.name}: blob {descriptor.digest[:19]}…"

        def get(headers: Mapping[str, str]) -> Response:
            response = self._get(f"blobs/{descriptor.digest}", headers)
            if response.status not in (200, 206, 416):
                self._refuse(response, what, "the registry lost a part of the image; push it again")
            return response

        with contextlib.closing(
            Download(get, descriptor, self._transfers, self._access.patience, what).chunks()
        ) as chunks:
            yield chunks

    def _read_manifest(self, response: Response, what: str) -> RawManifest:
        encoding = response.header("Content-Encoding").lower()
        promised = response.header("Docker-Content-Digest")
        media_type = response.header("Content-Type")
        data = self._wire.read_body(response, MANIFEST_LIMIT, what)
        if encoding not in ("", "identity"):
            # Decoded by whoever sits between us, the bytes have no digest that we could believe.
            raise RefusedError(f"{what}: came compressed ({encoding!r}) although that was not wanted")
        if is_digest(promised):
            verify_digest(data, promised, what)
        return RawManifest(data, media_type)

    def _get(self, path: str, headers: Mapping[str, str]) -> Response:
        self._base = self._base or self._connect()
        sent = self._authority.header
        url = f"{self._base}{self._reference.repository}/{path}"
        response = self._ask(url, headers, sent)
        if response.status != 401 or not self._is_own(response, url):
            return response
        if not response.header("WWW-Authenticate") and not self._learn_login(response):
            return response
        self._wire.dismiss(response)
        return self._ask(url, headers, self._authority.answer(response, sent))

    def _learn_login(self, refusal: Response) -> bool:
        """Ask where some say what they want, and only there (gcr.io)."""
        try:
            self._greet(self._base)
        except BaseException:
            refusal.close()
            raise
        return self._authority.knows_a_way

    def _ask(self, url: str, headers: Mapping[str, str], authorization: str | None = None) -> Response:
        response = self._wire.get(url, headers, authorization, first_contact=not self._has_answered)
        self._has_answered = True
        return response

    def _is_own(self, response: Response, url: str) -> bool:
        """Whether the registry itself sent the reply to ``url``; whom it sends us to gets no login (CVE-2020-15157)."""
        return origin_of(response.url) == origin_of(url)

    def _connect(self) -> str:
        """Find out which scheme the registry speaks, if there is a choice; the beginning of all further URLs."""
        *first, last = (f"{scheme}://{self._host}/v2/" for scheme in self._access.schemes)
        for base in first:
            try:
                self._greet(base)
            except UnreachableError as error:
                if error.untrusted:
                    raise  # somebody does speak https there
            else:
                return base
        return last

    def _greet(self, base: str) -> None:
        response = self._ask(base, {})
        if response.status == 401:
            if self._is_own(response, base):
                self._authority.remember(response)
        elif response.status != 200:
            self._refuse(response, f"{self._host}", "is this a registry?")
        self._wire.dismiss(response)

    def _refuse(self, response: Response, what: str, hint: str) -> NoReturn:
        """Say what a status means. Raises SyscontainersError."""
        status = response.status
        said = self._said(response)
        if status == 404:
            raise NotFoundError(f"{what}: not found{said}", hint)
        if status in (401, 403):
            raise SyscontainersError(f"{what}: access denied{said}", self._hint_of_denial(response.url))
        if status == 429:
            raise SyscontainersError(f"{what}: the registry limits how often we may ask{said}", "try again later")
        if "HTTPS server" in said:
            raise SyscontainersError(f"{what}: speaks https, not plain http", "leave --plain-http off")
        raise SyscontainersError(f"{what}: the registry answered with status {status}{said}", hint)

    def _hint_of_denial(self, url: str) -> str:
        if origin_of(url) != origin_of(self._base or url):
            return (
                f"by {urlsplit(url).netloc}, where the registry sends us; it gets no login: name that registry itself"
            )
        return f"check the name, or podman login {self._reference.registry}"

    def _said(self, response: Response) -> str:
        try:
            body = self._wire.read_body(response, _ERROR_LIMIT, "error message").decode(errors="replace")
        except (RefusedError, UnreachableError):
            return ""  # the status alone tells enough
        # What is not the spec's JSON is shown as it is.
        with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
            body = json.loads(body)["errors"][0]["message"]
        # A registry must not move the cursor of the administrator's terminal.
        text = "".join(letter if letter.isprintable() else " " for letter in str(body))[:_MESSAGE_LENGTH].strip()
        return f": {text}" if text else ""
