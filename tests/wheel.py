"""Building and installing the wheel, for those who want to see the package as others get it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

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


def _call(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(argv)}: exit status {done.returncode}\n{done.stdout}")
