"""Whom to believe behind https: the system's certificate authorities, and what ``certs.d`` adds for one registry.

containers-certs.d(5). The authorities are the system's, not a bundle that came with a Python package: an owner who
ran ``update-ca-certificates`` has said whom this machine trusts.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from ..errors import UsageError

CERTS_DIRECTORIES = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


def make_context(host: str | None = None) -> ssl.SSLContext:
    """The TLS settings for ``host`` (with its port, as its directory is called), or for anyone. Raises UsageError."""
    context = _system_context()
    context.set_alpn_protocols(["http/1.1"])
    if host and (directory := find_directory(host)):
        _load_directory(context, directory)
    return context


def find_directory(host: str) -> Path | None:
    """What the machine's owner laid down for ``host``; the first that exists is the only one looked at."""
    return next((directory / host for directory in CERTS_DIRECTORIES if (directory / host).is_dir()), None)


def _system_context() -> ssl.SSLContext:
    paths = ssl.get_default_verify_paths()
    named = os.environ.get(paths.openssl_cafile_env)
    # From a directory of hashed names OpenSSL takes the one authority it needs; reading the whole bundle costs 0.1 s.
    if not named and paths.capath and any(Path(paths.capath).glob("*.0")):
        return ssl.create_default_context(capath=paths.capath)
    if paths.cafile or paths.capath:
        return ssl.create_default_context()
    import certifi

    return ssl.create_default_context(cafile=certifi.where())


def _load_directory(context: ssl.SSLContext, directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{path}: {error.strerror or error}", "see containers-certs.d(5)") from None
