"""Which systemd will read our units: the installed one, whether it runs already or not.

In an image that is only being built, or early at boot, nobody answers on D-Bus; the programs are there.
"""

from __future__ import annotations

import re

from ..errors import SyscontainersError
from ..run import run

_FIRST_LINE = re.compile(r"systemd (\d+)\b")


def installed_version() -> int:
    """The major version, like 252. Raises SyscontainersError where there is no systemd or it says something else."""
    said = run(["systemd-analyze", "--version"]).stdout.decode(errors="replace")
    match = _FIRST_LINE.match(said)
    if match is None:
        raise SyscontainersError(f"systemd-analyze --version: no version in {said[:80]!r}", "see what is in the PATH")
    return int(match[1])
