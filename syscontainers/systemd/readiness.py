"""A payload that says itself when it is ready (``Type=notify``), started by a runtime that leaves.

The runtime listens for the payload's READY=1, passes it on to systemd and ends. Taken at its word, that goes wrong:

* runc adds MAINPID= while it still is the payload's parent. systemd takes the payload for a stranger ("Supervising
  process … which is not our child"), does not wait for it when it stops the service, and SIGKILL follows SIGTERM at
  once. Seen in 5 of 24 starts on two busy cores (systemd 252, runc 1.1.5).
* crun never says MAINPID=, and leaves its helper to wait: the main process is gone before anybody is ready, and the
  start fails with ``protocol``, unless there is a PIDFile= and NotifyAccess=all.

So the drop-in sets ``NotifyAccess=main``: the runtime's messages are refused, with a warning in the journal, and a few
lines of shell, which are the main process so far, wait until the runtime and its helpers have left, and then say both
READY=1 and MAINPID=. By then the payload is PID 1's own child. Nothing stays but the payload.

What comes through is the first READY=1, and with runc only if it begins the message. STATUS=, WATCHDOG=1, RELOADING=1
and EXTEND_TIMEOUT_USEC= have nobody to take them once the runtime has left, so ``WatchdogSec=`` and ``notify-reload``
do not work in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..run import find_program

FILE_NAME = "notify"
"""The script in the generation's directory."""

SCRIPT = """\
# Run the runtime until its payload is ready and it has left; then tell systemd, whose child the payload is by now.
pid_file=$1 lock=$2
shift 2
rm -f "$pid_file"
flock "$lock" "$@" &
# runc itself waits for ever for a payload that has ended; a process that has ended has no program.
while kill -0 $! 2>/dev/null && { [ ! -s "$pid_file" ] || [ -e "/proc/$(cat "$pid_file")/exe" ]; }; do
    sleep 0.05
done
pid=$(cat "$pid_file") || exit
if [ ! -e "/proc/$pid/exe" ]; then
    echo "the payload has ended before it was ready" >&2
    exit 1
fi
wait $! || exit
flock "$lock" true # crun's helper still holds it while it waits
exec systemd-notify --ready "MAINPID=$pid"
"""


def tell_when_ready(directory: Path, pid_file: str, lock: Path, command: Sequence[str]) -> list[str]:
    """The words that run the runtime's ``command`` so; ``directory`` holds the script. Empty if a program is missing.

    ``lock`` is a file that the runtime's helpers keep open.
    """
    if find_program("flock") is None or find_program("systemd-notify") is None:
        return []
    return ["/bin/sh", str(directory / FILE_NAME), pid_file, str(lock), *command]


def is_told_when_ready(start: str, directory: Path) -> bool:
    """Whether the text of ``ExecStart=`` has those words."""
    return f" {directory / FILE_NAME} " in start
