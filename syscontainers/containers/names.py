"""Names of containers: what is allowed, and which unit names follow."""

from __future__ import annotations

import re

from ..errors import UsageError

# A name becomes a unit name, a directory, a runtime's container ID and part of the cgroup path: the letters that
# all four take (runc: [\w+-.], systemd.unit(5) without "@" and ":", which mean templates and escapes there).
# It ends in a letter or digit: a drop-in directory x-.service.d would be one for every unit that begins with x-.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_LONGEST = 100


def check_name(name: str) -> str:
    """Return ``name`` if it can name a container. Raises UsageError."""
    hint = f"use up to {_LONGEST} letters, digits and '_.-', beginning and ending with a letter or digit"
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a container", hint)
    if len(name) > _LONGEST:
        raise UsageError(f"the name {name[:20]}… is {len(name)} characters long", hint)
    if name.endswith((".service", ".mount", ".d")):
        raise UsageError(f"{name!r} looks like a unit, not like a container", "leave the suffix off")
    return name


def service_unit(name: str) -> str:
    """The service that runs container ``name``."""
    return f"{name}.service"
