"""Fuzzes image configs, all the way to the unit, the runtime config and the tmpfiles rules that come of them.

An image without exports is run by our own templates. So whatever its config says, it is refused with a reason, or the
texts have the settings they always have and the values differ only where they may.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from syscontainers.errors import SyscontainersError
from syscontainers.exports.compose import Composition
from syscontainers.images.config import ImageConfig
from syscontainers.systemd.unitfile import parse
from tests.unit.exports_image import compose_image, make_image

from .choices import Choices, edit

_GOOD: dict[str, Any] = {
    "os": "linux",
    "architecture": "amd64",
    "created": "2026-01-02T03:04:05Z",
    "author": "a",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
    "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "x", "empty_layer": True}],
    "config": {
        "Entrypoint": ["/bin/true", "a"],
        "Cmd": ["b"],
        "Env": ["A=b", "PATH=/bin"],
        "WorkingDir": "/srv",
        "User": "web:staff",
        "StopSignal": "SIGTERM",
        "Volumes": {"/data": {}, "/srv/files": {}},
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"io.x": "y"},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1},
    },
}
_FILES: dict[str, str | bytes | None] = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:33:w:/home/web:/bin/sh\n",
    "etc/group": "root:x:0:\nstaff:x:50:web\n",
    "srv/files/a": "x",
    "link": "-> /etc",
    "loop": "-> loop",
    "proclink": "-> /proc/self/fd",
    "data": None,
}


class Bench:
    """An image's root, and what comes of it when nobody plays tricks."""

    def __init__(self, top: Path) -> None:
        self.top = make_image(top, _FILES)
        good = compose_image(top, image=ImageConfig.parse(json.dumps(_GOOD).encode(), "config"))
        self._settings = _settings(good)
        self._members = _members(good)

    def run(self, data: bytes) -> None:
        """One input: a byte for the kind, then decisions or the document itself."""
        text = data[1:] if data[:1] == b"\xff" else json.dumps(edit(_GOOD, Choices(data[:60]))).encode()
        try:
            composition = compose_image(self.top, image=ImageConfig.parse(text, "config"))
        except SyscontainersError:
            return  # with a reason
        self._check(composition)

    def _check(self, composition: Composition) -> None:
        assert composition.config is not None
        assert _settings(composition) == self._settings
        assert _members(composition) == self._members
        process = composition.config.data["process"]
        assert set(process["capabilities"]) == {"bounding", "effective", "permitted", "inheritable", "ambient"}
        assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
        assert process["cwd"].startswith("/")
        assert process["cwd"].split("/")[1] != "proc"
        ids = (process["user"]["uid"], process["user"]["gid"], *process["user"].get("additionalGids", ()))
        assert all(0 <= each < 1 << 31 for each in ids)
        for mount in composition.config.data["mounts"]:
            if "bind" in mount["options"] or "rbind" in mount["options"]:
                assert mount["source"].startswith(("/var/lib/etcd/", "/etc/")), mount
            assert mount["destination"].startswith("/")
            assert ".." not in mount["destination"].split("/")
        for rule in (composition.tmpfiles or "").splitlines():
            assert rule.startswith(("#", "d /var/lib/etcd/", 'd "/var/lib/etcd/')), rule


def _settings(composition: Composition) -> list[tuple[str, str]]:
    unit = parse(composition.service or "")
    assert not unit.problems
    return [(entry.section, entry.key) for entry in unit.settings]


def _members(composition: Composition) -> set[str]:
    assert composition.config is not None
    config = composition.config.data
    return {*config, *(f"linux.{key}" for key in config["linux"]), *(f"process.{key}" for key in config["process"])}


@contextlib.contextmanager
def target(corpus: Path) -> Iterator[Callable[[bytes], None]]:
    """What to call with each input, after ``corpus`` has been filled with seeds."""
    (corpus / "raw").write_bytes(b"\xff" + json.dumps(_GOOD).encode())
    for first in range(0, 200, 10):
        (corpus / f"edit{first}").write_bytes(bytes(range(first, first + 30)))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Bench(Path(name)).run
