"""HTTP as registries need it: redirects without secrets, bounded bodies, patience where it helps.

On top of ``urllib3``, the half of ``requests`` that talks: the other half would have to be switched off, as a registry
must not be able to trigger it (credentials from ``~/.netrc``, cookies, redirects that are followed unseen), and takes
longer to load than a small update takes. Bodies are never decoded, because a digest is one of the bytes as sent.
"""

from __future__ import annotations

import contextlib
import email.utils
import random
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlencode, urljoin, urlsplit

import urllib3
import urllib3.connection
import urllib3.exceptions

from .. import __version__
from ..errors import RefusedError, SyscontainersError
from .proxies import find_proxy
from .tls import find_directory, make_context
from .transfers import Transfers

_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
"""The second is the longest silence within a reply."""
HEADER_SECONDS = 120.0
"""The longest that a reply's headers may take."""
_BODY_SECONDS = 120.0
_SHORT = 16 << 10
"""Bytes that are read sooner than a new connection is made."""
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_BUSY = (429, 502, 503, 504)
_LOCATION_LIMIT = 16 << 10
_REASON_LENGTH = 200
# What OpenSSL calls an answer that is not TLS: version 1.1, 3.0, and since 3.2.
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


Response = urllib3.BaseHTTPResponse


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


class _Deadline:
    """A connection on which a reply's headers must be complete in time, however steadily they drip in."""

    sock: socket.socket | None

    def getresponse(self) -> Any:
        """As http.client's. Raises TimeoutError when it takes longer than ``HEADER_SECONDS``."""
        late = threading.Event()
        timer = threading.Timer(HEADER_SECONDS, _shut_down, [self.sock, late])
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():  # http.client takes the end of the connection for that of the headers
            raise TimeoutError("the headers do not end")
        return response


def _shut_down(connection: socket.socket | None, late: threading.Event) -> None:
    late.set()
    # Closed already means that the reply has come to its end meanwhile.
    with contextlib.suppress(OSError):
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)


class _HttpConnection(_Deadline, urllib3.connection.HTTPConnection):
    pass


class _HttpsConnection(_Deadline, urllib3.connection.HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


def _open_pools(proxy: str | None, context: ssl.SSLContext | None, connections: int) -> urllib3.PoolManager:
    if proxy is None:
        pools = urllib3.PoolManager(maxsize=connections, ssl_context=context)
    else:
        login = unquote(urllib3.util.parse_url(proxy).auth or "")
        headers = urllib3.make_headers(proxy_basic_auth=login or None)
        pools = urllib3.ProxyManager(proxy, proxy_headers=headers, maxsize=connections, ssl_context=context)
    pools.pool_classes_by_scheme = _POOLS
    return pools


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
        connections: int,
    ) -> None:
        self._host = host.lower()
        self._transfers = transfers
        self._patience = patience
        self._certificates = certificates
        self._allow_http = allow_http
        self._connections = connections
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str | None, str | None], urllib3.PoolManager] = {}

    def close(self) -> None:
        """Drop the connections."""
        for pools in self._pools.values():
            pools.clear()

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
            target = response.headers.get("Location")
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
        own = {"User-Agent": f"syscontainers/{__version__}", "Accept-Encoding": "identity"}
        body = urlencode(form) if form is not None else None
        if form is not None:
            own["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            response = self._pools_to(url).urlopen(
                method,
                url,
                body=body,
                headers={**own, **headers},
                timeout=_TIMEOUT,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(urlsplit(url).netloc, error) from None
        response.url = url  # until here without the host
        return response

    def _pools_to(self, url: str) -> urllib3.PoolManager:
        # Made when needed: loading authorities takes longer than a whole pull of an image that is there already.
        scheme, host = urlsplit(url)[:2]
        has_own = host.lower() == self._host and find_directory(self._certificates) is not None
        certificates, proxy = self._certificates if has_own else None, find_proxy(url)
        with self._lock:
            pools = self._pools.get((scheme, certificates, proxy))
            if pools is None:
                context = make_context(certificates) if scheme == "https" else None
                pools = _open_pools(proxy, context, self._connections)
                self._pools[scheme, certificates, proxy] = pools
            return pools

    def dismiss(self, response: Response) -> None:
        """End a reply whose body does not matter. A short one is read: the next request then finds its connection."""
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:9]) <= _SHORT:
            # What may be wrong with it does not matter either.
            with contextlib.suppress(RefusedError, UnreachableError):
                self.read_body(response, _SHORT, "body")
        response.close()

    def read_body(self, response: Response, limit: int, what: str) -> bytes:
        """The whole body, closing the response. Raises RefusedError beyond ``limit`` bytes, UnreachableError."""
        deadline = time.monotonic() + _BODY_SECONDS
        parts: list[bytes] = []
        left = limit + 1
        try:
            # read1 returns after each packet, so that neither an endless nor a dripping body holds us.
            while left > 0 and (part := response.read1(min(left, 1 << 16), decode_content=False)):
                parts.append(part)
                left -= len(part)
                if time.monotonic() > deadline:
                    raise UnreachableError(f"{what}: still not complete after {_BODY_SECONDS:.0f} seconds")
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(what, error) from None
        finally:
            response.close()
        if left <= 0:
            raise RefusedError(f"{what}: longer than {limit} bytes")
        return b"".join(parts)


def join_url(base: str, target: str) -> tuple[str, str]:
    """The address that ``target`` means when seen at ``base``, and its scheme. Raises RefusedError for none."""
    try:
        joined = urljoin(base, target)
        parts = urlsplit(joined)
        _ = parts.port  # raises for what is no number
    except ValueError as error:
        raise RefusedError(f"{urlsplit(base).netloc}: names {target[:80]!r} as an address: {error}") from None
    return joined, parts.scheme


def origin_of(url: str) -> tuple[str, str | None, int]:
    """Scheme, host and port: whoever answers there (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def _retry_after(response: Response) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def reason_of(error: BaseException) -> BaseException:
    """The innermost cause: urllib3 wraps a plain OSError up to three times."""
    seen: BaseException | None = error
    while seen is not None:
        error = seen
        arguments = [value for value in (*error.args, getattr(error, "reason", None)) if isinstance(value, Exception)]
        seen = arguments[0] if arguments else error.__cause__ or error.__context__
    return error


def _unreachable(what: str, error: Exception) -> UnreachableError:
    reason = reason_of(error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return UnreachableError(
            f"{what}: its certificate is not trusted: {reason.verify_message}",
            f"put its authority's certificate into /etc/containers/certs.d/{what}/ca.crt",
            untrusted=True,
        )
    if isinstance(reason, ssl.SSLError) and reason.reason in _PLAIN_TEXT:
        return UnreachableError(
            f"{what}: speaks plain http, not https",
            "if that is meant: --plain-http, or the setting insecure_registries",
        )
    if isinstance(reason, OSError) and reason.strerror:
        text = reason.strerror
    elif isinstance(error, urllib3.exceptions.TimeoutError):
        text = "no answer in time"
    else:
        text = str(reason) or type(reason).__name__
    return UnreachableError(f"{what}: not reachable: {text}", "check the name, the network and the proxy settings")
