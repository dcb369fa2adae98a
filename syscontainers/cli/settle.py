"""Decide about generations that became current when nobody could wait for them; boot calls this by itself.

One whose service has come up is kept. One whose service has failed is replaced by the generation before it. One whose
service was not started, or was stopped by somebody, is left for the next boot.
"""

from __future__ import annotations

import argparse

from ..boot.settle import settle
from ..containers.context import Context
from ..errors import SyscontainersError
from ..progress import Progress
from ..settings import Settings
from .guard import tell_error


def configure(parser: argparse.ArgumentParser) -> None:
    """``settle`` takes no arguments."""
    del parser


def do_settle(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Settle all; the worst exit code of any."""
    del options
    code = 0
    for name, outcome in settle(Context(settings, progress)):
        if isinstance(outcome, SyscontainersError):
            tell_error(outcome, f"{name}: ")
            code = max(code, outcome.exit_code)
        else:
            print(outcome, flush=True)
    return code
