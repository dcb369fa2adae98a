"""Which generations are kept, and which layers they keep in the storage."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from ..errors import SyscontainersError
from ..storage.inuse import layers_in_mounts, layers_of_options
from ..systemd.unitfile import parse
from .bundle import bundle_layers
from .context import Context
from .generation import Generation, all_generations, list_generations
from .mounting import mounted_layers
from .publish import mount_file, saved_names

_NO_UNIT = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP)


def generations_to_drop(context: Context, current: Generation, new: Generation) -> tuple[int, ...]:
    """The numbers of generations of a container that go when ``new`` has become the current one.

    The newest ``keep_generations`` stay, ``new`` and the one it replaces always among them.
    """
    numbers = {generation.number for generation in list_generations(context, new.name)} | {new.number}
    kept = sorted(numbers, reverse=True)[: context.settings.keep_generations]
    return tuple(sorted(numbers - set(kept) - {current.number, new.number}))


def pinned_layers(context: Context) -> frozenset[str]:
    """The layers that some root is made of: of a generation, of what runs once, of whatever is mounted now.

    A generation whose record is damaged needs those that its mount units name: by nothing else can its root be
    mounted. Where not even that can be told, as with a disk that fails, no layer may go.
    """
    pinned = {*bundle_layers(context), *mounted_layers(context), *layers_in_mounts(context.store)}
    for generation in all_generations(context):
        try:
            pinned.update(_layers_in_units(context, generation))
        except OSError:
            return frozenset(context.store.layers())
        with contextlib.suppress(SyscontainersError):
            pinned.update(generation.read_info().layers)
    return frozenset(pinned)


def damaged_generations(context: Context) -> Iterator[str]:
    """What is to be told of those whose record cannot be read; their layers stay all the same."""
    for generation in all_generations(context):
        try:
            generation.read_info()
        except SyscontainersError as error:
            yield f"{error.message}; syscontainer uninstall {generation.name} removes it"


def _layers_in_units(context: Context, generation: Generation) -> set[str]:
    """Those that its mount unit names, the published one or the one that a rollback would publish."""
    found: set[str] = set()
    for path in (generation.directory / saved_names(generation)["mount"], mount_file(context, generation)):
        try:
            unit = parse(path.read_text(errors="replace"))
        except OSError as error:
            if error.errno not in _NO_UNIT:
                raise
        else:
            # Only what systemd itself would take: with anything else nothing is mounted.
            found.update(layers_of_options(context.store, unit.get("Mount", "Options").replace("%%", "%")))
    return found
