"""Building and installing the wheel, for those who want to see the package as others get it."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from examples.locked import locked

CHECKOUT = Path(__file__).parents[1]
SOURCES = (
    *("syscontainers", "templates", "units", "docs"),
    *("pyproject.toml", "setup.cfg", "README.md", "LICENSE", "NEWS.md"),
)


class BuildError(Exception):
    """A step of building or installing failed; the text is all that it wrote."""


def build_wheel(output: Path) -> Path:
    """Build into ``output``. Raises BuildError.

    From a copy: in the tree setuptools leaves a build directory behind, and packs what an earlier build left in it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for name in SOURCES:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, Path(scratch) / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, scratch)
        _call([sys.executable, "-m", "build", "--wheel", "--outdir", str(output), scratch])
    (wheel,) = output.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, environment: Path) -> None:
    """Make an environment with nothing but ``wheel`` and what it requires. Raises BuildError."""
    _call(["/usr/bin/python3", "-m", "venv", str(environment)])
    # Isolated: with the checkout in PYTHONPATH pip would take the package for installed.
    pip = [str(environment / "bin/python"), "-I", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _call([*pip, "install", str(wheel)])


def installed_commands() -> Path:
    """The directory of ``syscontainer`` as whoever has no checkout has it; built unless it is of these very sources.

    Raises BuildError.
    """
    directory = CHECKOUT / ".cache/installed" / _fingerprint()
    # Environments cannot be built aside and renamed, for their scripts name their own place: one builds, others wait.
    with locked(directory / "lock"):
        if not (directory / "ready").exists():
            _forget_old_environments(directory)
            shutil.rmtree(directory / "venv", ignore_errors=True)
            install_wheel(build_wheel(directory), directory / "venv")
            (directory / "ready").touch()
    return directory / "venv/bin"


def _forget_old_environments(mine: Path) -> None:
    """Those of other sources; whoever runs at this moment may still need one from a while ago."""
    for other in mine.parent.iterdir():
        if other != mine and time.time() - other.stat().st_mtime > 3600:
            shutil.rmtree(other, ignore_errors=True)


def _fingerprint() -> str:
    """Changes when anything that goes into the wheel does."""
    files = [CHECKOUT / "pyproject.toml", CHECKOUT / "setup.cfg"]
    for directory in ("syscontainers", "templates", "units"):
        files += [path for path in (CHECKOUT / directory).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _call(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(argv)}: exit status {done.returncode}\n{done.stdout}")
