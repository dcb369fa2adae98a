"""Generations that have yet to prove themselves, because nobody could wait for them when they became current.

An update of a service that runs is not over before the new generation is healthy. One of a service that is stopped,
or one that boot makes or completes before any service may start, leaves a note in ``trials/NAME.json``. Its end is
decided by whoever next looks at the service after a start: ``syscontainer start``, which ends the trial where it comes
up, or at the next boot syscontainers-settle.service, which goes back to the generation before where it does not. A
plain ``systemctl start`` looks at nothing and so decides nothing. What settle did is kept in ``fallbacks/NAME.json``
for ``list``.

systemd's ConditionDirectoryNotEmpty= does not see names that look like backups (``db.old``, ``db.bak``), which a
container may have: hence the suffix.
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
from .rejection import rejection_file

_LIMIT = 1 << 20
_SUFFIX = ".json"


@dataclass(frozen=True)
class Trial:
    """``generation`` has to prove itself; ``previous`` is what to go back to, if there is one."""

    generation: int
    previous: int | None


@dataclass(frozen=True)
class Fallback:
    """``generation`` failed its trial; ``current`` is what became current instead, or itself without a choice."""

    generation: int
    previous: int | None
    """What it was meant to go back to, if there was one."""
    current: int
    reason: str
    when: float
    """Seconds since the epoch, UTC."""

    def describe(self) -> str:
        """What happened, for a human."""
        if self.current != self.generation:
            return (
                f"went back to generation {self.current} at boot, "
                f"because {self.generation} did not come up: {self.reason}"
            )
        alone = "and there is none to go back to" if self.previous is None else f"nor did {self.previous}, before it"
        return f"generation {self.generation} did not come up at boot, {alone}: {self.reason}"


def _trial_file(context: Context, name: str) -> Path:
    return context.settings.state / "trials" / f"{name}{_SUFFIX}"


def _fallback_file(context: Context, name: str) -> Path:
    return context.settings.state / "fallbacks" / f"{name}{_SUFFIX}"


def note_files(context: Context, name: str) -> tuple[Path, ...]:
    """Everything that is kept about a container's trials."""
    return _trial_file(context, name), _fallback_file(context, name), rejection_file(context, name)


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
    directory = _trial_file(context, "x").parent
    return sorted(path.name.removesuffix(_SUFFIX) for path in directory.glob(f"[!.]*{_SUFFIX}"))


def names_half_noted(context: Context) -> list[str]:
    """Those whose note was being written when the power went, or is right now."""
    directory = _trial_file(context, "x").parent
    finals = {files.final_name(path.name) for path in directory.glob(".*")}
    return sorted(name.removesuffix(_SUFFIX) for name in finals if not name.startswith("."))


def sweep_note(context: Context, name: str) -> None:
    """Remove what is half written of a note: ``trials`` would never be empty again. The caller holds the lock."""
    files.sweep_temporaries(_trial_file(context, name))


def read_trial(context: Context, name: str) -> Trial | None:
    """The note about ``name``. Raises DocumentError for a damaged one."""
    path = _trial_file(context, name)
    try:
        document = Document.parse(files.read_bounded(path, _LIMIT), str(path))
    except FileNotFoundError:
        return None
    return Trial(document.get_int("generation"), document.get_int("previous", None))


def write_fallback(context: Context, name: str, trial: Trial, current: int, reason: str) -> None:
    """Keep what became of a trial that failed. Durable on return."""
    record = {
        "generation": trial.generation,
        "previous": trial.previous,
        "current": current,
        "reason": reason,
        "when": time.time(),
    }
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
            generation=document.get_int("generation"),
            previous=document.get_int("previous", None),
            current=document.get_int("current"),
            reason=document.get_str("reason"),
            when=float(when),
        )
    except (OSError, KeyError, TypeError, ValueError, SyscontainersError):
        return None  # it only explains; what is current does not depend on it
    return fallback if fallback.current == current else None
