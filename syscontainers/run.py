"""Child processes: argument lists only, failures told whole.

``pass_fds`` is never used: a child, least of all a container runtime, inherits no descriptor of ours
(CVE-2024-21626's family).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .errors import SyscontainersError


def find_program(name: str) -> Path | None:
    """The absolute path of ``name`` in PATH and the system's sbin directories, or None."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = 120.0,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``argv`` and capture its output.

    With ``check`` a non-zero exit raises SyscontainersError with the command as a user could paste it and the
    last line it wrote; so does a missing program and one that takes more than ``timeout`` seconds.
    """
    words = [os.fspath(word) for word in argv]
    command = shlex.join(words)
    try:
        done = subprocess.run(words, input=stdin or b"", capture_output=True, env=env, timeout=timeout, check=False)
    except FileNotFoundError:
        raise SyscontainersError(
            f"{words[0]}: program not found", f"install it, or put it in PATH: {command}"
        ) from None
    except subprocess.TimeoutExpired:
        raise SyscontainersError(f"{command}: no answer after {timeout:.0f} seconds") from None
    if check and done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it wrote nothing to stderr"]
        raise SyscontainersError(f"{command}: exit status {done.returncode}: {lines[-1]}", "run that command by hand")
    return done


def replace_process(argv: Sequence[str | Path]) -> NoReturn:
    """Become ``argv``: its terminal, signals and exit code are then the user's own. Raises SyscontainersError."""
    words = [os.fspath(word) for word in argv]
    try:
        os.execvp(words[0], words)
    except OSError as error:
        raise SyscontainersError(f"{shlex.join(words)}: {error.strerror}") from None
