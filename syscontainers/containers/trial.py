"""Generations that have yet to prove themselves, because nobody could wait for them when they became current.

An update of a service that runs is not over before the new generation is healthy. One of a service that is stopped,
or one that boot makes or completes before any service may start, leaves a note in ``trials/NAME``: the next start
decides. At boot syscontainers-settle.service looks at every note once the services are up, and goes back to the
generation before where the new one does not come up. What it did is kept in ``fallbacks/NAME`` for ``list``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import SyscontainersError
from ..typed import Document
from .changes import Change, Content, apply_changes, change_to
from .context import Context
from .lock import container_lock

_LIMIT = 1 << 20


@dataclass(frozen=True)
class Trial:
    """``generation`` has to prove itself; ``previous`` is what to go back to, if there is one."""

    generation: int
    previous: int | None


@dataclass(frozen=True)
class Fallback:
    """``generation`` failed its trial; ``current`` is what became current instead, or itself without a choice."""

    generation: int
    current: int
    reason: str
    when: float
    """Seconds since the epoch, UTC."""


def _trial_file(context: Context, name: str) -> Path:
    return context.settings.state / "trials" / name


def _fallback_file(context: Context, name: str) -> Path:
    return context.settings.state / "fallbacks" / name


def note_files(context: Context, name: str) -> tuple[Path, ...]:
    """Everything that is kept here about a container."""
    return _trial_file(context, name), _fallback_file(context, name)


def trial_changes(context: Context, name: str, trial: Trial | None) -> tuple[Change, ...]:
    """The change that puts ``name`` on trial, or takes an older trial away; part of a transaction."""
    after = None
    if trial is not None:
        after = Content(json.dumps({"generation": trial.generation, "previous": trial.previous}).encode() + b"\n")
    change = change_to(_trial_file(context, name), after)
    return (change,) if change.before != change.after else ()


def begin_trial(context: Context, name: str, trial: Trial) -> None:
    """Note that a generation that is current has to prove itself. Durable on return."""
    apply_changes(trial_changes(context, name, trial))


def end_trial(context: Context, name: str) -> None:
    """It has proved itself, or somebody has decided otherwise. Durable on return."""
    files.remove_file(_trial_file(context, name))


def names_on_trial(context: Context) -> list[str]:
    """The containers with a note."""
    return sorted(path.name for path in _trial_file(context, "x").parent.glob("[!.]*"))


def sweep_notes(context: Context) -> None:
    """Remove notes that were being written when the power went: ``trials`` would never be empty again.

    Raises SyscontainersError where a container is being changed and its lock is not to be had.
    """
    directory = _trial_file(context, "x").parent
    for name in sorted({path.name[1:].rsplit(".", 2)[0] for path in directory.glob(".*.tmp")}):
        with container_lock(context, name, "settle"):
            files.sweep_temporaries(_trial_file(context, name))


def read_trial(context: Context, name: str) -> Trial | None:
    """The note about ``name``. Raises DocumentError for a damaged one."""
    path = _trial_file(context, name)
    try:
        document = Document.parse(files.read_bounded(path, _LIMIT), str(path))
    except FileNotFoundError:
        return None
    return Trial(document.get_int("generation"), document.get_int("previous", None))


def write_fallback(context: Context, name: str, trial: Trial, reason: str) -> None:
    """Keep what became of a trial. Durable on return."""
    current = trial.generation if trial.previous is None else trial.previous
    record = {"generation": trial.generation, "current": current, "reason": reason, "when": time.time()}
    path = _fallback_file(context, name)
    files.make_directories(path.parent)
    files.replace_file(path, json.dumps(record).encode() + b"\n")


def read_fallback(context: Context, name: str, current: int) -> Fallback | None:
    """The latest failed trial, as long as nothing else has become current since; None for a damaged record."""
    path = _fallback_file(context, name)
    try:
        document = Document.parse(files.read_bounded(path, _LIMIT), str(path))
        when = document["when"]
        fallback = Fallback(
            document.get_int("generation"), document.get_int("current"), document.get_str("reason"), float(when)
        )
    except (OSError, KeyError, TypeError, ValueError, SyscontainersError):
        return None  # it only explains; what is current does not depend on it
    return fallback if fallback.current == current else None
