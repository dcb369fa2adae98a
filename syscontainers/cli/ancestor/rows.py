"""Our containers and images as the rows that the ancestor's clients read; the JSON keys are its contract."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from ...containers.context import Context
from ...containers.generation import generation_at
from ...containers.inventory import list_images
from ...containers.listing import Row, list_containers
from ...errors import SyscontainersError
from ...progress import human_size
from ..output import human_time

BACKEND = "ostree"
"""What the ancestor called the place of system containers; clients filter by it."""
NONE = "<none>"
# The states its clients know. What is on its way up or down was "inactive" to `systemctl is-active`.
_STATES = {"running": "running", "failed": "failed", "broken": "failed", "no service": "no service"}


@dataclass(frozen=True)
class ContainerRow:
    """One row of ``containers list``."""

    name: str
    image_id: str
    """The manifest's digest without ``sha256:``, as in the variable IMAGE_ID and in ``images list``."""
    image_name: str
    command: str
    created: str
    state: str
    runtime: str
    problem: str = ""
    backend: str = BACKEND

    @property
    def is_shown(self) -> bool:
        """Whether ``containers list`` shows it without ``--all``: the ancestor hid only what is inactive."""
        return self.state != "inactive"

    def to_json(self) -> dict[str, object]:
        """Its keys; ``id`` is the name, and ``running`` means what ``is_shown`` does."""
        return {
            "id": self.name,
            "image_id": self.image_id,
            "image_name": self.image_name,
            "name": self.name,
            "command": self.command,
            "created": self.created,
            "state": self.state,
            "backend": self.backend,
            "runtime": self.runtime,
            "vulnerable": False,
            "running": self.is_shown,
        }


def container_rows(context: Context) -> list[ContainerRow]:
    """Every container; a broken one is a row with what is known of it."""
    return [_container_row(context, row) for row in list_containers(context)]


def _container_row(context: Context, row: Row) -> ContainerRow:
    info = row.info
    return ContainerRow(
        name=row.name,
        image_id=info.revision if info else "",
        image_name=info.image if info else "",
        command=_read_command(context, row),
        created=human_time(info.created) if info else "",
        state=_STATES.get(row.state, "inactive"),
        runtime=info.runtime if info else "",
        problem=row.problem,
    )


def _read_command(context: Context, row: Row) -> str:
    if row.generation is None:
        return ""
    try:
        return " ".join(generation_at(context, row.name, row.generation).read_command())
    except (SyscontainersError, OSError):
        return ""  # a damaged config must not hide the container, nor the others


@dataclass(frozen=True)
class ImageRow:
    """One name of one image, or an image or layer without a name."""

    repo: str
    tag: str
    id: str
    """As ``ContainerRow.image_id``; of a layer, its ID in the storage."""
    created: str
    size: int
    dangling: bool
    used: bool
    type: str = BACKEND

    @property
    def virtual_size(self) -> str:
        """Bytes unpacked, for people."""
        return human_size(self.size)

    @property
    def marker(self) -> str:
        """``*`` for one without a name, ``>`` for one that a container uses."""
        return "*" if self.dangling else ">" if self.used else ""

    def to_json(self) -> dict[str, object]:
        """Its keys."""
        return {
            "repo": self.repo,
            "tag": self.tag,
            "is_dangling": self.dangling,
            "used": self.used,
            "vulnerable": False,
            "id": self.id,
            "type": self.type,
            "created": self.created,
            "virtual_size": self.virtual_size,
            "backend": self.type,
            "vuln_info": {},
        }


def image_rows(context: Context, *, layers: bool = False) -> list[ImageRow]:
    """A row for each name of each image, and with ``layers`` one for each layer of the storage."""
    rows = list(_rows_of_images(context))
    return [*rows, *_rows_of_layers(context)] if layers else rows


def _rows_of_images(context: Context) -> Iterator[ImageRow]:
    for image in list_images(context):
        for name in image.names or (NONE,):
            repo, tag = split_name(name)
            created = _minutes(image.created)
            digest = image.digest.removeprefix("sha256:")
            yield ImageRow(repo, tag, digest, created, image.size, not image.names, bool(image.used_by))


def _rows_of_layers(context: Context) -> Iterator[ImageRow]:
    for layer in context.store.layers().values():
        yield ImageRow(NONE, NONE, layer.id, _minutes(layer.created), max(layer.diff_size, 0), True, False)


def split_name(name: str) -> tuple[str, str]:
    """Repository and tag; ``<none>`` where a name has none."""
    repo, at, _ = name.partition("@")
    head, colon, tag = repo.rpartition(":")
    if at or not colon or "/" in tag:
        return repo, NONE
    return head, tag


def _minutes(created: str) -> str:
    """An RFC 3339 time as ``YYYY-MM-DD HH:MM`` in the host's zone; empty where it says nothing."""
    try:
        moment = dt.datetime.fromisoformat(created).astimezone()
    except (ValueError, OverflowError):  # Go's "no time" lies before what the C library can show
        return ""
    return moment.strftime("%Y-%m-%d %H:%M") if moment.year > 1 else ""
