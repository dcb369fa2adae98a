"""Making runtime configs of any age run on today's runtimes.

The corpus of system container images was written for runtime-spec 0.3 to 1.0-rc and for runtimes that ignored what
they did not like. Each function here mends one such thing in place and says so. Seen with runc 1.1.5 and crun 1.8.1;
what newer ones refuse is named where it is mended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..typed import Document
from .tree import normal_path

Say = Callable[[str], None]

SPEC_VERSION = "1.0.0"
_CURRENT = re.compile(r"1\.[0-9]+\.[0-9]+(?:-dev)?")
_CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
# runtime-spec, "Linux mount options", and crun's and runc's own; all else is data for a file system, which a bind
# mount has none of.
_FLAGS = """
    async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
    noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime
    relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro
    rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave
    strictatime suid symfollow sync unbindable idmap ridmap copy-symlink src-nofollow dest-nofollow
"""
_MOUNT_FLAGS = frozenset(_FLAGS.split())
_PROPAGATION = frozenset(["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"])
_SHARED = frozenset(("shared", "rshared"))


def repair_version(config: Document, say: Say) -> None:
    """Versions before 1.0: crun refuses them ("unknown version specified"); a missing one every runtime does."""
    version = config.get_str("ociVersion", "")
    if not _CURRENT.fullmatch(version):
        say(f"ociVersion {version or '(none)'} became {SPEC_VERSION}")
        config.raw()["ociVersion"] = SPEC_VERSION


def repair_places(config: Document, say: Say) -> None:
    """Members that runtime-spec moved from ``linux`` to ``process``; today's runtimes lose them without a word."""
    process, linux = config.get_object("process").raw(), config.get_object("linux").raw()
    for key in ("rlimits", "capabilities"):
        if key in linux:
            value = linux.pop(key)
            if key not in process:
                process[key] = value
                say(f"linux.{key} moved to process.{key}")
    if "selinuxProcessLabel" in linux:
        process.setdefault("selinuxLabel", linux.pop("selinuxProcessLabel"))


def repair_capabilities(process: Document, say: Say, grantable: Collection[str]) -> None:
    """A plain list becomes the three sets it meant; what this host cannot grant is dropped.

    runc fails to parse the list. One capability that is not in the bounding set makes every runtime fail.
    """
    if isinstance(process.get("capabilities"), list):
        names = process.get_strings("capabilities")
        process.raw()["capabilities"] = {kind: list(names) for kind in _CAPABILITY_SETS[:3]}
        say("process.capabilities was a plain list: it now fills bounding, effective and permitted")
    sets = process.get_optional_object("capabilities")
    if sets is None:
        return
    dropped: set[str] = set()
    for kind in _CAPABILITY_SETS:
        if kind in sets:
            names = [_full_name(name) for name in sets.get_strings(kind, [])]
            dropped |= {name for name in names if name not in grantable}
            sets.raw()[kind] = [name for name in dict.fromkeys(names) if name in grantable]
    if dropped:
        say(f"capabilities that this host cannot grant were dropped: {', '.join(sorted(dropped))}")


def _full_name(name: str) -> str:
    return "CAP_" + name.upper().removeprefix("CAP_")


def repair_labels(config: Document, say: Say, *, selinux: bool, apparmor: bool) -> None:
    """Labels of a security module that is off: runtimes fail on them."""
    process, linux = config.get_object("process").raw(), config.get_object("linux").raw()
    places = [] if selinux else [(process, "process.selinuxLabel"), (linux, "linux.mountLabel")]
    places += [] if apparmor else [(process, "process.apparmorProfile")]
    for holder, place in places:
        if holder.pop(place.partition(".")[2], ""):
            say(f"{place} was dropped: {'AppArmor' if 'apparmor' in place else 'SELinux'} is off on this host")


def repair_mount(mount: Document, say: Say, *, selinux: bool) -> None:
    """One mount: its options a list, binds with a bind option and no file system data, no labels where there are none.

    Data on a bind, ``mode=755`` above all, was ignored by runc before 1.2.0, which fails on it.
    """
    raw = mount.raw()
    destination = mount.get_str("destination")
    options = _read_options(mount)
    if not destination.startswith("/"):
        raw["destination"] = f"/{destination}"
        say(f"mount {destination}: is now /{destination}")
    if is_bind(raw.get("type"), options):
        options = _repair_bind(mount, options, say)
    if not selinux:
        kept = [option for option in options if not re.match(r"(?:fs|def|root)?context=", option)]
        if kept != options:
            say(f"mount {destination}: the SELinux context was dropped: SELinux is off on this host")
        options = kept
    if options or "options" in raw:
        raw["options"] = options


def is_bind(kind: Any, options: Collection[str]) -> bool:
    """Whether a mount with this type and these options is a bind mount."""
    return kind in ("bind", "rbind") or "bind" in options or "rbind" in options


def _repair_bind(mount: Document, options: list[str], say: Say) -> list[str]:
    destination, kind = mount.get_str("destination"), mount.get_str("type", "")
    data = [option for option in options if option not in _MOUNT_FLAGS]
    if data:
        say(f"mount {destination}: {', '.join(data)} was dropped: a bind mount takes no such option")
    if kind != "bind":
        mount.raw()["type"] = "bind"
        if kind not in ("none", ""):
            say(f"mount {destination}: type {kind} became bind")
    flags = [option for option in options if option in _MOUNT_FLAGS]
    if "bind" not in flags and "rbind" not in flags:
        # For runtimes the option counts, not the type (runtime-spec, "Mounts"): "rbind" as a type fails everywhere.
        flags.insert(0, "rbind" if kind == "rbind" else "bind")
    return flags


def _read_options(mount: Document) -> list[str]:
    if isinstance(mount.get("options"), str):
        return [option for option in mount.get_str("options").split(",") if option]
    return mount.get_strings("options", [])


def repair_propagation(config: Document, say: Say) -> None:
    """A root whose propagation lets through what its mounts promise.

    Below a root that is a slave, a "shared" mount is shared with nobody: what the payload mounts there, a kubelet its
    volumes, never reaches the host (seen with runc 1.1.5 and crun 1.8.1). "shared" alone is enough, "rshared" would
    share /dev and all the rest; binds that say nothing keep what the root said until now.
    """
    linux, mounts = config.get_object("linux"), config.get_objects("mounts", [])
    words = [_SHARED & set(mount.get_strings("options", [])) for mount in mounts]
    root = linux.get_str("rootfsPropagation", "")
    if root in _SHARED or not any(words):
        return
    linux.raw()["rootfsPropagation"] = "shared"
    say(f"linux.rootfsPropagation {root or '(none)'} became shared: a mount is to be shared with the host")
    inherited = "rprivate" if root in ("private", "rprivate") else "rslave"
    for mount in mounts:
        options = mount.get_strings("options", [])
        if is_bind(mount.get("type"), options) and _PROPAGATION.isdisjoint(options):
            mount.raw()["options"] = [*options, inherited]


def repair_seccomp(linux: Document, say: Say) -> None:
    """Rules that name one system call by ``name``, as before 1.0: today's runtimes read only ``names``."""
    seccomp = linux.get_optional_object("seccomp")
    if seccomp is None:
        return
    old = [rule for rule in seccomp.get_objects("syscalls", []) if "name" in rule and "names" not in rule]
    for rule in old:
        rule.raw()["names"] = [rule.raw().pop("name")]
    if old:
        say("linux.seccomp: syscalls[].name became names")


def repair_limits(process: Document, say: Say, hard: Mapping[str, int]) -> None:
    """Limits above those of PID 1 on a host where nobody may raise them (no CAP_SYS_RESOURCE): runtimes fail on EPERM.

    ``hard`` maps the limits that cannot be raised to where they are; empty where they can.
    """
    for limit in process.get_objects("rlimits", []):
        highest = hard.get(limit.get_str("type", ""))
        for key in ("hard", "soft"):
            if highest is not None and limit.get_int(key, 0) > highest:
                limit.raw()[key] = highest
                say(f"process.rlimits {limit.get_str('type')}: {key} became {highest}: this host allows no more")


def repair_devices(config: Document, say: Say) -> None:
    """A place for /dev/null and its like: runtimes make them in the root, which is read-only before they come."""
    mounts = config.get_objects("mounts", [])
    if not any(normal_path(f"/{mount.get_str('destination')}") == "/dev" for mount in mounts):
        options = ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"]
        tmpfs = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": options}
        config.raw()["mounts"] = [tmpfs, *config.get_list("mounts", [])]
        say("mount /dev was added: a tmpfs for the devices that every container has")


def repair_terminal(process: Document, say: Say) -> None:
    """A terminal that nobody would hold: a detached runtime refuses to start without a console socket."""
    if process.get_bool("terminal", False):
        process.raw()["terminal"] = False
        say("process.terminal was switched off: a service has none")
    process.raw().pop("consoleSize", None)


def repair_hostname(config: Document, say: Say) -> None:
    """A host name without a UTS namespace of its own would rename the host; runtimes refuse."""
    kinds = [entry.get_str("type", "") for entry in config.get_object("linux").get_objects("namespaces", [])]
    for key in ("hostname", "domainname"):
        if "uts" not in kinds and config.get_str(key, ""):
            del config.raw()[key]
            say(f"{key} was dropped: there is no UTS namespace to set it in")
