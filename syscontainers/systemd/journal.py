"""The last words of a unit, from the journal.

Through ``journalctl`` as a child process: libsystemd's reader has no binding among our packages, and this is only
done after something failed. Wanted are the lines of the unit's processes and those of PID 1 about the unit, of one
run alone; so what is matched is the invocation, which both carry (systemd.journal-fields(7): the processes' lines
in ``_SYSTEMD_INVOCATION_ID``, PID 1's in ``INVOCATION_ID``).
"""

from __future__ import annotations

from ..errors import SyscontainersError
from ..run import run

_TIMEOUT = 10.0


def last_lines(unit: str, invocation_id: str, count: int = 10) -> tuple[str, ...]:
    """The last ``count`` lines of one run of ``unit``, oldest first; of its last runs if ``invocation_id`` is empty.

    Empty where there is no journal. Characters that could steer a terminal are replaced: the lines are the
    payload's own.
    """
    try:
        # What was written before now may still be on its way from the daemon's sockets to the file.
        run(["journalctl", "--sync"], check=False, timeout=_TIMEOUT)
        done = run([*_QUERY, f"--lines={count}", *_matches(unit, invocation_id)], check=False, timeout=_TIMEOUT)
    except SyscontainersError:  # no journalctl, or a journal that hangs: evidence is welcome, not necessary
        return ()
    lines = done.stdout.decode(errors="replace").splitlines()
    return tuple(_printable(line) for line in lines[-count:])


_QUERY = ("journalctl", "--quiet", "--no-pager", "--output=cat", "--boot", "--all")


def _matches(unit: str, invocation_id: str) -> list[str]:
    if not invocation_id:
        return [f"--unit={unit}"]
    return [f"_SYSTEMD_INVOCATION_ID={invocation_id}", "+", "_PID=1", f"INVOCATION_ID={invocation_id}"]


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)
