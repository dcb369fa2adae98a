"""The record of one operation in flight, ``transactions/NAME.json``.

It is on the disk before the first change outside staging and goes with the last step. What a crash leaves is
therefore always one of these: no record, and nothing was touched; a record in phase *publishing*, and any of its
changes may or may not be there: played backwards; in phase *published*, and all of them are: rolled forward; in phase
*undoing*: played backwards again, whatever it had reached; in phase *done*: only the clearing up is left. Each record
holds everything needed for either way, the old contents included. The last two phases are entered by a rename, which
works on a full disk too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import files
from ..typed import Document, DocumentError
from .changes import Change
from .context import Context

PUBLISHING = "publishing"
PUBLISHED = "published"
UNDOING = "undoing"
DONE = "done"


@dataclass(frozen=True)
class Switch:
    """A container goes from one generation to another; None stands for not being installed."""

    name: str
    verb: str
    old: int | None
    new: int | None
    changes: tuple[Change, ...] = ()
    was_active: bool = False
    was_enabled: bool = False
    start: bool = False
    """Whether the service has to run afterwards, and be healthy."""
    enable: bool = False
    makes_new: bool = False
    """Whether the new generation's directory is made by this operation, and goes if it is taken back."""
    stop_first: bool = False
    """Whether the old service must end under its old unit, because the new one could not clean up after it."""
    remove: tuple[int, ...] = ()
    """Generations whose directories and mounts go once the switch is done."""
    invocation: str = ""
    """Which run of the service was going on when this was planned, by systemd's invocation ID."""
    dependents: tuple[str, ...] = ()
    """Units that ran before and that systemd stops together with the service."""
    links: Mapping[str, str] = field(default_factory=dict)
    """All links to the unit that there were before: path → target."""
    phase: str = PUBLISHING

    def to_bytes(self) -> bytes:
        """The record's text."""
        document = {
            "version": 1,
            "name": self.name,
            "verb": self.verb,
            "old": self.old,
            "new": self.new,
            "changes": [change.to_json() for change in self.changes],
            "was-active": self.was_active,
            "was-enabled": self.was_enabled,
            "start": self.start,
            "enable": self.enable,
            "makes-new": self.makes_new,
            "stop-first": self.stop_first,
            "remove": list(self.remove),
            "invocation": self.invocation,
            "dependents": list(self.dependents),
            "links": dict(self.links),
            "phase": self.phase,
        }
        return json.dumps(document).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes, where: str) -> Switch:
        """Read a record. Raises DocumentError."""
        document = Document.parse(data, where)
        if document.get_int("version") != 1:
            document.fail("version", "is from a newer syscontainers; use that one")
        return cls(
            name=document.get_str("name"),
            verb=document.get_str("verb"),
            old=document.get_int("old", None),
            new=document.get_int("new", None),
            changes=tuple(Change.from_json(change) for change in document.get_objects("changes")),
            was_active=document.get_bool("was-active"),
            was_enabled=document.get_bool("was-enabled"),
            start=document.get_bool("start"),
            enable=document.get_bool("enable"),
            makes_new=document.get_bool("makes-new"),
            stop_first=document.get_bool("stop-first"),
            remove=tuple(int(number) for number in document.get_list("remove")),
            invocation=document.get_str("invocation", ""),
            dependents=tuple(document.get_strings("dependents", [])),
            links=document.get_string_map("links", {}),
            phase=document.get_str("phase"),
        )


_SUFFIXES = {UNDOING: ".undoing", DONE: ".done"}


def _record(context: Context, name: str, phase: str = PUBLISHING) -> Path:
    return context.settings.transactions / f"{name}{_SUFFIXES.get(phase, '.json')}"


def write_record(context: Context, switch: Switch) -> None:
    """Put the record on the disk, durably. Raises OSError."""
    path = _record(context, switch.name, switch.phase)
    files.make_directories(path.parent, 0o700)
    files.replace_file(path, switch.to_bytes(), 0o600)


def mark_published(context: Context, switch: Switch) -> Switch:
    """Note that every change is in place."""
    published = replace(switch, phase=PUBLISHED)
    write_record(context, published)
    return published


def rename_record(context: Context, switch: Switch, phase: str) -> Switch:
    """Enter the phase *undoing* or *done*. Raises OSError."""
    if switch.phase != phase:
        path = _record(context, switch.name, switch.phase)
        path.rename(_record(context, switch.name, phase))
        files.sync_directory(path.parent)
    return replace(switch, phase=phase)


def drop_record(context: Context, switch: Switch) -> None:
    """The operation is over."""
    files.remove_file(_record(context, switch.name, switch.phase))


def read_record(context: Context, name: str) -> Switch | None:
    """The record an interrupted operation on ``name`` left, if any.

    One that cannot be read is set aside, with a warning: no verb could ever get past it. Raises OSError.
    """
    files.sweep_temporaries(_record(context, name))
    for phase in (UNDOING, DONE, PUBLISHING):
        path = _record(context, name, phase)
        if path.exists():
            return _parse_record(context, path, phase)
    return None


def peek_record(context: Context, name: str) -> Switch | None:
    """The record of an operation that somebody else may be carrying out; None as well if it cannot be read."""
    for phase in (PUBLISHING, UNDOING, DONE):  # in the order in which it is renamed, so as not to miss it
        path = _record(context, name, phase)
        try:
            return Switch.parse(path.read_bytes(), str(path))
        except (FileNotFoundError, DocumentError, ValueError):
            continue
    return None


def _parse_record(context: Context, path: Path, phase: str) -> Switch | None:
    try:
        switch = Switch.parse(path.read_bytes(), str(path))
    except (DocumentError, ValueError) as error:
        aside = path.with_name(f".{path.name}.bad")
        path.rename(aside)
        context.progress.warn(f"the record of an interrupted operation cannot be read, it is now {aside}: {error}")
        return None
    return switch if phase == PUBLISHING else replace(switch, phase=phase)


def names_with_records(context: Context) -> list[str]:
    """Containers on which an operation was interrupted, be it while it wrote its record."""
    suffixes = (".json", *_SUFFIXES.values())
    paths = (path.with_name(files.final_name(path.name)) for path in context.settings.transactions.glob("*"))
    return sorted({path.stem for path in paths if path.suffix in suffixes and not path.name.startswith(".")})
