"""The command line that runs something inside a running container."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import SyscontainersError, UsageError
from ..systemd.manager import connect
from .context import Context
from .generation import current_generation
from .names import service_unit


def exec_command(
    context: Context,
    name: str,
    words: Sequence[str],
    *,
    terminal: bool,
    detach: bool = False,
    user: str | None = None,
    env: Sequence[str] = (),
    cwd: str | None = None,
) -> list[str]:
    """The runtime's ``exec`` for ``words`` in container ``name``.

    Raises NotFoundError for an unknown container, SyscontainersError for one that does not run, UsageError when
    there is nothing to run.
    """
    if not words:
        raise UsageError("exec needs a command", f"syscontainer exec {name} COMMAND [ARGUMENT…]")
    info = current_generation(context, name).read_info()
    with connect() as manager:
        if manager.status(service_unit(name)).active_state not in ("active", "reloading"):
            raise SyscontainersError(f"{name} is not running", f"syscontainer start {name}")
    options = ["--tty"] if terminal and not detach else []
    options += ["--detach"] if detach else []
    options += ["--user", user] if user else []
    options += ["--cwd", cwd] if cwd else []
    for assignment in env:
        options += ["--env", assignment]
    return [info.runtime, "exec", *options, name, *words]
