"""Ending what was cut off: every operation that left a record is completed or undone."""

from __future__ import annotations

from ..errors import SyscontainersError, from_os_error
from ..systemd.manager import connect
from .context import Context
from .journal import names_with_records
from .lock import container_lock
from .transaction import finish_interrupted


def recover(context: Context) -> dict[str, str | SyscontainersError]:
    """Finish each interrupted operation; the failure of one does not stop the rest.

    Returns, by container, what was done or why it could not be.
    """
    outcomes: dict[str, str | SyscontainersError] = {}
    for name in names_with_records(context):
        try:
            told = _recover_one(context, name)
        except SyscontainersError as error:
            outcomes[name] = error
        except OSError as error:
            outcomes[name] = from_os_error(error)
        else:
            if told is not None:  # else whoever held the lock has just ended it
                outcomes[name] = told
    return outcomes


def _recover_one(context: Context, name: str) -> str | None:
    with container_lock(context, name, "recover"), connect() as manager:
        return finish_interrupted(context, manager, name)
