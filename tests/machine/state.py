"""What a machine looks like in every place that we touch, so that before and after can be compared."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from syscontainers.systemd.unitfile import mount_unit_name
from tests.machine.host import HARNESS_SLICE, ThrowawayHost
from tests.waiting import turns

DIRECTORIES = (
    "/etc/systemd/system",
    "/etc/tmpfiles.d",
    "/etc/syscontainers",
    "/var/lib/syscontainers",
    "/run/runc",
    "/run/crun",
    "/run/systemd/transient",
    "/srv/faulty",
)
# Numbers of generations only grow, also by updates that failed.
# Lock files stay, as flock(2) files must; locks of who is gone mean nothing.
LEFT_BY_DESIGN = (".lock",)
_HISTORY = re.compile(rb',"names-history":\[[^]]*\]')
# runc mounts a copy of itself for a moment, and PID 1, which looks at most five times a second, may go on believing in
# it. What is really mounted is looked at by itself.
_FLEETING = re.compile(r"run-runc-.*-runc\.\w+\.mount")
_GROUPS = ("find", "/sys/fs/cgroup", "-mindepth", "2", "-type", "d")


@dataclass(frozen=True)
class State:
    """Comparable, and printable line by line by pytest where two differ."""

    files: dict[str, str]
    mounts: list[str]
    groups: list[str]
    units: list[str]


def _describe(path: Path) -> str:
    status = path.lstat()
    if path.is_symlink():
        return f"-> {path.readlink()}"
    content = path.read_bytes() if path.is_file() else b""
    # What an image was called once stays in its record, as podman keeps it.
    content = _HISTORY.sub(b"", content) if path.name == "images.json" else content
    return f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {hash(content)}"


def _files(host: ThrowawayHost) -> Iterator[tuple[str, str]]:
    top = host.path("/")
    for directory in DIRECTORIES:
        root = host.path(directory)
        for path in [root, *sorted(root.rglob("*"))] if root.exists() else []:
            if not path.name.endswith(LEFT_BY_DESIGN) and "/syscontainers/numbers" not in str(path):
                yield f"/{path.relative_to(top)}", _describe(path)


def take_state(host: ThrowawayHost) -> State:
    """The machine's state now."""
    mounts = sorted(host.run(["findmnt", "--list", "--noheadings", "--output=TARGET,FSTYPE"]).stdout.splitlines())
    return State(
        files=dict(_files(host)),
        mounts=mounts,
        groups=[line for line in host.run(_GROUPS).stdout.split() if HARNESS_SLICE not in line],
        units=_caught_up_units(host, {mount_unit_name(Path(line.rsplit(None, 1)[0])) for line in mounts}),
    )


def _caught_up_units(host: ThrowawayHost, mounted: Container[str]) -> list[str]:
    """The units, once PID 1 has seen that what is no longer mounted is gone; what it still believes in is told."""
    for _ in turns(5.0):
        units = _units(host)
        if all(name in mounted for name, active in units if name.endswith(".mount") and active == "active"):
            break
    return sorted(f"{name} {active}" for name, active in units)


def _units(host: ThrowawayHost) -> list[tuple[str, str]]:
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,mount,slice,scope,socket"]
    loaded = [line.split() for line in host.run(units).stdout.splitlines()]
    # Units that only somebody's ordering names come and go with the reloads.
    return [
        (name, active) for name, load, active, *_ in loaded if load != "not-found" and not _FLEETING.fullmatch(name)
    ]


def difference(before: State, after: State) -> list[str]:
    """Lines that say what has changed; none when nothing has."""
    lines: list[str] = []
    for field in fields(State):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if isinstance(old, dict):
            old, new = [f"{k} {v}" for k, v in old.items()], [f"{k} {v}" for k, v in new.items()]
        lines += [f"{field.name}: gone: {item}" for item in old if item not in new]
        lines += [f"{field.name}: new: {item}" for item in new if item not in old]
    return lines
