"""Every error a user can meet, as one tree.

::

    SyscontainersError            1   failed, nothing changed
    ├── UsageError                2   the command line or a file makes no sense
    ├── RolledBackError           3   failed half-way and was undone
    ├── NotFoundError             4   no such container, image, layer, unit
    ├── RefusedError              5   refused by policy or verification
    │   ├── DigestError           5   bytes differ from what was promised
    │   └── HostileArchiveError   5   an archive tries what no archive may
    └── UnhealthyError            6   the service did not become healthy

The numbers are the process's exit codes and a public contract (``docs/exit-codes.md``).
``message`` says on one line what is wrong, ``hint`` on one line what to do about it. Anything else
that reaches the top is a bug of ours and is shown with its traceback.
"""

from __future__ import annotations

import os
from collections.abc import Sequence


class SyscontainersError(Exception):
    """Something failed and nothing was changed."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)
        """Lines of evidence, such as the last ones of a unit's journal."""


class UsageError(SyscontainersError):
    """What was asked makes no sense; asking again the same way cannot help."""

    exit_code = 2


class RolledBackError(SyscontainersError):
    """The operation failed after it had begun to change things, and was undone."""

    exit_code = 3


class NotFoundError(SyscontainersError):
    """The named thing does not exist."""

    exit_code = 4


class RefusedError(SyscontainersError):
    """Verification or policy says no."""

    exit_code = 5


class DigestError(RefusedError):
    """Bytes differ from the digest or size that was promised for them."""


class HostileArchiveError(RefusedError):
    """An archive or a document in an image tries something that none may."""


class UnhealthyError(SyscontainersError):
    """The service was started and did not become healthy."""

    exit_code = 6


def from_os_error(error: OSError) -> SyscontainersError:
    """What the system refused, as an error of ours."""
    where = f"{error.filename}: " if error.filename else ""
    hint = "run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    return SyscontainersError(f"{where}{error.strerror or error}", hint)
