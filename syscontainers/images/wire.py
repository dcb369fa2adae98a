"""HTTP as registries need it: redirects without secrets, bounded bodies, patience where it helps.

On top of ``requests``; everything that it would do by itself and that a registry must not be able to trigger is
switched off: ``~/.netrc`` adds no credentials, cookies are not kept, redirects are followed here, and bodies are
never decoded, because a digest is one of the bytes as sent.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.cookiejar
import random
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import requests.utils
import urllib3
import urllib3.connection
import urllib3.exceptions

from .. import __version__
from ..errors import RefusedError, SyscontainersError
from .tls import find_directory, make_context
from .transfers import Transfers

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
"""The longest silence within a reply, in seconds."""
HEADER_SECONDS = 120.0
"""The longest that a reply's headers may take."""
_BODY_SECONDS = 120.0
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_BUSY = (429, 502, 503, 504)
_LOCATION_LIMIT = 16 << 10
_REASON_LENGTH = 200
# What OpenSSL calls an answer that is not TLS: version 1.1, 3.0, and since 3.2.
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")


Response = requests.Response


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


class _PlainAdapter(requests.adapters.HTTPAdapter):
    """Connections with a deadline for headers."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class _Adapter(_PlainAdapter):
    """Connections with our TLS settings instead of the bundle of authorities that requests carries."""

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Keep the context as it is: the original would add its own bundle to it."""


def _make_session(adapters: Mapping[str, requests.adapters.HTTPAdapter]) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    for prefix, adapter in adapters.items():
        session.mount(prefix, adapter)
    return session


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
        self._open = contextlib.ExitStack()
        plain = {"http://": _PlainAdapter(pool_maxsize=connections)}
        self._http = self._open.enter_context(_make_session(plain))

    @functools.cached_property
    def _https(self) -> requests.Session:
        # Made when needed: loading authorities takes longer than a whole pull of an image that is there already.
        adapters = {"https://": _Adapter(make_context(), self._connections)}
        if find_directory(self._certificates):
            adapters[f"https://{self._host}/"] = _Adapter(make_context(self._certificates), self._connections)
        return self._open.enter_context(_make_session(adapters))

    def close(self) -> None:
        """Drop the connections."""
        self._open.close()

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
                if response.status_code not in _BUSY or is_last:
                    return response
                retry_after, why = _retry_after(response), f"{urlsplit(url).netloc}: busy ({response.status_code})"
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
            if response.status_code not in _REDIRECTS or not target:
                return response
            response.close()
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
        session = self._https if url.startswith("https:") else self._http
        try:
            return session.request(
                method,
                url,
                headers={
                    "User-Agent": f"syscontainers/{__version__}",
                    "Accept-Encoding": "identity",
                    **headers,
                },
                data=form,
                proxies=requests.utils.get_environ_proxies(url),
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.RequestException as error:
            raise _unreachable(urlsplit(url).netloc, error) from None
        except ValueError as error:
            # requests looks at a redirect's address even where it is told not to follow.
            raise RefusedError(f"{urlsplit(url).netloc}: sends us to no address: {error}"[:_REASON_LENGTH]) from None

    def read_body(self, response: Response, limit: int, what: str) -> bytes:
        """The whole body, closing the response. Raises RefusedError beyond ``limit`` bytes, UnreachableError."""
        deadline = time.monotonic() + _BODY_SECONDS
        parts: list[bytes] = []
        left = limit + 1
        try:
            # read1 returns after each packet, so that neither an endless nor a dripping body holds us.
            while left > 0 and (part := response.raw.read1(min(left, 1 << 16), decode_content=False)):
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
    """The innermost cause: requests and urllib3 wrap a plain OSError up to four times."""
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
    if isinstance(error, requests.exceptions.Timeout | urllib3.exceptions.TimeoutError):
        text = "no answer in time"
    elif isinstance(reason, OSError) and reason.strerror:
        text = reason.strerror
    else:
        text = str(reason) or type(reason).__name__
    return UnreachableError(f"{what}: not reachable: {text}", "check the name, the network and the proxy settings")
