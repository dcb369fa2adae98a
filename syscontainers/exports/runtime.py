"""The runtime config as it goes to disk: an author's text made safe and runnable here, with a notice of each change."""

from __future__ import annotations

import copy
import json
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RefusedError
from ..typed import Document
from . import repair
from .mountpoints import (
    Destination,
    MissingSource,
    MountPoint,
    drop_idle_copies,
    find_intruders,
    find_missing_sources,
    plan_mount_points,
    resolve_destinations,
)
from .process import check_directory
from .render import Rendering, parse_rendered
from .tree import Place, resolve_in_tree

# Where runc, and crun, mount a directory with their own socket for sd_notify(3), without a word in the config.
_NOTIFY = ("/run/notify", "/run/systemd/notify")
PAYLOAD_GROUP = "payload"
"""The payload's own control group below its unit's."""


@dataclass(frozen=True)
class RuntimeFacts:
    """What a config is finalized against."""

    tree: int
    """A descriptor of the image's root."""
    cgroup: str
    """The unit's control group, from the root of the cgroup tree."""
    capabilities: Collection[str]
    """Those that the host can grant."""
    bundle: Path
    root: Path | None = None
    """The root, where it is a directory of the host's that nobody may write to."""
    made: Collection[str] = ()
    """Sources that are on the host because we make them."""
    host: Path = Path("/")
    limits: Mapping[str, int] = field(default_factory=dict)
    """Resource limits that cannot be raised further, by their names in a config."""
    selinux: bool = False
    apparmor: bool = False
    terminal: bool = False
    """Whether the unit provides one."""
    notifies: bool = False
    """Whether the unit has the runtime pass on what the payload says of its readiness."""


@dataclass(frozen=True)
class RuntimeConfig:
    """A finished ``config.json``."""

    data: dict[str, Any]
    notices: tuple[str, ...]
    """What was changed in the author's text, one line each."""
    writable: bool
    """Whether the root needs an upper layer."""
    missing_sources: tuple[MissingSource, ...]
    mount_points: tuple[MountPoint, ...]
    """What the generation must put into a layer of its own, on top of the image's; parents first."""

    @property
    def args(self) -> tuple[str, ...]:
        """The payload's command."""
        return tuple(self.data["process"]["args"])

    def to_text(self) -> str:
        """The file's content."""
        return json.dumps(self.data, indent=4, ensure_ascii=False) + "\n"


def finalize_config(rendering: Rendering, facts: RuntimeFacts) -> RuntimeConfig:
    """Check and mend a rendered config.

    Raises TemplateError for what is no JSON, DocumentError for what is no runtime config, RefusedError for mounts
    and directories that try to get out of the root.
    """
    notices: list[str] = []
    config = Document(copy.deepcopy(parse_rendered(rendering)), rendering.where)
    _require_command(config)
    _repair_all(config, facts, notices.append)
    writable = _settle_root(config, facts)
    _settle_cgroup(config, facts.cgroup, notices.append)
    mounts = config.get_objects("mounts", [])
    destinations = resolve_destinations(mounts, facts.tree, facts.host, notices.append)
    drop_idle_copies(mounts, destinations, facts.tree)
    notices += [
        f"{path} will be created on the host: a mount lies there" for path in find_intruders(mounts, facts.host)
    ]
    notices += [f"{path} will be run on the host, as a hook of the runtime" for path in _hooks(config)]
    cwd = _settle_directory(config.get_object("process"), facts.tree)
    covered = {each.place.path for each in destinations}
    places = [_look_up(facts.tree, cwd, covered)]
    places += [resolve_in_tree(facts.tree, path, covered=covered) for path in _NOTIFY if facts.notifies]
    wanted = [*destinations, *(Destination(place, True) for place in places)]
    points = () if writable else plan_mount_points(wanted, facts.tree)
    if facts.root is not None:
        lacking = [point.path for point in points if not facts.root.joinpath(point.path.lstrip("/")).exists()]
        notices += [f"{facts.root}{path} will be created: a mount goes there" for path in lacking]
        points = ()
    return RuntimeConfig(
        data=config.raw(),
        notices=tuple(notices),
        writable=writable,
        missing_sources=find_missing_sources(mounts, facts.host, facts.tree, facts.made),
        mount_points=points,
    )


def _require_command(config: Document) -> None:
    process = config.get_object("process")
    if not process.get_strings("args"):
        process.fail("args", "must name a program")
    config.raw().setdefault("linux", {})


def _repair_all(config: Document, facts: RuntimeFacts, say: repair.Say) -> None:
    repair.repair_version(config, say)
    repair.repair_places(config, say)
    process, linux = config.get_object("process"), config.get_object("linux")
    repair.repair_capabilities(process, say, facts.capabilities)
    repair.repair_labels(config, say, selinux=facts.selinux, apparmor=facts.apparmor)
    repair.repair_seccomp(linux, say)
    repair.repair_hostname(config, say)
    repair.repair_limits(process, say, facts.limits)
    repair.repair_devices(config, say)
    if not facts.terminal:
        repair.repair_terminal(process, say)
    for mount in config.get_objects("mounts", []):
        repair.repair_mount(mount, say, selinux=facts.selinux)
    repair.repair_propagation(config, say)


def _settle_root(config: Document, facts: RuntimeFacts) -> bool:
    root = config.get_object("root")
    if facts.root is not None:
        if not root.get_bool("readonly", False):
            root.fail("readonly", f"must be true: {facts.root} is nobody's own")
        root.raw()["path"] = str(facts.root)
        return False
    path = posixpath.normpath(root.get_str("path"))
    if path not in ("rootfs", str(facts.bundle / "rootfs")):
        root.fail("path", f"must be rootfs, not {path!r}")
    root.raw()["path"] = "rootfs"
    return not root.get_bool("readonly", False)


def _settle_cgroup(config: Document, unit_cgroup: str, say: repair.Say) -> None:
    # Absolute: runc resolves a relative path against its own group's parent, crun against the root.
    linux = config.get_object("linux")
    wanted = f"{unit_cgroup}/{PAYLOAD_GROUP}"
    asked = linux.get_str("cgroupsPath", "")
    if asked not in ("", wanted):
        say(f"linux.cgroupsPath {asked} became {wanted}: only there do the unit's limits and signals reach the payload")
    linux.raw()["cgroupsPath"] = wanted


def _hooks(config: Document) -> list[str]:
    """Programs of the host that the author's config has run there (runtime-spec, "POSIX-platform Hooks")."""
    hooks = config.get_object("hooks", {})
    return sorted({hook.get_str("path") for kind in hooks for hook in hooks.get_objects(kind, [])})


def _settle_directory(process: Document, tree: int) -> str:
    directory = check_directory(tree, process.get_str("cwd", "/"))
    process.raw()["cwd"] = directory
    return directory


def _look_up(tree: int, path: str, covered: Collection[str]) -> Place:
    place = resolve_in_tree(tree, path, covered=covered)
    if place.status is not None and not place.is_directory:
        raise RefusedError(f"the working directory {path} is a file in the image", "--set CWD=/…")
    return place
