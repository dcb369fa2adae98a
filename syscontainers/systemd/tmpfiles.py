"""Applying one file of tmpfiles.d(5) rules, by systemd-tmpfiles(8), which works without a running systemd too."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ..errors import SyscontainersError
from ..run import run

_EX_DATAERR = 65  # systemd-tmpfiles(8), "Exit status": some lines were not valid and were ignored


def create(path: Path) -> None:
    """Create what the rules in ``path`` ask for; a file that is not there asks for nothing.

    Raises SyscontainersError with what systemd-tmpfiles said last.
    """
    _apply("--create", path)


def remove(path: Path) -> None:
    """Remove what the rules in ``path`` mark for removal (``r``, ``R``, ``D``); nothing without the file.

    Raises SyscontainersError.
    """
    _apply("--remove", path)


def _apply(action: str, path: Path) -> None:
    if path.exists():
        run(["systemd-tmpfiles", action, path])


def check_rules(text: str) -> tuple[str, ...]:
    """What is wrong with rules, before they touch the host: they are carried out below an empty directory.

    Only what systemd-tmpfiles calls invalid counts; what fails because the directory is empty does not.
    """
    with tempfile.TemporaryDirectory(prefix="syscontainers-tmpfiles.") as scratch:
        root = Path(scratch)
        _copy_accounts(root)
        rules = root / "rules.conf"
        rules.write_text(text)
        try:
            done = run(["systemd-tmpfiles", "--create", f"--root={root}", rules], check=False)
        except SyscontainersError:
            return ()  # no systemd-tmpfiles: applying the rules will say so
        if done.returncode != _EX_DATAERR:
            return ()
        lines = done.stderr.decode(errors="replace").splitlines()
    return tuple(line.partition("rules.conf:")[2] for line in lines if "rules.conf:" in line)


def _copy_accounts(root: Path) -> None:
    """With ``--root=`` names of users and groups are looked up below it."""
    (root / "etc").mkdir()
    for name in ("passwd", "group"):
        source = Path("/etc") / name
        if source.exists():
            shutil.copy(source, root / "etc" / name)
