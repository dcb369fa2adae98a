"""``EXEC_START`` and its like: the command lines by which a unit runs its container.

Never with ``--systemd-cgroup``: the payload would leave the unit for a scope of its own, where neither the unit's
limits nor ``systemctl kill`` reach it. Measured with runc 1.1.5 and crun 1.8.1, see docs/architecture.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..systemd.detached import notifying_start_command, start_command
from ..systemd.startscript import started
from ..systemd.unitfile import quote_command

NAMES = ("EXEC_START", "EXEC_STOP", "EXEC_STARTPRE", "EXEC_STOPPOST")


class _HasText(Protocol):
    @property
    def text(self) -> str: ...


def is_detached(service_template: str) -> bool:
    """Whether a unit is made for a runtime that leaves: it must clean up by EXEC_STOPPOST and name the PIDFILE."""
    return all(re.search(rf"\$(?:{name}\b|{{{name}}})", service_template) for name in ("EXEC_STOPPOST", "PIDFILE"))


def is_notifying(service_template: str) -> bool:
    """Whether the payload says itself when it is ready."""
    return re.search(r"^[ \t]*Type[ \t]*=[ \t]*notify(-reload)?[ \t]*$", service_template, re.MULTILINE) is not None


def make_commands(
    name: str, directory: Path, values: Mapping[str, _HasText], *, detached: bool, notifying: bool = False
) -> dict[str, str]:
    """The four command lines, ready to stand in a unit. Raises UnitSyntaxError for a runtime's path that cannot.

    ``EXEC_STARTPRE`` is empty, as it always was: what it would do is part of ``EXEC_START``.
    """
    runtime = values["RUNTIME"].text
    bundle = ["--bundle", str(directory), name]
    delete = [runtime, "delete", "--force", name]
    if detached:
        command = notifying_start_command if notifying else start_command
        start = started(directory, runtime, name, command(runtime, values["PIDFILE"].text, directory, name))
        texts = (quote_command(start), "", "", quote_command(delete))
    else:
        start = started(directory, runtime, name, [runtime, "run", *bundle])
        texts = (quote_command(start), quote_command([runtime, "kill", name]), "", "")
    return dict(zip(NAMES, texts, strict=True))
