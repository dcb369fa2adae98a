"""What the root of a generation is made of, apart from the mount unit that its service uses."""

from __future__ import annotations

from pathlib import Path

from ..errors import SyscontainersError, UsageError
from .context import Context
from .generation import Generation


def find_root(path: Path) -> Path:
    """The root that ``path`` is or holds as ``rootfs``, absolute and without links. Raises UsageError.

    Who made it keeps it: it is neither mounted nor written to nor removed by us, and several containers may share it.
    """
    for root in (path / "rootfs", path):
        if root.is_dir() and (root.name == "rootfs" or (root / "usr").is_dir()):
            return root.resolve()
    raise UsageError(f"{path}: is no root directory", "name a directory that holds rootfs/ or usr/")


def lower_directories(context: Context, generation: Generation) -> list[Path]:
    """Its directories for a second overlay, top-most first, two at least; what it wrote itself is among them.

    Raises SyscontainersError if a layer is missing.
    """
    info = generation.read_info()
    own = [generation.directory / "upper", generation.points]
    store = context.at_storage_of(info).store
    layers = [store.content(layer) for layer in reversed(info.layers)]
    missing = [str(layer) for layer in layers if not layer.is_dir()]
    if missing or not layers:
        raise SyscontainersError(f"{generation}: its layers are gone from the storage: {', '.join(missing)}")
    found = [*(path for path in own if path.is_dir()), *layers]
    return found if len(found) > 1 else [*found, generation.directory / "rootfs"]
