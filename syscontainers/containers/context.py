"""What every recipe needs of its surroundings, passed explicitly and never changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..progress import Progress
from ..settings import Settings
from ..storage.store import Store

if TYPE_CHECKING:  # a pull needs nothing of containers
    from .info import Info


@dataclass(frozen=True)
class Context:
    """The settings of this host and where messages go."""

    settings: Settings
    progress: Progress
    early: bool = False
    """Whether this is boot, before services may start: then none is waited for, and those to come are on trial."""

    @property
    def store(self) -> Store:
        """The image store; opening it costs nothing until it is asked."""
        return Store(self.settings.storage, self.settings.storage_staging, self.progress.warn_once)

    def using_storage(self, root: Path) -> Context:
        """The same with the storage at ``root`` and no other."""
        return replace(self, settings=replace(self.settings, storage=root, storage_chosen=True))

    def at_storage_of(self, info: Info) -> Context:
        """The same with the storage in which a generation's layers are, unless the user has chosen one."""
        is_free = info.storage and not self.settings.storage_chosen
        return self.using_storage(Path(info.storage)) if is_free else self

    def unit_file(self, unit: str) -> Path:
        """Where the file of ``unit`` lives."""
        return self.settings.units / unit

    def tmpfiles_file(self, name: str) -> Path:
        """Where the tmpfiles rules of container ``name`` live."""
        return self.settings.tmpfiles / f"{name}.conf"
