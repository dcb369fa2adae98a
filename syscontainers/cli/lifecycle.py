"""Start, stop or restart a container's service, or choose whether it starts at boot.

The same as systemctl does, except that start and restart wait until the service has proved to keep running, and
show the end of its journal when it does not; and that all wait while another command changes the container, for up to
a minute, and say which. To stop a service in the middle of an update that hangs, interrupt the update, which takes it
back; systemctl stop waits for nobody, and the update takes that for a failure of the new generation.
"""

from __future__ import annotations

import argparse

from ..containers import control
from ..containers.context import Context
from ..progress import Progress
from ..settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of all five verbs."""
    parser.add_argument("names", metavar="NAME", nargs="+", help="a container")


def do_start(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Start each and wait for it to be healthy."""
    control.start(Context(settings, progress), options.names)
    return 0


def do_stop(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Stop each."""
    control.stop(Context(settings, progress), options.names)
    return 0


def do_restart(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Stop and start each and wait for it to be healthy."""
    control.restart(Context(settings, progress), options.names)
    return 0


def do_enable(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Start each at boot."""
    control.enable(Context(settings, progress), options.names)
    return 0


def do_disable(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Do not start each at boot."""
    control.disable(Context(settings, progress), options.names)
    return 0
