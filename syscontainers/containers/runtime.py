"""The OCI runtime that containers run with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import SyscontainersError
from ..run import find_program, run

_KNOWN = ("runc", "crun")
_VERSION = re.compile(r"(?P<name>\w+) version (?P<version>\d+(?:\.\d+)*(?:-rc[.\d]*)?)")

# Below these a hostile image can reach the host whatever our config says: CVE-2019-5736 in runc before 1.0-rc7 and
# CVE-2021-30465 before 1.0-rc95, CVE-2019-18837 in crun before 0.10.5.
_OLDEST = {"runc": (1, 0, 0), "crun": (0, 10, 5)}

_Version = tuple[int, ...]
# What newer releases have mended, from which version (included) to which (excluded). No reason to refuse: nothing
# that we render and no image that we accept leads there by itself, and distributions mend old versions.
_WEAK: tuple[tuple[str, _Version, _Version, str], ...] = (
    ("runc", (0,), (1, 1, 12), "CVE-2024-21626"),
    ("runc", (0,), (1, 2, 8), "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881"),
    ("runc", (1, 3), (1, 3, 3), "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881"),
    ("crun", (0,), (1, 4, 4), "CVE-2022-27650"),
)


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime that is there and runs."""

    path: Path
    name: str
    version: str

    @property
    def notices(self) -> tuple[str, ...]:
        """What its owner should know: weaknesses that newer releases have mended."""
        version = _parse(self.version)
        known = [cves for name, since, until, cves in _WEAK if name == self.name and since <= version < until]
        if not known or not version:
            return ()
        mended = f"{self.path}: {self.name} {self.version} is older than the releases that mend {', '.join(known)}"
        return (f"{mended}; see whether your distribution has mended it",)


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
    if _parse(match["version"]) < _OLDEST.get(match["name"], ()):
        raise SyscontainersError(
            f"{path}: {match['name']} {match['version']} cannot contain a hostile image", "install a newer one"
        )
    return Runtime(path, match["name"], match["version"])


def _parse(version: str) -> _Version:
    numbers, _, candidate = version.partition("-rc")
    parsed = tuple(int(part) for part in numbers.split(".") if part.isdecimal())
    # A release candidate comes before its release.
    return (*parsed[:-1], parsed[-1] - 1) if candidate and parsed else parsed
