"""From a reference to the source that it names. Only that one is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..progress import Progress
from ..settings import Settings
from .credentials import Credentials, find_credentials
from .reference import Reference
from .sources import Source
from .transfers import Transfers


@contextlib.contextmanager
def open_source(
    reference: Reference,
    settings: Settings,
    transfers: Transfers,
    plain_http: bool = False,
    authfile: Path | None = None,
    credentials: Credentials | None = None,
    progress: Progress | None = None,
) -> Iterator[Source]:
    """The place that ``reference`` names. Raises NotFoundError, UsageError and what reading its files raises."""
    if reference.transport == "docker":
        from .registry import Access, RegistrySource

        access = Access(
            plain_http=plain_http,
            insecure=_is_insecure(reference.registry, settings),
            credentials=credentials or find_credentials(reference, authfile),
        )
        with contextlib.closing(RegistrySource(reference, access, transfers)) as source:
            yield source
    elif reference.path is None:
        from .containers_storage import ContainersStorageSource

        yield ContainersStorageSource(reference, settings, progress or Progress(quiet=True))
    else:
        with _open_path(reference, reference.path, settings) as source:
            yield source


@contextlib.contextmanager
def _open_path(reference: Reference, path: Path, settings: Settings) -> Iterator[Source]:
    from .archive import DirectoryFiles, open_tar
    from .docker_archive import DockerArchiveSource
    from .layout import DirectorySource, LayoutSource

    if reference.transport == "oci":
        yield LayoutSource(reference, DirectoryFiles(path))
    elif reference.transport == "dir":
        yield DirectorySource(reference, DirectoryFiles(path))
    else:
        with open_tar(path, _scratch(settings)) as files:
            kind = LayoutSource if reference.transport == "oci-archive" else DockerArchiveSource
            yield kind(reference, files)


def _scratch(settings: Settings) -> Path:
    """The file system of the storage: the one that has room for images, while /tmp is often memory."""
    return next(path for path in (settings.storage, *settings.storage.parents) if path.is_dir())


def _is_insecure(registry: str, settings: Settings) -> bool:
    host = registry.partition(":")[0]
    return registry in settings.insecure_registries or host in settings.insecure_registries
