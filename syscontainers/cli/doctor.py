"""Look whether this host has what containers need, and what stands in the way.

Looks at systemd, the OCI runtime, programs, the kernel, the storage and its file system, overlayfs, what was left
behind, broken containers, and whether podman is told of the storage. Ends with 1 if there is a problem, which a
warning is not.
"""

from __future__ import annotations

import argparse

from ..containers.context import Context
from ..containers.doctor import BAD, examine
from ..progress import Progress
from ..settings import Settings
from .output import print_json, print_table


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def do_doctor(settings: Settings, progress: Progress, options: argparse.Namespace) -> int:
    """Print what was found."""
    findings = examine(Context(settings, progress))
    if options.json:
        print_json([finding.to_json() for finding in findings])
    else:
        rows = [(finding.what, finding.level, finding.text) for finding in findings]
        print_table(("WHAT", "STATE", "FOUND"), rows)
        for finding in findings:
            if finding.hint:
                print(f"hint: {finding.what}: {finding.hint}")
    return 1 if any(finding.level == BAD for finding in findings) else 0
