"""Whom to believe behind https: the system's certificate authorities, and what ``certs.d`` adds for one registry.

containers-certs.d(5). The authorities are the system's, not a bundle that came with a Python package: an owner who
ran ``update-ca-certificates`` has said whom this machine trusts.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from ..errors import UsageError

CERTS_DIRECTORIES = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


def make_context(host: str | None = None, directories: tuple[Path, ...] = CERTS_DIRECTORIES) -> ssl.SSLContext:
    """The TLS settings for ``host`` (with its port, as its directory is called), or for anyone. Raises UsageError."""
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not (paths.cafile or paths.capath):
        import certifi

        context.load_verify_locations(certifi.where())
    # The first directory that exists for a host is the only one looked at.
    for directory in directories if host else ():
        if (directory / str(host)).is_dir():
            _load_directory(context, directory / str(host))
            break
    return context


def _load_directory(context: ssl.SSLContext, directory: Path) -> None:
    for path in sorted(directory.iterdir()):
        try:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
        except (ssl.SSLError, OSError) as error:
            raise UsageError(f"{path}: {error.strerror or error}", "see containers-certs.d(5)") from None
