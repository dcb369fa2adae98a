"""Complete or undo operations that were cut off, by a crash or a power cut.

Every command does this for the container it is about; at boot syscontainers-recover.service does it for all.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.recover import recover
from ..errors import SyscontainersError
from ..progress import Progress
from ..settings import Settings
from .guard import tell_error


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``recover``."""
    parser.add_argument("--boot", action="store_true", help="for syscontainers-recover.service: wait for no service")


def do_recover(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Recover all; the worst exit code of any."""
    code = 0
    for name, outcome in recover(Context(settings, progress, early=options.boot)).items():
        if isinstance(outcome, SyscontainersError):
            tell_error(outcome, f"{name}: ")
            code = max(code, outcome.exit_code)
        else:
            print(outcome)
    return code
