"""Names of containers: what is allowed, and which unit names follow."""

from __future__ import annotations

import re

from ..errors import UsageError

# A name becomes a unit name, a directory, a runtime's container ID and part of the cgroup path: the letters that
# all four take (runc: [\w+-.], systemd.unit(5) without "@" and ":", which mean templates and escapes there).
# It ends in a letter or digit: a drop-in directory x-.service.d would be one for every unit that begins with x-.
# Nor does it look like a unit itself.
NAME_PATTERN = r"^(?!.*\.(?:service|mount|d)$)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$"
"""The rule as it stands in declaration.schema.json too."""
LONGEST_NAME = 100

_NAME = re.compile(NAME_PATTERN)
_UNITS = (".service", ".mount", ".d")


def check_name(name: str) -> str:
    """Return ``name`` if it can name a container. Raises UsageError."""
    hint = f"use up to {LONGEST_NAME} letters, digits and '_.-', beginning and ending with a letter or digit"
    if len(name) > LONGEST_NAME:
        raise UsageError(f"the name {name[:20]}… is {len(name)} characters long", hint)
    if _NAME.fullmatch(name):
        return name
    if name.endswith(_UNITS):
        raise UsageError(f"{name!r} looks like a unit, not like a container", "leave the suffix off")
    raise UsageError(f"{name!r} cannot be the name of a container", hint)


def service_unit(name: str) -> str:
    """The service that runs container ``name``."""
    return f"{name}.service"
