"""The variables of a container's templates: what each is, and who said so.

Precedence, highest first, as Project Atomic's images rely on it: *forced* (the installer decides) → *set* (the
user's ``--set``) → *os* (what the host provides) → *image* (``defaultValues`` of the image's manifest) → *default*
(those of our own templates, only where ours are used). A UUID is *generated* once and then *kept*.

So an image cannot change RUN_DIRECTORY, STATE_DIRECTORY, CONF_DIRECTORY, PIDFILE, ALL_PROCESS_CAPABILITIES, RUNTIME or
ATOMIC by its defaults, but the user can; and nobody can change NAME, DESTDIR or EXEC_START.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UsageError
from .capabilities import known_capabilities
from .commands import make_commands
from .contract import ExportsManifest, is_variable
from .parameters import Parameter

FORCED = "forced"
SET = "set"
OS = "os"
IMAGE = "image"
DEFAULT = "default"
KEPT = "kept"
GENERATED = "generated"


@dataclass(frozen=True)
class Target:
    """The container that is to be: its name, its place, and the host it is for."""

    name: str
    directory: Path
    """The generation's directory, numbered: what images know as DESTDIR."""
    image_name: str
    """The reference, canonical."""
    image_id: str
    """The manifest's digest without ``sha256:``."""
    runtime: Path
    root: Path | None = None
    """The root, where it is a directory of the host's and not made of the image's layers."""
    tool: Path = Path("/usr/bin/syscontainer")
    host: Path = Path("/")
    """The host's root, other than / only when building trees."""
    uid: int = 0
    gid: int = 0
    run_directory: str = "/run"
    state_directory: str = "/var/lib"
    conf_directory: str = "/etc"


@dataclass(frozen=True)
class Value:
    """One variable's text and where it came from."""

    text: str
    origin: str


@dataclass(frozen=True)
class Values:
    """Every resolved variable."""

    entries: Mapping[str, Value]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Those that a manifest describes."""
    notices: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.entries[name].text

    def texts(self) -> dict[str, str]:
        """Name → text, as ``info`` records it and ``render`` takes it."""
        return {name: value.text for name, value in self.entries.items()}

    def origins(self) -> dict[str, str]:
        """Name → origin."""
        return {name: value.origin for name, value in self.entries.items()}

    def user_texts(self) -> dict[str, str]:
        """What the user set, as it was given; the next generation starts from these, not from yesterday's defaults."""
        return dict(self.given)

    def shown(self, name: str) -> str:
        """The value as it may be shown to somebody."""
        parameter = self.parameters.get(name)
        return "(secret)" if parameter and parameter.secret and self[name] else self[name]


def parse_assignments(items: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` words, split at the first ``=``; of two with one key the last counts. Raises UsageError."""
    assignments: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item[:60]!r}: no '=' in it", "write --set KEY=VALUE")
        if not is_variable(name):
            raise UsageError(
                f"--set {item[:60]!r}: {name[:40]!r} cannot be a variable",
                "use letters, digits and '_', no digit first",
            )
        if "\0" in value or not _is_text(value):
            raise UsageError(f"--set {name}: the value is not valid UTF-8 text")
        assignments[name] = value
    return assignments


def resolve_values(
    target: Target,
    manifest: ExportsManifest,
    user_values: Mapping[str, str],
    *,
    detached: bool,
    notifying: bool = False,
    ours: ExportsManifest | None = None,
    previous_uuid: str | None = None,
) -> Values:
    """All variables of one container.

    ``ours`` are the defaults of those of our own templates that are used. Raises UsageError for a value that its
    parameter does not allow and for a required parameter that nobody gave.
    """
    ours = ours or ExportsManifest()
    layers = (
        (DEFAULT, ours.default_values),
        (GENERATED, {"UUID": str(uuid.uuid4())}),
        (IMAGE, manifest.default_values),
        (KEPT, {"UUID": previous_uuid} if previous_uuid else {}),
        (OS, _os_values(target)),
        (SET, user_values),
        (FORCED, _forced_values(target)),
    )
    entries = {name: Value(text, origin) for origin, layer in layers for name, text in layer.items()}
    parameters = _merge_parameters(ours.parameters, manifest.parameters)
    checked = _check_parameters(entries, {**_HOST_PARAMETERS, **parameters})
    commands = make_commands(target.name, target.directory, checked, detached=detached, notifying=notifying)
    checked |= {name: Value(text, FORCED) for name, text in commands.items()}
    ignored = sorted(name for name in user_values if checked[name].origin == FORCED)
    notices = tuple(f"--set {name} has no effect: the installer decides it" for name in ignored)
    return Values(dict(sorted(checked.items())), parameters, notices, dict(user_values))


# Our own templates build paths from these; in an image's templates they go in as they are, like always.
_HOST_PARAMETERS = {
    name: Parameter(name, "path", required=True)
    for name in ("RUN_DIRECTORY", "STATE_DIRECTORY", "CONF_DIRECTORY", "PIDFILE", "RUNTIME")
}


def _merge_parameters(ours: Mapping[str, Parameter], theirs: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """An image may say more of our parameters, but their types stay ours: our templates rely on them."""
    merged = {**theirs, **ours}
    for name in ours.keys() & theirs.keys():
        our, their = ours[name], theirs[name]
        merged[name] = replace(
            our,
            help=their.help or our.help,
            allowed=their.allowed or our.allowed,
            secret=their.secret or our.secret,
            required=their.required or our.required,
        )
    return merged


def with_unused_notices(values: Values, mentioned: Sequence[str]) -> Values:
    """The same with a notice for each ``--set`` that no template mentions; it is kept, as it always was."""
    known = {*mentioned, *values.parameters, *_HOST_PARAMETERS}
    unused = [name for name in values.given if name not in known and values.entries[name].origin == SET]
    notices = tuple(f"--set {name} has no effect: no template of the image mentions it" for name in unused)
    return replace(values, notices=values.notices + notices)


def _forced_values(target: Target) -> dict[str, str]:
    return {
        "DESTDIR": str(target.directory),
        "NAME": target.name,
        "HOST_UID": str(target.uid),
        "HOST_GID": str(target.gid),
        "IMAGE_NAME": target.image_name,
        "IMAGE_ID": target.image_id,
    }


def _os_values(target: Target) -> dict[str, str]:
    # Quoted, separated and closed as images expect it: they write ["$ALL…"] without brackets of its own.
    capabilities = ",\n".join(f'"{name}"' for name in known_capabilities()) + "\n"
    return {
        "RUN_DIRECTORY": target.run_directory,
        "STATE_DIRECTORY": target.state_directory,
        "CONF_DIRECTORY": target.conf_directory,
        "PIDFILE": f"{target.run_directory}/container-{target.name}.pid",
        "ALL_PROCESS_CAPABILITIES": capabilities,
        "RUNTIME": str(target.runtime),
        "ATOMIC": str(target.tool),
    }


def _check_parameters(entries: Mapping[str, Value], parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    missing = [name for name, p in parameters.items() if p.required and not (name in entries and entries[name].text)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)}: the image needs to be told",
            "; ".join(f"--set {name}=… {parameters[name].help}".strip() for name in missing),
        )
    return {
        name: Value(parameters[name].check(value.text), value.origin) if name in parameters else value
        for name, value in entries.items()
    }


def _is_text(value: str) -> bool:
    # Arguments that are not UTF-8 arrive with lone surrogates (PEP 383) and could be written to no file.
    return not any("\ud800" <= character <= "\udfff" for character in value)
