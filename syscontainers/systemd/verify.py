"""Asking systemd's own parser about units before they are published, by ``systemd-analyze verify``.

The units lie in a private directory that stands first in the search path (``SYSTEMD_UNIT_PATH`` with a trailing
colon, systemd.unit(5)); behind it come the host's own, in which dependencies are found. Nothing of the host is
touched and PID 1 is not asked, so this works in a chroot and where no systemd runs.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..run import run


@dataclass(frozen=True)
class Finding:
    """Something systemd complains about in one of our units."""

    unit: str
    """File name of the unit or of its drop-in, as ``NAME.service.d/10-x.conf``."""
    line: int
    """0 where it is about the unit as a whole."""
    text: str
    fatal: bool = False
    """systemd will not load the unit; otherwise it ignores the setting, or misses something on this host."""

    def __str__(self) -> str:
        place = f"{self.unit}:{self.line}" if self.line else self.unit
        return f"{place}: {self.text}"


def verify_texts(texts: Mapping[str, str]) -> tuple[Finding, ...]:
    """Check units that exist only as text, by file name (``NAME.service``, ``NAME.service.d/10-x.conf``).

    Raises SyscontainersError where systemd-analyze is missing.
    """
    with tempfile.TemporaryDirectory(prefix="syscontainers-verify.") as scratch:
        directory = Path(scratch)
        for name, text in texts.items():
            file = directory / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return verify_directory(directory)


def verify_directory(directory: Path) -> tuple[Finding, ...]:
    """Check all units directly in ``directory``, with their drop-ins. Raises SyscontainersError."""
    units = sorted(path for path in directory.iterdir() if path.is_file())
    if not units:
        return ()
    done = run(["systemd-analyze", "verify", "--man=no", *units], check=False, env=_environment(directory))
    lines = done.stderr.decode(errors="replace").splitlines()
    return tuple(_findings(lines, directory, {path.name for path in units}))


def _environment(directory: Path) -> dict[str, str]:
    # The log's form can be changed by the environment; what is read below is the plain one.
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SYSTEMD_")}
    return {**kept, "LC_ALL": "C", "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_UNIT_PATH": f"{directory}:"}


_IN_FILE = re.compile(r"(?P<file>/.*?):(?P<line>[0-9]+): (?P<text>.*)")
_OF_UNIT = re.compile(r"(?P<unit>\S+): (?P<text>.*)")
# bus_unit_validate_load_state() in systemd: why a unit was not loaded, as sentences that D-Bus clients get as well.
_NOT_LOADED = re.compile(r"Unit (?P<unit>\S+) (?P<text>has a bad unit file setting|failed to load properly.*)")


def _findings(lines: Iterable[str], directory: Path, units: set[str]) -> Iterable[Finding]:
    """Sort the complaints about our units out of those about everybody else's."""
    for line in lines:
        if match := _IN_FILE.fullmatch(line):
            file = Path(match["file"])
            if file.is_relative_to(directory):
                yield Finding(str(file.relative_to(directory)), int(match["line"]), match["text"])
        elif (match := _NOT_LOADED.match(line)) and match["unit"] in units:
            yield Finding(match["unit"], 0, match["text"], fatal=True)
        elif (match := _OF_UNIT.fullmatch(line)) and match["unit"] in units:
            yield Finding(match["unit"], 0, match["text"])
