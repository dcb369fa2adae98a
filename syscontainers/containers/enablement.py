"""The links to a service's unit, by which boot starts it.

Some are what the unit's [Install] section asks for, others were made by the administrator (``systemctl add-wants``, an
alias). DisableUnitFiles removes them all and EnableUnitFiles makes only the former, so what was there before an
operation stands in its record.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..files import make_directories, remove_file, replace_symlink, sweep_temporaries
from ..systemd import unitfile
from ..systemd.manager import Manager, SystemdError, UnitMaskedError
from .changes import Content
from .context import Context
from .journal import Switch
from .names import service_unit

_WORDS = {"WantedBy": ".wants", "RequiredBy": ".requires", "UpheldBy": ".upholds"}


def find_links(context: Context, name: str) -> dict[str, str]:
    """Every link to the unit of ``name`` among the administrator's units: path → target."""
    return {str(path): os.readlink(path) for path in _links(context.settings.units, service_unit(name))}


def _links(units: Path, unit: str) -> Iterator[Path]:
    """systemd.unit(5), [Install]: a link in a directory of another unit's, or another name beside the unit."""
    if not units.is_dir():
        return
    for path in units.iterdir():
        if path.is_symlink():
            if path.name != unit and path.suffix == ".service" and path.readlink().name == unit:
                yield path
        elif path.suffix in _WORDS.values() and (path / unit).is_symlink():
            yield path / unit


def refuse_masked(manager: Manager, name: str) -> None:
    """Raises UnitMaskedError where the administrator keeps the unit of ``name`` from ever starting."""
    unit = service_unit(name)
    if manager.is_masked(unit):
        raise UnitMaskedError(
            f"{name}: {unit} is masked, and what is masked stays as it is",
            f"systemctl unmask {unit}; then syscontainer update {name} puts the unit back",
        )


def remove_links(context: Context, manager: Manager, name: str) -> None:
    """Nothing starts the unit of ``name`` at boot any more. Takes effect at the next reload."""
    try:
        manager.disable_units([service_unit(name)])
    except SystemdError:  # an unreadable unit or drop-in must not keep the links
        for path in find_links(context, name):
            remove_file(Path(path))


def restore_links(context: Context, manager: Manager, switch: Switch) -> None:
    """Leave exactly those that there were before. Takes effect at the next reload."""
    if switch.was_enabled:
        with contextlib.suppress(SystemdError):  # only what comes with Also= is not in the record
            manager.enable_units([service_unit(switch.name)])
    for path in find_links(context, switch.name).keys() - switch.links.keys():
        remove_file(Path(path))
    _make_links(context, switch.name, switch.links)


def _make_links(context: Context, name: str, links: Mapping[str, str]) -> None:
    present = find_links(context, name)
    for path, target in links.items():
        if present.get(path) != target:
            make_directories(Path(path).parent)
            sweep_temporaries(Path(path))  # of one who was killed while he did the same
            replace_symlink(Path(path), target)


def switch_links(context: Context, manager: Manager, switch: Switch) -> None:
    """Have boot start the new unit as it did the old one; nothing is touched where both ask for the same."""
    before, after = _install_sections(context, switch)
    if switch.was_enabled and switch.enable and before == after:
        return
    if switch.was_enabled:
        remove_links(context, manager, switch.name)
    if switch.enable:
        manager.enable_units([service_unit(switch.name)])
        asked = {*_asked_for(context.settings.units, service_unit(switch.name), before)}
        kept = {path: target for path, target in switch.links.items() if path not in asked}
        _make_links(context, switch.name, kept)


Install = tuple[tuple[str, str], ...]


def _install_sections(context: Context, switch: Switch) -> tuple[Install, Install]:
    """What the old and the new unit ask for; equal if the unit is not among what changes."""
    path = context.unit_file(service_unit(switch.name))
    change = next((change for change in switch.changes if change.path == path), None)
    return ((), ()) if change is None else (_read_install(change.before), _read_install(change.after))


def _read_install(content: Content | None) -> Install:
    text = content.data.decode(errors="replace") if content is not None else ""
    settings = unitfile.parse(text).settings
    return tuple((setting.key, setting.value) for setting in settings if setting.section == "Install")


def _asked_for(units: Path, unit: str, install: Install) -> Iterator[str]:
    for key, value in install:
        for word in value.split():
            if key in _WORDS:
                yield str(units / f"{word}{_WORDS[key]}" / unit)
            elif key == "Alias":
                yield str(units / word)
