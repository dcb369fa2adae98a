"""The pieces of JSON that our own config template is put together from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .capabilities import select_capabilities
from .process import Process
from .seccomp import make_filter
from .tree import is_symlink_in_tree
from .values import Target

_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/localtime")


def config_fragments(process: Process, values: Mapping[str, str], target: Target, tree: int) -> dict[str, str]:
    """Template variable → JSON text. ``values`` are the texts of our parameters."""
    shares_network = values["NETWORK"] == "host"
    # Who shares the host's network announces itself under the host's name, also after that name has changed.
    hostname = values["HOSTNAME"] or ("" if shares_network else target.name)
    capabilities = select_capabilities(values["CAPABILITIES"])
    mounts = [
        *(host_file_mounts(target, tree) if shares_network else ()),
        *volume_mounts(process, values["STATE_DIRECTORY"], target.name),
    ]
    return {
        "PROCESS_USER": _json(_user(process)),
        "PROCESS_ARGS": _json(process.args),
        "PROCESS_ENV": _json(process.env),
        "PROCESS_CWD": _json(process.cwd),
        "PROCESS_CAPABILITIES": _json(capabilities),
        "HOSTNAME_MEMBER": f'"hostname": {_json(hostname)},' if hostname else "",
        "NAMESPACES": _json(_namespaces(shares_network, hostname)),
        "EXTRA_MOUNTS": "".join(f",\n        {_json(mount)}" for mount in mounts),
        "SECCOMP_MEMBER": _seccomp_member(values["SECCOMP"], capabilities),
    }


def host_file_mounts(target: Target, tree: int) -> Iterable[dict[str, Any]]:
    """Binds of the host's own name resolution and time zone, where it has them at this moment."""
    for path in _HOST_FILES:
        # Through the usual link of /etc/localtime a bind would change what the image calls UTC.
        if path == "/etc/localtime" and is_symlink_in_tree(tree, path):
            continue
        if target.host.joinpath(path.lstrip("/")).is_file():
            yield _bind(path, path, "ro", "nosuid", "nodev", "noexec")


def volume_mounts(process: Process, state_directory: str, name: str) -> Iterable[dict[str, Any]]:
    """Binds of the volumes, parents first."""
    for volume in process.volumes:
        yield _bind(volume.source(f"{state_directory}/{name}"), volume.destination, "rw", "nosuid", "nodev")


def _seccomp_member(choice: str, capabilities: Sequence[str]) -> str:
    return "" if choice == "unconfined" else f'"seccomp": {_json(make_filter(capabilities))},'


def _bind(source: str, destination: str, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", *options],
    }


def _user(process: Process) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": process.user.uid, "gid": process.user.gid}
    if process.user.additional_gids:
        user["additionalGids"] = list(process.user.additional_gids)
    return user


def _namespaces(shares_network: bool, hostname: str) -> list[dict[str, str]]:
    kinds = ["pid", "ipc", "mount", "cgroup"]
    kinds += [] if shares_network else ["network"]
    kinds += ["uts"] if hostname else []
    return [{"type": kind} for kind in kinds]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
