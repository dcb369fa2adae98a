"""HTTP as registries need it: redirects without secrets, bounded bodies, patience where it helps.

On top of ``http.client`` (``connections.py``). What ``requests`` adds would have to be switched off again, as a
registry must not be able to trigger it (credentials from ``~/.netrc``, cookies, redirects that are followed unseen,
bodies that are decoded, though a digest is one of the bytes as sent), and to load it takes as long as a third of an
update of one small layer.
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

from .. import __version__
from ..errors import RefusedError, SyscontainersError
from .connections import FAILURES, Connections, Line, Origin, Response, open_line, origin_of
from .proxies import find_proxy, open_line_by
from .tls import make_context
from .transfers import Transfers

BODY_SECONDS = 120.0
"""The longest that a body may take that is read at once."""
_SHORT = 16 << 10
"""Bytes that are read sooner than a new connection is made."""
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_BUSY = (429, 502, 503, 504)
_LOCATION_LIMIT = 16 << 10
# What OpenSSL calls an answer that is not TLS: version 1.1, 3.0, and since 3.2.
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


class UnreachableError(SyscontainersError):
    """No HTTP conversation came about, or it broke off."""

    def __init__(self, message: str, hint: str = "", *, untrusted: bool = False) -> None:
        super().__init__(message, hint)
        self.untrusted = untrusted
        """The other side's certificate is not believed."""


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait for a busy or silent server, in seconds."""

    tries: int = 5
    first: float = 2.0
    longest: float = 60.0

    def delay(self, failures: int, retry_after: float | None) -> float:
        """Before the next try after ``failures``: what the server asks for, else doubling, with 10 % of jitter."""
        wanted = self.first * 2 ** (failures - 1) if retry_after is None else retry_after
        return min(wanted, self.longest) * random.uniform(1.0, 1.1)  # noqa: S311 (no secret)


class Wire:
    """One client: a pool of connections to a registry and to where it redirects. Thread-safe.

    ``certificates`` is the directory name in ``certs.d`` for ``host``; other hosts get the system's authorities.
    """

    def __init__(
        self,
        host: str,
        transfers: Transfers,
        patience: Patience,
        *,
        certificates: str,
        allow_http: bool,
    ) -> None:
        self._own = origin_of(f"https://{host}")
        self._transfers = transfers
        self._patience = patience
        self._certificates = certificates
        self._allow_http = allow_http
        self._lock = threading.Lock()
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._connections = Connections(self._dial)

    def close(self) -> None:
        """Drop the connections."""
        self._connections.close()

    def get(
        self, url: str, headers: Mapping[str, str], authorization: str | None = None, *, first_contact: bool = False
    ) -> Response:
        """GET ``url`` and follow redirects; the caller closes the response, whatever its status.

        A busy server is asked again; so is one that does not answer, unless this is the ``first_contact``, where a
        mistyped name is likelier than an outage. Raises UnreachableError, RefusedError.
        """
        for failures in range(1, self._patience.tries + 1):
            is_last = failures == self._patience.tries
            retry_after = None
            try:
                response = self._follow(url, headers, authorization)
            except UnreachableError as error:
                if first_contact or is_last:
                    raise
                why = error.message
            else:
                if response.status not in _BUSY or is_last:
                    return response
                retry_after, why = _retry_after(response), f"{urlsplit(url).netloc}: busy ({response.status})"
                response.close()
            self._transfers.wait(self._patience.delay(failures, retry_after), why)
        raise AssertionError("unreachable: the last try returns or raises")

    def post_form(self, url: str, form: Mapping[str, str]) -> Response:
        """POST a form. Never redirected: its body is a secret. Raises UnreachableError."""
        return self._send("POST", url, {}, form)

    def _follow(self, url: str, headers: Mapping[str, str], authorization: str | None) -> Response:
        for _ in range(_MOST_REDIRECTS + 1):
            secret = {"Authorization": authorization} if authorization else {}
            response = self._send("GET", url, {**headers, **secret})
            target = response.header("Location")
            if response.status not in _REDIRECTS or not target:
                return response
            self.dismiss(response)
            url, origin = self._check_redirect(url, target), origin_of(url)
            # The token is the registry's; the object store it sends us to must not see it (CVE-2020-15157's family).
            authorization = authorization if origin_of(url) == origin else None
        raise RefusedError(f"{urlsplit(url).netloc}: redirects without end")

    def _check_redirect(self, url: str, target: str) -> str:
        if len(target) > _LOCATION_LIMIT:
            raise RefusedError(f"{urlsplit(url).netloc}: redirects to an endless address")
        joined, scheme = join_url(url, target)
        if scheme == "https" or (scheme == "http" and self._allow_http):
            return joined
        raise RefusedError(f"{urlsplit(url).netloc}: redirects to {scheme}:, which is not secure")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> Response:
        self._transfers.check()
        own = {"User-Agent": f"syscontainers/{__version__}"}
        if form is not None:
            own["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            return self._connections.send(
                method, url, {**own, **headers}, urlencode(form, errors="surrogateescape") if form is not None else None
            )
        except FAILURES as error:
            where = self._certificates if origin_of(url) == self._own else None
            raise _unreachable(urlsplit(url).netloc, error, where) from None

    def _dial(self, origin: Origin) -> Line:
        context, proxy = self._context_for(origin), find_proxy(origin)
        if proxy is None:
            return open_line(origin, context)
        return open_line_by(proxy, self._context_for(proxy.origin), origin, context)

    def _context_for(self, origin: Origin) -> ssl.SSLContext | None:
        if origin[0] != "https":
            return None
        # Made when needed: loading authorities takes longer than a whole pull of an image that is there already.
        certificates = self._certificates if origin == self._own else None
        with self._lock:
            if certificates not in self._contexts:
                self._contexts[certificates] = make_context(certificates)
            return self._contexts[certificates]

    def dismiss(self, response: Response) -> None:
        """End a reply whose body does not matter. A short one is read: the next request then finds its connection."""
        length = response.header("Content-Length")
        if length.isdecimal() and int(length[:9]) <= _SHORT:
            # What may be wrong with it does not matter either.
            with contextlib.suppress(RefusedError, UnreachableError):
                self.read_body(response, _SHORT, "body")
        response.close()

    def read_body(self, response: Response, limit: int, what: str) -> bytes:
        """The whole body, closing the response. Raises RefusedError beyond ``limit`` bytes, UnreachableError."""
        body = bytearray()
        try:
            with response.within(BODY_SECONDS):
                while len(body) <= limit and (part := response.read(limit + 1 - len(body))):
                    body += part
        except FAILURES as error:
            raise _unreachable(what, error) from None
        finally:
            response.close()
        if len(body) > limit:
            raise RefusedError(f"{what}: longer than {limit} bytes")
        return bytes(body)


def join_url(base: str, target: str) -> tuple[str, str]:
    """The address that ``target`` means when seen at ``base``, and its scheme. Raises RefusedError for none."""
    try:
        joined = urljoin(base, target)
        scheme, host, _ = origin_of(joined)  # raises for what is no number of a port
    except ValueError as error:
        raise RefusedError(f"{urlsplit(base).netloc}: names {target[:80]!r} as an address: {error}") from None
    if scheme in ("http", "https") and not (host.strip(".") and host.isprintable()):
        raise RefusedError(f"{urlsplit(base).netloc}: names {target[:80]!r} as an address: no host")
    return joined, scheme


def _retry_after(response: Response) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    value = response.header("Retry-After")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _unreachable(what: str, error: Exception, certificates: str | None = None) -> UnreachableError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"{what}: its certificate is not trusted: {error.verify_message}",
            f"put its authority's certificate into /etc/containers/certs.d/{certificates}/ca.crt"
            if certificates
            else "add its authority to this machine's: update-ca-certificates(8)",
            untrusted=True,
        )
    if isinstance(error, ssl.SSLError) and error.reason in _PLAIN_TEXT:
        return UnreachableError(
            f"{what}: speaks plain http, not https",
            "if that is meant: --plain-http, or the setting insecure_registries",
        )
    if isinstance(error, TimeoutError):
        text = "no answer in time"
    else:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UnreachableError(f"{what}: not reachable: {text}", "check the name, the network and the proxy settings")
