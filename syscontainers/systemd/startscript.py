"""Starting the runtime outside the unit's own control group, which on a unified hierarchy must stay empty.

A group of cgroups v2 may have processes or children with controllers, not both (cgroups(7), "no internal processes").
The payload's group lies below the unit's; systemd starts the runtime in the unit's own, and a runtime that enables
controllers there turns it into a threaded domain: the kernel refuses memory and io, and takes pids and cpu. Seen with
systemd 252, runc 1.1.5 and Linux 6.1: from then on each ExecStartPost=, ExecReload= and ExecStopPost= of the unit
fails with 219/CGROUP, so the container is never deleted, and nothing can be killed by its group ("Operation not
supported").

From systemd 254 on ``DelegateSubgroup=`` (see ``dropin``) starts them in a group of their own. Elsewhere a few lines
of shell move themselves there and then become the runtime; once that has left, the group is empty and goes with the
unit's.

The same lines delete what an earlier run may have left: state of a container that ended without its delete, by a crash
of PID 1 or by hand, makes ``run`` refuse ("already exists", opencontainers/runc#39). An ``ExecStartPre=`` for it would
be one more process of PID 1's for each start, which fifty containers at boot can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FILE_NAME = "start"
"""The script in the generation's directory: a file, so that no template needs to know about quotes."""

GROUP = "runtime"
"""The runtime's own control group, below the unit's, as the script has it."""

SCRIPT = """\
# sh start RUNTIME NAME COMMAND…: run the runtime's command for a container.
runtime=$1 name=$2
shift 2
# In a control group of its own: on a unified hierarchy the unit's must hold no process itself.
IFS=: read -r _ _ group </proc/self/cgroup
group=/sys/fs/cgroup$group
if [ "${group##*/}" != runtime ] && [ -w "$group/cgroup.procs" ]; then
    mkdir -p "$group/runtime" && echo 0 >"$group/runtime/cgroup.procs"
fi
# What is not there need not be deleted, and to start the runtime only to find out is a third of a start.
case ${runtime##*/} in
runc | crun) [ -n "$XDG_RUNTIME_DIR" ] || [ -e "/run/${runtime##*/}/$name" ] ;;
esac && "$runtime" delete --force "$name"
exec "$@"
"""


def started(directory: Path, runtime: str, name: str, command: Sequence[str]) -> list[str]:
    """The words that run ``command`` so, for the runtime's container ``name``; ``directory`` holds the script."""
    return ["/bin/sh", str(directory / FILE_NAME), runtime, name, *command]


def clears(start: str, directory: Path) -> bool:
    """Whether the text of ``ExecStart=`` has those words."""
    return f" {directory / FILE_NAME} " in start
