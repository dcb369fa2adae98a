"""The OCI runtime that containers run with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError
from ..run import find_program, run

_KNOWN = ("runc", "crun")
_VERSION = re.compile(r"(?P<name>\w+) version (?P<version>\d+(?:\.\d+)*)")

# Below these a hostile image can reach the host whatever our config says: CVE-2019-5736 in runc before 1.0-rc7
# (and its later family), CVE-2019-18837 in crun before 0.10.5.
_OLDEST = {"runc": (1, 0, 0), "crun": (0, 10, 5)}


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime that is there and runs."""

    path: Path
    name: str
    version: str


def find_runtime(wanted: str) -> Runtime:
    """The runtime ``wanted`` (a name or path), or the first known one there is when it is empty.

    Raises SyscontainersError for one that is missing, does not run, or is known to be unsafe.
    """
    candidates = (wanted,) if wanted else _KNOWN
    for candidate in candidates:
        path = Path(candidate) if candidate.startswith("/") else find_program(candidate)
        if path is not None and path.is_file():
            return _probe(path)
    named = f"the runtime {wanted} is not installed" if wanted else "no OCI runtime is installed"
    raise SyscontainersError(named, "install runc or crun, or name another with --runtime or in the settings")


def _probe(path: Path) -> Runtime:
    text = run([path, "--version"]).stdout.decode(errors="replace")
    match = _VERSION.match(text)
    if match is None:
        return Runtime(path, path.name, "unknown")
    version = tuple(int(part) for part in match["version"].split("."))
    if version < _OLDEST.get(match["name"], ()):
        raise SyscontainersError(
            f"{path}: {match['name']} {match['version']} cannot contain a hostile image", "install a newer one"
        )
    return Runtime(path, match["name"], match["version"])
