"""Starting and stopping what is installed, under the container's lock.

A stop in the middle of an update would look as if the new generation were not healthy, so these wait for whoever
changes the container, and say for whom. systemctl takes no lock of ours: it stops a service at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from .context import Context
from .enablement import remove_links
from .generation import current_generation
from .names import service_unit
from .starting import start_one
from .transaction import changing


def start(context: Context, names: Sequence[str]) -> None:
    """Start each and wait until it is healthy. Raises UnhealthyError, NotFoundError."""
    _check_installed(context, names)
    for name in names:
        with changing(context, name, "start") as manager:
            if manager.status(service_unit(name)).active_state != "active":
                start_one(context, manager, name, restart=False)


def restart(context: Context, names: Sequence[str]) -> None:
    """Restart each and wait until it is healthy. Raises UnhealthyError, NotFoundError."""
    _check_installed(context, names)
    for name in names:
        with changing(context, name, "restart") as manager:
            start_one(context, manager, name, restart=True)


def stop(context: Context, names: Sequence[str]) -> None:
    """Stop each. Raises JobError, NotFoundError."""
    _check_installed(context, names)
    for name in names:
        with changing(context, name, "stop") as manager:
            manager.stop(service_unit(name))


def enable(context: Context, names: Sequence[str]) -> None:
    """Start each at boot. Raises NotFoundError."""
    _check_installed(context, names)
    for name in names:
        with changing(context, name, "enable") as manager:
            manager.enable_units([service_unit(name)])
            manager.reload()


def disable(context: Context, names: Sequence[str]) -> None:
    """Do not start each at boot. Raises NotFoundError."""
    _check_installed(context, names)
    for name in names:
        with changing(context, name, "disable") as manager:
            remove_links(context, manager, name)
            manager.reload()


def _check_installed(context: Context, names: Sequence[str]) -> None:
    # All of them before the first is touched: a misspelt last name must not leave half the work done.
    for name in names:
        current_generation(context, name)
