"""Answering a registry's 401: RFC 9110 challenges, the token protocol, OAuth2 refresh tokens.

Distribution's "Token Authentication Specification" and "Oauth2 Token Authentication". A token is fetched when the
registry asks for one and again when it is no longer taken, so no clock is involved.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from ..errors import RefusedError, SyscontainersError
from ..typed import Document
from .connections import Response
from .credentials import Credentials
from .wire import Wire, join_url

_TOKEN_LIMIT = 1 << 20
_CLIENT_ID = "syscontainers"
_PART = re.compile(
    r"[\s,]*(?P<name>[A-Za-z0-9!#$%&'*+.^_`|~-]+)"
    r'(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[A-Za-z0-9._~+/:-]+=*)))?'
)
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_LOGIN = "log in first: podman login {}"


@dataclass(frozen=True)
class Challenge:
    """One way of proving who we are that a server offers."""

    scheme: str
    """In lower case."""
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a ``WWW-Authenticate`` header; several headers may have been joined by commas."""
    challenges: list[tuple[str, dict[str, str]]] = []
    position = 0
    while match := _PART.match(header, position):
        position = match.end()
        value = match["quoted"] if match["quoted"] is not None else match["plain"]
        if value is None:
            challenges.append((match["name"].lower(), {}))
        elif challenges:
            challenges[-1][1].setdefault(match["name"].lower(), re.sub(r"\\(.)", r"\1", value))
    return [Challenge(scheme, parameters) for scheme, parameters in challenges]


class Authority:
    """The ``Authorization`` header for one repository of one registry. Thread-safe."""

    def __init__(
        self, wire: Wire, registry: str, repository: str, credentials: Credentials | None, *, allow_http: bool
    ) -> None:
        self._wire = wire
        self._registry = registry
        self._scope = f"repository:{repository}:pull"
        self._credentials = credentials
        self._allow_http = allow_http
        self._lock = threading.Lock()
        self._remembered: list[Challenge] = []
        self._header: str | None = None

    @property
    def header(self) -> str | None:
        """What to send now; None as long as nothing was asked for."""
        return self._header

    def remember(self, response: Response) -> None:
        """Keep the challenges of the 401 to ``/v2/``: some registries send them only there (gcr.io)."""
        self._remembered = parse_challenges(response.header("WWW-Authenticate"))

    @property
    def knows_a_way(self) -> bool:
        """Whether challenges are remembered."""
        return bool(self._remembered)

    def answer(self, response: Response, refused: str | None) -> str | None:
        """The header to try after the 401 ``response`` to a request that carried ``refused``.

        Raises SyscontainersError, if the registry wants a login that we do not have.
        """
        with self._lock:
            if self._header != refused:
                return self._header  # another thread was quicker
            offered = parse_challenges(response.header("WWW-Authenticate")) or self._remembered
            self._header = self._answer(offered)
            return self._header

    def _answer(self, offered: Sequence[Challenge]) -> str:
        by_scheme = {challenge.scheme: challenge for challenge in reversed(offered)}
        if "bearer" in by_scheme:
            return f"Bearer {self._fetch_token(by_scheme['bearer'])}"
        if "basic" not in by_scheme:
            raise SyscontainersError(f"{self._registry}: asks for a login of a kind we do not know")
        if self._credentials is None or self._credentials.is_refresh_token:
            raise SyscontainersError(f"{self._registry}: asks for a login", _LOGIN.format(self._registry))
        return _basic(self._credentials)

    def _fetch_token(self, challenge: Challenge) -> str:
        realm, scheme = join_url("", challenge.parameters.get("realm", ""))
        if scheme != "https" and not (scheme == "http" and self._allow_http):
            raise RefusedError(f"{self._registry}: wants our login sent to {realm[:80]!r}, which is not secure")
        service = challenge.parameters.get("service", "")
        scope = challenge.parameters.get("scope", "") if _is_insufficient(challenge) else ""
        form = {"service": service, "scope": scope or self._scope}
        response = self._ask(realm, {key: value for key, value in form.items() if value})
        what = f"{self._registry}: token from {urlsplit(realm).netloc}"
        status = response.status
        body = self._wire.read_body(response, _TOKEN_LIMIT, what)
        if status in (400, 401, 403):
            problem = "refuses our login" if self._credentials else "refuses anonymous access"
            raise SyscontainersError(f"{self._registry}: {problem}", _LOGIN.format(self._registry))
        if status != 200:
            raise SyscontainersError(f"{what}: answered with status {status}", "try again later")
        reply = Document.parse(body, what)
        token = reply.get_str("token", "") or reply.get_str("access_token")
        if not _HEADER_VALUE.fullmatch(token):
            raise RefusedError(f"{what}: cannot stand in a header")
        return token

    def _ask(self, realm: str, form: Mapping[str, str]) -> Response:
        credentials = self._credentials
        if credentials is not None and credentials.is_refresh_token:
            secret = {"grant_type": "refresh_token", "refresh_token": credentials.secret, "client_id": _CLIENT_ID}
            return self._wire.post_form(realm, {**form, **secret})
        account = {"account": credentials.username} if credentials else {}
        separator = "&" if urlsplit(realm).query else "?"
        url = f"{realm}{separator}{urlencode({**account, **form}, errors='surrogateescape')}"
        return self._wire.get(url, {}, _basic(credentials) if credentials else None)


def _is_insufficient(challenge: Challenge) -> bool:
    return challenge.parameters.get("error") == "insufficient_scope"


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.secret}".encode(errors="surrogateescape")
    return f"Basic {base64.b64encode(pair).decode()}"
