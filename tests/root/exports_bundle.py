"""Running what ``compose`` made with a real runtime, without systemd.

Mounts live in a mount namespace of the child's own, so nothing of them can stay behind.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from syscontainers.exports.compose import Composition, compose
from syscontainers.exports.contract import read_exports
from syscontainers.exports.host import Host
from syscontainers.exports.values import Target
from syscontainers.images.config import ImageConfig
from syscontainers.run import find_program
from tests.unit.exports_image import make_config, make_image, open_image

_BUSYBOX = Path("/bin/busybox")
# The root is shared, as systemd makes it on every host.
# crun 1.8.1 refuses machines that have controllers in both versions of cgroups at once, as CI's has.
_SCRIPT = """
set -e
mount --make-rshared /
umount /sys/fs/cgroup/unified 2>/dev/null || true
mount -t overlay overlay -o "$1" "$2"
shift 2
code=0
"$@" || code=$?
eval "$AFTER"
exit $code
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class Bundle:
    """A composition and the image it is for, ready to run."""

    directory: Path
    image: Path
    runtime: Path
    composition: Composition

    @property
    def config(self) -> dict[str, Any]:
        assert self.composition.config is not None
        return self.composition.config.data

    def run(self, timeout: float = 30.0, after: str = "") -> subprocess.CompletedProcess[str]:
        """Run the payload to its end in the foreground, then ``after``, a piece of shell, in what was its host."""
        name = f"exports-{os.getpid()}-{next(_numbers)}"
        # One level, so that the runtime removes all of it; and no systemd is here to own the real one.
        config = {**self.config, "linux": {**self.config["linux"], "cgroupsPath": f"/{name}"}}
        (self.directory / "config.json").write_text(json.dumps(config))
        command: list[str | Path] = [self.runtime, "run", "--bundle", self.directory, name]
        words: list[str | Path] = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            _SCRIPT,
            "-",
            self._options(),
            self.directory / "rootfs",
            *command,
        ]
        try:
            return subprocess.run(
                words,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "AFTER": after},
            )
        finally:
            subprocess.run([self.runtime, "delete", "--force", name], capture_output=True, check=False)

    def output(self, after: str = "") -> str:
        done = self.run(after=after)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _options(self) -> str:
        lowers = f"lowerdir={self.directory}/points:{self.image}"
        if self.composition.config is not None and self.composition.config.writable:
            return f"rw,{lowers},upperdir={self.directory}/upper,workdir={self.directory}/work"
        return f"ro,{lowers}"


def make_busybox(root: Path, files: Mapping[str, str | bytes | None] | None = None) -> Path:
    """An image with a shell and nothing else: not even the directories that every runtime mounts on."""
    make_image(root, {"bin/busybox": _BUSYBOX.read_bytes(), **(files or {})})
    (root / "bin/busybox").chmod(0o755)
    for applet in (
        "sh",
        "cat",
        "env",
        "id",
        "ls",
        "mkdir",
        "mount",
        "pwd",
        "sed",
        "sleep",
        "touch",
        "unshare",
        "hostname",
    ):
        (root / "bin" / applet).symlink_to("busybox")
    return root


def make_bundle(
    directory: Path,
    image: Path,
    runtime: str,
    values: Mapping[str, str] | None = None,
    config: ImageConfig | None = None,
    name: str = "c",
) -> Bundle:
    """Compose for ``image`` and lay out what a generation has; host directories are below ``directory/host``."""
    program = find_program(runtime)
    assert program is not None, f"{runtime} has to be installed"
    target = replace(
        Target(name, directory, "registry.example/c:1", "ab" * 32, program),
        run_directory=str(directory / "host/run"),
        state_directory=str(directory / "host/state"),
        conf_directory=str(directory / "host/conf"),
    )
    for each in ("rootfs", "points", "upper", "work"):
        (directory / each).mkdir(parents=True, exist_ok=True)
    with open_image(image) as tree:
        composition = compose(target, read_exports(tree), config or make_config(), tree, values or {}, Host.look())
    bundle = Bundle(directory, image, program, composition)
    _make_points(bundle)
    _make_sources(bundle)
    return bundle


def _make_points(bundle: Bundle) -> None:
    assert bundle.composition.config is not None
    for point in bundle.composition.config.mount_points:
        path = bundle.directory / "points" / point.path.lstrip("/")
        if point.directory:
            path.mkdir(exist_ok=True)
        else:
            path.touch()
        os.chown(path, point.uid, point.gid)
        path.chmod(point.mode)


def _make_sources(bundle: Bundle) -> None:
    """What systemd-tmpfiles makes of the rules at boot, made by systemd-tmpfiles."""
    if bundle.composition.tmpfiles is not None:
        rules = bundle.directory / "tmpfiles.conf"
        rules.write_text(bundle.composition.tmpfiles)
        done = subprocess.run(["systemd-tmpfiles", "--create", rules], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def copy_exports(source: Path, image: Path) -> Path:
    """Give ``image`` the files of ``source`` as its exports."""
    shutil.copytree(source, image / "exports")
    return image
