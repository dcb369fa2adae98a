"""Starting a runtime that leaves, so that systemd gets the payload as its own child.

With ``Type=forking`` systemd reads the PID file when the ``ExecStart=`` process has ended. If the payload's parent
is another process at that moment, systemd takes it for a stranger ("Supervising process … which is not our child"),
and when it stops the service it does not wait for a stranger: SIGKILL follows SIGTERM at once (``main_pid_alien`` in
systemd's unit_kill_context()), and a database has no time to write.

runc makes the payload a sibling of itself (CLONE_PARENT), so when it has ended the payload is PID 1's. crun forks a
helper that makes the payload its child, and ends without waiting for it (libcrun_container_run(), up to 1.24 at
least): seen in 24 of 58 starts with crun 1.8.1 on two busy cores, each followed by a stop that killed at once. So:

* ``ExecStart=`` runs it under flock(1), which hands an open lock file down to all of them; the runtime closes it in
  the payload, the helper keeps it until it ends. The PID is written beside the PID file.
* ``ExecStartPost=`` waits for the lock, that is for the helper's end, and moves the PID file into place; systemd
  forgives a PID file that is missing before ``ExecStartPost=``, and reads it after.

With both, none in 120 starts. It costs three short-lived processes, about 3 ms, and leaves none.
"""

from __future__ import annotations

from pathlib import Path

from ..run import find_program
from .readiness import tell_when_ready
from .unitfile import UnitFile, quote_argument

_SUFFIX = ".new"


def start_command(runtime: str, pid_file: str, bundle: Path, name: str) -> list[str]:
    """The words of ``ExecStart=`` for container ``name``; where it is needed with a lock on the bundle's config."""
    flock = find_program("flock")
    if flock is None or not _leaves_helper(runtime):
        return _run(runtime, pid_file, bundle, name)
    return [str(flock), str(_lock_file(bundle)), *_run(runtime, pid_file + _SUFFIX, bundle, name)]


def notifying_start_command(runtime: str, pid_file: str, bundle: Path, name: str) -> list[str]:
    """The same for a payload that says itself when it is ready; needs nothing in ``ExecStartPost=``."""
    run = _run(runtime, pid_file, bundle, name)
    return tell_when_ready(bundle, pid_file, _lock_file(bundle), run) or run


def _run(runtime: str, pid_file: str, bundle: Path, name: str) -> list[str]:
    return [runtime, "run", "--detach", "--pid-file", pid_file, "--bundle", str(bundle), name]


def settle_command(service: UnitFile, bundle: Path) -> list[str]:
    """The words of ``ExecStartPost=`` for a service whose ``ExecStart=`` is made as above; empty if it needs none."""
    pid_file = service.get("Service", "PIDFile").replace("%%", "%")
    flock, move = find_program("flock"), find_program("mv")
    start = " ".join(service.get_all("Service", "ExecStart"))
    if (
        not pid_file
        or flock is None
        or move is None
        or f"--pid-file {quote_argument(pid_file + _SUFFIX)} " not in start
    ):
        return []
    return [str(flock), str(_lock_file(bundle)), str(move), pid_file + _SUFFIX, pid_file]


def _leaves_helper(runtime: str) -> bool:
    # Of others than runc nothing is known; for one that needs no lock the lock is free.
    return Path(runtime).name != "runc"


def _lock_file(bundle: Path) -> Path:
    # A file that is there anyway. Were a runtime to leak it into the payload, it would be the payload's own config.
    return bundle / "config.json"
