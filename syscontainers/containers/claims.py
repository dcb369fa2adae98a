"""Beginning a transaction: whose the host files are is decided, and its record written, as one step.

Two containers may bring the same path of the host, and may be installed at the same moment. So the decision is made
under one lock of the host, and the record that follows is also the claim: who decides next sees it, until the operation
has ended and the files themselves are there to be seen; after a crash as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .context import Context
from .hostfiles import HostFiles, plan_host_changes
from .journal import Switch, drop_record, names_with_records, peek_record, write_record
from .lock import host_lock, locked_names


def begin(context: Context, switch: Switch, wanted: HostFiles) -> Switch:
    """Add to ``switch`` what becomes of the host files that are ``wanted``, and put its record on the disk.

    Raises OSError, and SyscontainersError where something stands in the way; then there is no record.
    """
    with host_lock(context, "claims"):
        claimed = frozenset(_claimed_by_others(context, switch.name)) if wanted else frozenset()
        planned = plan_host_changes(context, switch.name, wanted, claimed)
        switch = replace(switch, changes=(*planned.changes, *switch.changes))
        try:
            write_record(context, switch)
        except OSError:
            drop_record(context, switch)  # it may stand there although its directory could not be synced
            raise
    for notice in planned.notices:
        context.progress.say(f"{switch.name}: {notice}")
    return switch


def _claimed_by_others(context: Context, name: str) -> Iterator[Path]:
    """Every path at which an operation in flight, or one that was cut off, puts something."""
    # Listing may miss a record that is renamed at that moment; whoever renames one has a lock file.
    for other in {*names_with_records(context), *locked_names(context)} - {name}:
        switch = peek_record(context, other)
        if switch is not None:
            yield from (change.path for change in switch.changes if change.after is not None)
