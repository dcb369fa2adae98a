"""Starting the runtime outside the unit's own control group, which on a unified hierarchy must stay empty.

A group of cgroups v2 may have processes or children with controllers, not both (cgroups(7), "no internal processes").
The payload's group lies below the unit's; systemd starts the runtime in the unit's own, and a runtime that enables
controllers there turns it into a threaded domain: the kernel refuses memory and io, and takes pids and cpu. Seen with
systemd 252, runc 1.1.5 and Linux 6.1: from then on each ExecStartPost=, ExecReload= and ExecStopPost= of the unit
fails with 219/CGROUP, so the container is never deleted, and nothing can be killed by its group ("Operation not
supported").

``DelegateSubgroup=`` (systemd 254) is made for this. Everywhere else a few lines of shell move themselves into a
group of their own and then become the runtime; once that has left, the group is empty and goes with the unit's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FILE_NAME = "start"
"""The script in the generation's directory: a file, so that no template needs to know about quotes."""

SCRIPT = """\
# What is not there need not be deleted, and to start the runtime only to find out is a third of a start.
if [ "$2" = delete ] && [ -z "$XDG_RUNTIME_DIR" ]; then
    for name; do :; done
    case ${1##*/} in runc | crun) [ -e "/run/${1##*/}/$name" ] || exit 0 ;; esac
fi
# Become the runtime in a control group of its own: on a unified hierarchy the unit's must hold no process itself.
IFS=: read -r _ _ group </proc/self/cgroup
group=/sys/fs/cgroup$group
if [ -w "$group/cgroup.procs" ]; then
    mkdir -p "$group/runtime" && echo 0 >"$group/runtime/cgroup.procs"
fi
exec "$@"
"""


def in_own_group(directory: Path, command: Sequence[str]) -> list[str]:
    """The words that run ``command`` so; ``directory`` holds the script."""
    return ["/bin/sh", str(directory / FILE_NAME), *command]


def if_left_over(directory: Path, delete: Sequence[str]) -> list[str]:
    """The words that run the runtime's ``delete … NAME`` where it has something of that name."""
    return ["/bin/sh", str(directory / FILE_NAME), *delete]
