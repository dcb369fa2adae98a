"""What images of a store may be called: ``REGISTRY/REPOSITORY:TAG`` or ``REGISTRY/REPOSITORY@sha256:…``.

Grammar: distribution/reference, the normalised form. A single name that containers/image cannot parse makes ``podman
images`` fail for the whole store (seen with 4.3: a transport before the name, a host in brackets, capitals in a host
without a dot, control characters), so none may get in, whoever thought it out.
"""

from __future__ import annotations

import re

from ..errors import UsageError

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::(?P<port>[0-9]{{1,5}}))?")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"(?P<registry>[^/@]+)/(?P<path>[^:@]+)(?::(?P<tag>.+)|@(?P<digest>sha256:[0-9a-f]{64}))")
_LONGEST_NAME = 255
EXAMPLE = "write it like registry.example/group/name:tag"


def is_registry(host: str) -> bool:
    """Whether ``host`` can be a registry and nothing else: the first part of a repository has neither dot nor colon."""
    match = _HOST.fullmatch(host)
    is_host = "." in host or ":" in host or host == "localhost"
    return match is not None and is_host and int(match["port"] or 1) in range(1, 65536)


def is_repository(registry: str, path: str) -> bool:
    """Whether ``path`` can be a repository's of ``registry``."""
    return _PATH.fullmatch(path) is not None and len(f"{registry}/{path}") <= _LONGEST_NAME


def is_tag(text: str) -> bool:
    """Whether ``text`` can be a tag."""
    return _TAG.fullmatch(text) is not None


def check_name(name: str) -> None:
    """Raises UsageError for a name that not every reader of the store could parse."""
    match = _NAME.fullmatch(name)
    if match is None or not (
        is_registry(match["registry"])
        and is_repository(match["registry"], match["path"])
        and (match["digest"] or is_tag(match["tag"]))
    ):
        raise UsageError(f"{name!r}: no image can be called so, for podman could not read it", EXAMPLE)


def repository_of(name: str) -> str:
    """A canonical name without its tag or digest."""
    name = name.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
