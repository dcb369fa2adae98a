"""Digests: the only names that can be believed, once the bytes have been compared with them.

OCI image-spec, "Descriptor", section "Digests". Only sha256 is accepted: it is what containers/storage keys its
files by, and what every registry serves.
"""

from __future__ import annotations

import hashlib
import re

from ..errors import DigestError

_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether ``text`` is a whole, well-formed sha256 digest; anything else must not get into a path or URL."""
    # Without this, "sha256:../../etc" travels into file names (CVE-2024-3727).
    return _SHA256.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of a digest that has been checked."""
    return digest.removeprefix("sha256:")


def digest_of(data: bytes) -> str:
    """The digest of ``data``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def verify_digest(data: bytes, digest: str, what: str) -> bytes:
    """Return ``data`` if it has that digest. Raises DigestError."""
    found = digest_of(data)
    if found != digest:
        raise DigestError(f"{what}: has the digest {found}, promised was {digest}", "the source is damaged or lies")
    return data
