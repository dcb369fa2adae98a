"""``python -m syscontainers`` and the ``syscontainer`` command; by another name it is another command."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

_GC_THRESHOLD = 100_000
"""Objects made and not dropped between two searches for cycles."""


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if os.path.basename(sys.argv[0]) == "atomic":
        from .cli.atomic import main as run_command
    else:
        from .cli.main import main as run_command
    return run_command(sys.argv[1:])


def run() -> NoReturn:
    """``main`` as a process: it ends here, because taking the interpreter apart takes an eighth of a short command.

    What has to be undone stands in ``with`` blocks, which are all left by now, and no thread is running.
    """
    # Importing allocates much and drops nothing; looking for cycles meanwhile is a tenth of a short command.
    gc.set_threshold(_GC_THRESHOLD)
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
