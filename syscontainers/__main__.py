"""``python -m syscontainers`` and the ``syscontainer`` command; by another name it is another command."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if os.path.basename(sys.argv[0]) == "atomic":
        from .cli.atomic import main as run_command
    else:
        from .cli.main import main as run_command
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
