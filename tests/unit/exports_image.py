"""An image's root as a directory of the test, and what its config and its exports say."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from syscontainers.exports.capabilities import NAMES
from syscontainers.exports.compose import Composition, compose
from syscontainers.exports.contract import read_exports
from syscontainers.exports.host import Host
from syscontainers.exports.values import Target
from syscontainers.images.config import ImageConfig

HOST = Host(capabilities=frozenset(NAMES), selinux=False, apparmor=False)


def make_image(root: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Fill ``root``: text or bytes make a file, None a directory, ``-> TARGET`` a symbolic link."""
    for name, content in {"bin/true": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content.removeprefix("-> "))
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@contextlib.contextmanager
def open_image(root: Path) -> Iterator[int]:
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_config(**settings: Any) -> ImageConfig:
    """An image config with the given keys of its ``config``, spelled as in the document."""
    document = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": {"Entrypoint": ["/bin/true"], **settings},
    }
    return ImageConfig.parse(json.dumps(document).encode(), "config")


def make_target(**changes: Any) -> Target:
    return Target(
        **{
            "name": "etcd",
            "directory": Path("/var/lib/syscontainers/containers/etcd.0"),
            "image_name": "registry.example/etcd:3.5",
            "image_id": "ab" * 32,
            "runtime": Path("/usr/sbin/runc"),
            **changes,
        }
    )


def compose_image(
    root: Path,
    values: Mapping[str, str] | None = None,
    *,
    image: ImageConfig | None = None,
    host: Host = HOST,
    on: Path = Path("/nonexistent"),
) -> Composition:
    with open_image(root) as tree:
        return compose(make_target(host=on), read_exports(tree), image or make_config(), tree, values or {}, host)


def compose_config(root: Path, values: Mapping[str, str] | None = None, **others: Any) -> dict[str, Any]:
    """The finished runtime config alone."""
    config = compose_image(root, values, **others).config
    assert config is not None
    return config.data
