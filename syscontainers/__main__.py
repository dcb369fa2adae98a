"""``python -m syscontainers`` and the ``syscontainer`` command."""

from __future__ import annotations

import sys

from .cli.main import main as run_command


def main() -> int:
    """Run the command line of this process and return its exit code."""
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
