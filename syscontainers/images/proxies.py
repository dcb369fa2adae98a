"""The proxy that the environment names for an address: ``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``.

``requests`` knows what may stand in them, and ``urllib3`` how to reach somebody by way of what stands there. Both are
loaded only where a proxy is named: that takes as long as a third of an update of one small layer.
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from .connections import CONNECT_SECONDS, SILENCE_SECONDS, Line, Origin, open_line, origin_of, url_of


@dataclass(frozen=True)
class Proxy:
    """Who forwards what is meant for somebody else."""

    origin: Origin
    headers: Mapping[str, str]
    """The login, if it wants one."""


def find_proxy(origin: Origin) -> Proxy | None:
    """By whom to reach ``origin``; None for directly. Raises ConnectionError for a proxy that cannot be."""
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in os.environ):
        return None
    from requests.utils import get_environ_proxies, select_proxy

    url = url_of(origin)
    address = select_proxy(url, get_environ_proxies(url))
    return _parse_proxy(address if "://" in address else f"http://{address}") if address else None


def _parse_proxy(address: str) -> Proxy:
    try:
        origin, login = origin_of(address), urlsplit(address).netloc.rpartition("@")[0]
    except ValueError:  # nothing of it is shown: a password may be in it
        raise ConnectionError("the proxy that the environment names is no address") from None
    if origin[0] not in ("http", "https") or not origin[1]:
        raise ConnectionError(f"the proxy that the environment names is none for http: {origin[0]}://…")
    secret = base64.b64encode(unquote(login).encode()).decode()
    return Proxy(origin, {"Proxy-Authorization": f"Basic {secret}"} if login else {})


def open_line_by(proxy: Proxy, trust: ssl.SSLContext | None, origin: Origin, context: ssl.SSLContext | None) -> Line:
    """Connect to ``origin`` by ``proxy``, with TLS if there is a ``context``; ``trust`` is for a proxy behind TLS.

    For http each request goes to the proxy itself (RFC 9112, section 3.2.2), for https it opens a tunnel (RFC 9110,
    section 9.3.6). Raises one of ``FAILURES``.
    """
    if context is None:
        return Line(origin, open_line(proxy.origin, trust).connection, url_of(origin), proxy.headers)
    _, host, port = origin
    connection = http.client.HTTPSConnection(host, port, context=context)
    connection.sock = _open_tunnel(proxy, trust, origin, context)
    connection.sock.settimeout(SILENCE_SECONDS)
    return Line(origin, connection)


def _open_tunnel(proxy: Proxy, trust: ssl.SSLContext | None, origin: Origin, context: ssl.SSLContext) -> socket.socket:
    # http.client knows no TLS within TLS, and in Python 3.11 no address of IPv6 behind a proxy.
    from urllib3.connection import HTTPSConnection, ProxyConfig
    from urllib3.exceptions import HTTPError

    config = ProxyConfig(trust, use_forwarding_for_https=False, assert_hostname=None, assert_fingerprint=None)
    scheme, host, port = proxy.origin
    tunnel = HTTPSConnection(host, port, timeout=CONNECT_SECONDS, ssl_context=context, proxy_config=config)
    tunnel.set_tunnel(origin[1], origin[2], proxy.headers, scheme)
    try:
        tunnel.connect()
    except BaseException as error:
        tunnel.close()
        if not isinstance(error, HTTPError):
            raise
        why = error.__cause__ or error
        raise ConnectionError(f"the proxy {url_of(proxy.origin)}: {getattr(why, 'strerror', None) or why}") from None
    return tunnel.sock
