"""The image config: what an image's author said about running it.

OCI image-spec, "Image Configuration". Everything in it is the author's word: it is typed and bounded here, and
interpreted by ``exports/`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..typed import Document, check_texts
from .digests import is_digest
from .documents import Platform
from .shape import CONFIG, check_shape

NO_TIME = "0001-01-01T00:00:00Z"
"""What Go prints for a time that is not set."""


@dataclass(frozen=True)
class ImageConfig:
    """One image's configuration; absent lists and strings are empty."""

    platform: Platform
    created: str
    diff_ids: tuple[str, ...]
    """The digests of the layers' uncompressed tars, base first."""
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[str, ...]
    """``NAME=VALUE`` each, in the author's order."""
    working_dir: str
    user: str
    stop_signal: str
    volumes: tuple[str, ...]
    exposed_ports: tuple[str, ...]
    """``PORT``, ``PORT/tcp`` or ``PORT/udp``."""
    labels: Mapping[str, str]

    @classmethod
    def parse(cls, data: bytes, where: str) -> ImageConfig:
        """Read the JSON of a config blob. Raises DocumentError."""
        document = Document.parse(data, where)
        check_texts(document.raw(), where)
        check_shape(document, CONFIG)
        run = document.get_object("config", {})
        return cls(
            platform=_read_platform(document),
            created=document.get_str("created", NO_TIME),
            diff_ids=_read_diff_ids(document),
            entrypoint=tuple(run.get_strings("Entrypoint", [])),
            cmd=tuple(run.get_strings("Cmd", [])),
            env=tuple(run.get_strings("Env", [])),
            working_dir=run.get_str("WorkingDir", ""),
            user=run.get_str("User", ""),
            stop_signal=run.get_str("StopSignal", ""),
            volumes=tuple(run.get_object("Volumes", {})),
            exposed_ports=tuple(run.get_object("ExposedPorts", {})),
            labels=run.get_string_map("Labels", {}),
        )


def _read_platform(document: Document) -> Platform:
    return Platform(document.get_str("os"), document.get_str("architecture"), document.get_str("variant", ""))


def _read_diff_ids(document: Document) -> tuple[str, ...]:
    root = document.get_object("rootfs")
    if root.get_str("type") != "layers":
        root.fail("type", f"must be 'layers', not {root.get_str('type')[:40]!r}")
    digests = root.get_strings("diff_ids", [])
    for number, digest in enumerate(digests):
        if not is_digest(digest):
            root.fail(f"diff_ids[{number}]", f"must be sha256: and 64 hexadecimal digits, not {digest[:80]!r}")
    return tuple(digests)
