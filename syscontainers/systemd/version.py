"""Which systemd will read our units: the installed one, whether it runs already or not.

In an image that is only being built, or early at boot, nobody answers on D-Bus; the programs are there.
"""

from __future__ import annotations

import re

from ..errors import SyscontainersError
from ..run import run

_NUMBER = re.compile(r"\d+")


def major_version(text: str) -> int:
    """252 of ``252.39-1~deb12u2`` and of ``systemd 252 (252.39-1~deb12u2)``; 0 of what has no number."""
    match = _NUMBER.search(text)
    return int(match[0]) if match else 0


def installed_version() -> int:
    """The major version, like 252. Raises SyscontainersError where there is no systemd or it says something else."""
    said = run(["systemd-analyze", "--version"]).stdout.decode(errors="replace")
    version = major_version(said)
    if not version:
        raise SyscontainersError(f"systemd-analyze --version: no version in {said[:80]!r}", "see what is in the PATH")
    return version
