"""The proxy that the environment names for an address: ``http_proxy``, ``https_proxy``, ``all_proxy``, ``no_proxy``.

``requests`` knows what may stand in them. It is loaded only where one is set: that takes as long as a quarter of an
update of one small layer.
"""

from __future__ import annotations

import os


def find_proxy(url: str) -> str | None:
    """The address, with a login perhaps, of the proxy to reach ``url`` by; None for none."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"
