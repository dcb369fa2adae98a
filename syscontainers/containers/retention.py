"""Which generations are kept, and which layers they keep in the storage."""

from __future__ import annotations

from ..errors import SyscontainersError
from .bundle import bundle_layers
from .context import Context
from .generation import Generation, all_generations, list_generations
from .mounting import mounted_layers


def generations_to_drop(context: Context, current: Generation, new: Generation) -> tuple[int, ...]:
    """The numbers of generations of a container that go when ``new`` has become the current one.

    The newest ``keep_generations`` stay, ``new`` and the one it replaces always among them.
    """
    numbers = {generation.number for generation in list_generations(context, new.name)} | {new.number}
    kept = sorted(numbers, reverse=True)[: context.settings.keep_generations]
    return tuple(sorted(numbers - set(kept) - {current.number, new.number}))


def pinned_layers(context: Context) -> frozenset[str]:
    """The layers that some root is made of, of a generation, of what runs once or of what is mounted.

    They must stay in the storage.

    Raises SyscontainersError when a generation's record cannot be read: freeing space on a guess could take a
    running service's root away.
    """
    pinned = {*bundle_layers(context), *mounted_layers(context)}
    for generation in all_generations(context):
        try:
            pinned.update(generation.read_info().layers)
        except SyscontainersError as error:
            raise SyscontainersError(
                f"cannot tell which layers {generation} needs: {error.message}",
                f"syscontainer uninstall {generation.name} removes the damaged container",
            ) from None
    return frozenset(pinned)
