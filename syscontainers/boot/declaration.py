"""One container that this host should have, as its TOML file says.

``docs/declaration.schema.json`` is the same for editors and programs; tests keep keys, types, names and limits
the same in both. What an image, a value or a limit says is judged by more than a schema can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..containers.names import check_name
from ..errors import UsageError
from ..images.reference import Reference
from .fragments import Declared, Fragment

NEVER, LOCAL, ALWAYS = "never", "local", "always"
UPDATES = (NEVER, LOCAL, ALWAYS)

# systemd.resource-control(5): what limits a service and can be changed while it runs.
LIMITS = (
    *("CPUWeight", "StartupCPUWeight", "CPUQuota", "CPUQuotaPeriodSec", "AllowedCPUs", "AllowedMemoryNodes"),
    *("MemoryMin", "MemoryLow", "MemoryHigh", "MemoryMax", "MemorySwapMax", "MemoryZSwapMax", "TasksMax"),
    *("IOWeight", "StartupIOWeight", "IODeviceWeight", "IOReadBandwidthMax", "IOWriteBandwidthMax"),
    *("IOReadIOPSMax", "IOWriteIOPSMax", "IODeviceLatencyTargetSec", "IPAddressAllow", "IPAddressDeny"),
    *("ManagedOOMSwap", "ManagedOOMMemoryPressure", "ManagedOOMPreference"),
)


@dataclass(frozen=True)
class Declaration:
    """What is wanted."""

    name: str
    image: Reference
    fragments: tuple[Fragment, ...]
    """The files it stands in, for complaints that come later."""
    update: str = LOCAL
    """When another image of the same name is taken: ``never`` once it is installed; ``local``, when seeds, storage or
    lock file say so; ``always``, whatever the registry has."""
    start: bool = True
    """Whether it is started, now and at boot."""
    runtime: str | None = None
    requires: tuple[str, ...] = ()
    """Containers without which it does not run, and after which it starts."""
    wants: tuple[str, ...] = ()
    """Containers that are started before it; it runs without them too."""
    after: tuple[str, ...] = ()
    """Containers after which it starts, if they are started at all."""
    values: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Unit settings of systemd.resource-control(5)."""

    @property
    def source(self) -> str:
        """The file it stands in."""
        return str(self.fragments[0].path)

    @property
    def needs(self) -> tuple[str, ...]:
        """Every container that comes before it."""
        return tuple(dict.fromkeys([*self.requires, *self.wants, *self.after]))

    def refuse(self, keys: Sequence[str], problem: str) -> UsageError:
        """The error about one of its keys, with file and line."""
        last = next((each for each in reversed(self.fragments) if each.line_of(*keys)), self.fragments[0])
        line = last.line_of(*keys)
        place = f"{last.path}:{line}" if line else str(last.path)
        return UsageError(f"{place}: {'.'.join(keys)} {problem}", "see declarations.md in share/doc/syscontainers")


def make_declaration(declared: Declared) -> Declaration:
    """Check and merge the files about one container. Raises UsageError with file, line and key."""
    fields: dict[str, Any] = {"name": declared.stem}
    for fragment in declared.fragments:
        for key, value in read_keys(fragment).items():
            # Tables add up, as settings of a unit's drop-ins do; everything else is replaced.
            fields[key] = {**fields.get(key, {}), **value} if isinstance(value, dict) else value
    if "image" not in fields:
        declared.fragments[0].fail(("image",), "is missing")
    return Declaration(fragments=declared.fragments, **fields)


def make_declarations(every: Sequence[Declared]) -> list[Declaration]:
    """All of them by name. Raises UsageError, also for two files that name one container."""
    found: dict[str, Declaration] = {}
    for declared in every:
        declaration = make_declaration(declared)
        if declaration.name in found:
            other = found[declaration.name].source
            raise declaration.refuse(("name",), f"{declaration.name!r} is what {other} calls its container too")
        found[declaration.name] = declaration
    return [found[name] for name in sorted(found)]


def read_keys(fragment: Fragment) -> dict[str, Any]:
    """The keys of one file, each checked. Raises UsageError."""
    for key in fragment.table:
        if key not in FIELDS:
            fragment.fail((key,), f"is not a key of a declaration; there are: {', '.join(FIELDS)}")
    return {key: FIELDS[key](fragment, key, value) for key, value in fragment.table.items()}


def _text(fragment: Fragment, key: str, value: object) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        fragment.fail((key,), "must be a string of printable characters")
    return value


def _name(fragment: Fragment, key: str, value: object) -> str:
    text = _text(fragment, key, value)
    try:
        return check_name(text)
    except UsageError as error:
        fragment.fail((key,), f"is wrong: {error.message}")


def _image(fragment: Fragment, key: str, value: object) -> Reference:
    text = _text(fragment, key, value)
    try:
        return Reference.parse(text)
    except UsageError as error:
        fragment.fail((key,), f"is wrong: {error.message}")


def _update(fragment: Fragment, key: str, value: object) -> str:
    if value not in UPDATES:
        fragment.fail((key,), f"must be one of {', '.join(UPDATES)}")
    return str(value)


def _flag(fragment: Fragment, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        fragment.fail((key,), "must be true or false")
    return value


def _names(fragment: Fragment, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        fragment.fail((key,), "must be a list of names")
    return tuple(_name(fragment, key, each) for each in value)


def _values(fragment: Fragment, key: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        fragment.fail((key,), "must be a table")
    for name, each in value.items():
        if isinstance(each, bool) or not isinstance(each, (str, int)):
            fragment.fail((key, name), "must be a string or an integer")
    return {name: str(each) for name, each in value.items()}


def _limits(fragment: Fragment, key: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        fragment.fail((key,), "must be a table")
    return {name: _limit(fragment, (key, name), each) for name, each in value.items()}


def _limit(fragment: Fragment, keys: tuple[str, str], value: object) -> tuple[str, ...]:
    if keys[1] not in LIMITS:
        fragment.fail(keys, "is not a resource limit of systemd.resource-control(5) that can be set here")
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)) or not str(part).isprintable() or part == "":
            fragment.fail(keys, "must be a string, an integer or a list of them, as systemd takes it")
    return tuple(map(str, parts))


FIELDS: Mapping[str, Callable[[Fragment, str, object], Any]] = {
    "image": _image,
    "name": _name,
    "update": _update,
    "start": _flag,
    "runtime": _text,
    "requires": _names,
    "wants": _names,
    "after": _names,
    "values": _values,
    "limits": _limits,
}
