"""Fuzzes what an image says of itself in /exports: manifest.json and the templates, up to the finished texts.

An image's own templates may ask for much, so less can be promised than for ours: each input is refused with a reason,
or what comes of it can be read by what reads it next, and the root, the control group and the working directory are
ours.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from syscontainers.errors import SyscontainersError
from syscontainers.systemd.unitfile import parse
from tests.unit.exports_image import compose_image, make_image

from .choices import Choices, edit

_MANIFEST: dict[str, Any] = {
    "version": "1.0",
    "defaultValues": {"A": "b", "PORT": 80, "FLAG": True, "UUID": "x", "RUN_DIRECTORY": "/tmp"},
    "renameFiles": {"/usr/bin/a": "/usr/bin/$NAME", "/etc/x": "/etc/y"},
    "installedFilesTemplate": ["/etc/y"],
    "useLinks": False,
    "noContainerService": False,
    "parameters": {
        "PORT": {"type": "integer", "help": "h", "required": True},
        "A": {"type": "string", "allowed": ["b", "c"], "secret": True},
        "DIR": {"type": "path"},
        "LIST": {"type": "list"},
    },
    "health": {"command": ["/bin/true"], "interval": 1, "timeout": 2.5},
}
_CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "hostname": "$NAME",
    "process": {
        "args": ["/bin/true", "$A"],
        "cwd": "/srv",
        "env": ["A=$PORT"],
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "terminal": False,
        "selinuxLabel": "x",
    },
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": []},
        {"destination": "/data", "type": "bind", "source": "/data", "options": ["rbind", "rw", "mode=755"]},
        {"destination": "/link/x", "type": "tmpfs", "source": "tmpfs", "options": "nosuid,mode=700"},
    ],
    "linux": {
        "namespaces": [{"type": "mount"}, {"type": "pid"}],
        "cgroupsPath": "/x",
        "rootfsPropagation": "rshared",
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"name": "kexec_load", "action": "SCMP_ACT_ERRNO"}],
        },
    },
    "hooks": {"prestart": [{"path": "/bin/true", "args": ["true"]}]},
}
_SERVICE = (
    "[Unit]\nDescription=$NAME\n[Service]\nExecStartPre=$EXEC_STARTPRE\nExecStart=$EXEC_START\nExecStop=$EXEC_STOP\n"
)
_RULES = "d /run/$NAME 0755 root root -\nL+ /run/x - - - - $A\n"
_GOOD = {"manifest": _MANIFEST, "config": _CONFIG, "service": _SERVICE, "tmpfiles": _RULES}
_NAMES = {
    "manifest": "manifest.json",
    "config": "config.json.template",
    "service": "service.template",
    "tmpfiles": "tmpfiles.template",
}
_FILES: dict[str, str | bytes | None] = {"srv/a": "", "link": "-> /etc", "loop": "-> loop", "etc": None}


class _Raw(bytes):
    """A file's content as it is."""


def _to_bytes(name: str, part: Any) -> bytes:
    if isinstance(part, _Raw):
        return part
    text = str(part) if name in ("service", "tmpfiles") else json.dumps(part)
    return text.encode("utf-8", "surrogatepass")


class Bench:
    """An image's root whose exports change with every input."""

    def __init__(self, top: Path) -> None:
        self._top = make_image(top, _FILES)
        self._exports = top / "exports"
        self._exports.mkdir()
        assert self._compose(_GOOD), "what the inputs are changes of is refused itself"

    def run(self, data: bytes) -> None:
        """One input: a byte for the kind, then decisions or the document itself."""
        kind, rest = data[:1] or b"\0", data[1:]
        choices = Choices(rest[:60])
        if kind == b"\xff":
            self._compose({**_GOOD, "manifest": _Raw(rest)})
            return
        name = list(_GOOD)[kind[0] % len(_GOOD)]
        self._compose({**_GOOD, name: edit([_GOOD[name]], choices)})

    def _compose(self, files: Mapping[str, Any]) -> bool:
        """Whether it is not refused."""
        for name, content in files.items():
            # Edited as the only thing in a list, so that it can also go missing or come twice.
            parts = content if isinstance(content, list) else [content]
            (self._exports / _NAMES[name]).write_bytes(b"".join(_to_bytes(name, part) for part in parts))
        try:
            composition = compose_image(self._top, {"DIR": "/x", "LIST": "[]"})
        except SyscontainersError:
            return False  # with a reason
        if composition.config is None:
            return True
        assert not [key for key in parse(composition.service or "").sections() if not key]
        finished = json.loads(composition.config.to_text())
        assert finished["root"]["path"] == "rootfs"
        assert finished["linux"]["cgroupsPath"].endswith("/payload")
        assert finished["process"]["cwd"].split("/")[1] != "proc"
        return True


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    (corpus / "raw").write_bytes(b"\xff" + json.dumps(_MANIFEST).encode())
    for kind in range(4):
        for first in range(0, 200, 10):
            (corpus / f"edit{kind}-{first}").write_bytes(bytes([kind, *range(first, first + 30)]))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Bench(Path(name)).run
