"""Whether a container still is what was installed: its record, its files, what was published, and its layers.

Each generation's files are compared with the checksums in its record; what stands on the host for the current one with
the saved copies; host files with what was written; the layers, file by file, with their digests. Changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import NotFoundError, RefusedError, SyscontainersError
from ..storage.store import Store
from ..storage.verify import verify_layer
from ..systemd.manager import NoSystemdError, connect
from .changes import read_content
from .context import Context
from .generation import Generation, current_generation, list_generations
from .hostfiles import fingerprint, read_owned
from .info import Info
from .names import check_name, service_unit
from .publish import published_places, saved_names

_GOOD = ("loaded", "masked")


class Verifier:
    """Verifies containers one after the other; layers that several share are read once."""

    def __init__(self, context: Context, *, layers: bool = True) -> None:
        self._context = context
        self._read_layers = layers
        self._layers: dict[tuple[Path, str], list[str]] = {}

    def verify(self, name: str) -> list[str]:
        """All that is not as it should be, a line each. Raises NotFoundError for an unknown container, UsageError."""
        generations = list_generations(self._context, check_name(name))
        try:
            current = current_generation(self._context, name)
        except NotFoundError as error:
            if not generations and not (self._context.settings.containers / name).is_symlink():
                raise
            return [error.message]
        found = [line for generation in sorted({current, *generations}) for line in self._verify_generation(generation)]
        return [*found, *self._verify_published(current), *self._verify_host_files(name), *self._verify_unit(current)]

    def _verify_generation(self, generation: Generation) -> Iterator[str]:
        try:
            info = generation.read_info()
        except SyscontainersError as error:
            yield error.message
            return
        for name, digest in info.files.items():
            yield from _verify_file(generation.directory / name, digest)
        if info.remote and not Path(info.remote).is_dir():
            yield f"{generation}: its root {info.remote} is gone"
        yield from self._verify_layers(generation, info)

    def _verify_layers(self, generation: Generation, info: Info) -> Iterator[str]:
        store = self._context.at_storage_of(info).store
        for layer_id in info.layers:
            key = store.root, layer_id
            if key not in self._layers:
                self._layers[key] = self._verify_layer(store, layer_id)
            yield from (f"{generation}: {line}" for line in self._layers[key])

    def _verify_layer(self, store: Store, layer_id: str) -> list[str]:
        layer = store.find_layer(layer_id)
        if layer is None:
            return [f"layer {layer_id[:12]}: gone from the storage {store.root}"]
        return [str(finding) for finding in verify_layer(store, layer)] if self._read_layers else []

    def _verify_published(self, current: Generation) -> Iterator[str]:
        for role, path in published_places(self._context, current).items():
            saved = _read(current.directory / saved_names(current)[role])
            published = _read(path)
            if published is None and saved is not None:
                yield f"{path}: missing"
            elif published != saved:
                yield f"{path}: not as it was published"

    def _verify_host_files(self, name: str) -> Iterator[str]:
        try:
            owned = read_owned(self._context, name)
        except RefusedError as error:
            yield error.message
            return
        for path, mark in owned.items():
            content = read_content(self._context.settings.host / path.lstrip("/"))
            if content is None:
                yield f"{path}: missing"
            elif fingerprint(content) != mark:
                yield f"{path}: was modified"

    def _verify_unit(self, current: Generation) -> Iterator[str]:
        """What PID 1 thinks of it; nothing where there is none."""
        unit = service_unit(current.name)
        if not self._context.unit_file(unit).exists():
            return
        try:
            with connect() as manager:
                status = manager.status(unit)
        except NoSystemdError:
            return
        if status.load_state not in _GOOD:
            yield f"{unit}: {status.load_error or status.load_state}"
        elif status.need_reload:
            yield f"{unit}: changed since systemd read it"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:  # a directory in its place is no file either
        return None


def _verify_file(path: Path, digest: str) -> Iterator[str]:
    data = _read(path)
    if data is None:
        yield f"{path}: missing"
    elif hashlib.sha256(data).hexdigest() != digest:
        yield f"{path}: not as it was written"
