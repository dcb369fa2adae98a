"""Seeds and declarations inside a throw-away machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from tests.images import Image, layout_files
from tests.machine.command import syscontainer
from tests.machine.host import ThrowawayHost

DECLARED = "/etc/syscontainers/containers.d"
SEEDS = "/var/lib/syscontainers/seeds"
LOCK = "/etc/syscontainers/containers.lock"
STAMP = "/var/lib/syscontainers/applied"
Declare = Callable[..., None]


def write(host: ThrowawayHost, path: str, data: bytes) -> None:
    """Write a file of the machine, with its directories."""
    target = host.path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def seed(host: ThrowawayHost, images: Mapping[str, Image], directory: str = f"{SEEDS}/layout") -> None:
    """Make a layout with these images in place of the one that is there."""
    host.run(["rm", "-rf", directory])
    for name, data in layout_files(images).items():
        write(host, f"{directory}/{name}", data)


def forget_everything(host: ThrowawayHost) -> None:
    """Remove what was declared, by ``apply --prune``, and what came with it."""
    host.run(["rm", "-rf", DECLARED, SEEDS, LOCK])
    syscontainer(host, "apply", "--prune")
    images = json.loads(syscontainer(host, "images", "--json").stdout)
    for row in images:
        if any(name.startswith("seed.example/") for name in row["names"]):
            syscontainer(host, "image", "rm", *row["names"])
    syscontainer(host, "prune")
    host.run(["rm", "-rf", STAMP])
