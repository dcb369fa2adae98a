"""podman on this host, asked what it sees. Nothing depends on its being there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError
from ..run import find_program, run
from ..settings import Settings
from ..storage.storageconf import StorageConf
from ..storage.store import Store
from ..typed import Document, parse_json

_SECONDS = 120.0


@dataclass(frozen=True)
class Podman:
    """The podman in PATH."""

    program: Path
    version: tuple[int, int]
    store: Document
    """What ``podman info`` says about its storage."""

    def read_conf(self) -> StorageConf:
        """The storage that it works with. Raises DocumentError."""
        return StorageConf(
            driver=self.store.get_str("graphDriverName", ""),
            graphroot=Path(self.store.get_str("graphRoot")),
            runroot=Path(self.store.get_str("runRoot")),
        )

    def check_sees(self, store: Store) -> None:
        """Raises SyscontainersError if it fails, or does not list what is in ``store``."""
        options = _info(self.program).get_object("store").get_object("graphOptions", {})
        missing = {image.id for image in store.images()} - _images(self.program)
        # Old versions show only the last of several stores, which ours is; new ones all.
        if missing or str(store.root) not in str(options.raw()):
            raise SyscontainersError(
                f"podman does not show what is in {store.root}",
                "something else may say which storage.conf it reads: podman info, man 5 containers-storage.conf",
            )


def find_podman(settings: Settings) -> Podman | None:
    """The podman of this host, or None. Raises SyscontainersError if it is there and does not work."""
    program = _find_program(settings)
    if program is None:
        return None
    info = _info(program)
    version = info.get_object("version", {}).get_str("Version", "")
    match = re.match(r"(\d+)\.(\d+)", version)
    return Podman(program, (int(match[1]), int(match[2])) if match else (0, 0), info.get_object("store"))


def podman_works(settings: Settings) -> bool:
    """Whether there is a podman that can list its images."""
    program = _find_program(settings)
    if program is None:
        return False
    try:
        _images(program)
    except SyscontainersError:
        return False
    return True


def _find_program(settings: Settings) -> Path | None:
    # Of a tree that is being built nobody can be asked.
    return find_program("podman") if settings.host == Path("/") else None


def _info(program: Path) -> Document:
    return Document.parse(run([program, "info", "--format", "json"], timeout=_SECONDS).stdout, "podman info")


def _images(program: Path) -> set[str]:
    output = run([program, "images", "--all", "--no-trunc", "--format", "json"], timeout=_SECONDS).stdout
    rows = parse_json(output, "podman images")
    return {Document(row, "podman images").get_str("Id") for row in rows or []}
