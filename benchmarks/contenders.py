"""Everybody who pulls: how each is set up with all its files in one directory, and what it is asked to do.

Programs find their configuration there as well, so that this machine's does not matter.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.wheel import installed_commands

from .common import call

Command = Sequence[str | Path]
_DAEMON_SECONDS = 20.0


@dataclass(frozen=True)
class Ready:
    """A contender with its storage; ``commands`` turns an image's reference into what is measured."""

    commands: Callable[[str], list[Command]]
    daemon: int | None = None
    """The process that does the work, where it is not a child of the command's."""
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """``open`` sets it up in an empty directory, once before the first version of an image and the second."""

    name: str
    open: Callable[[Path], AbstractContextManager[Ready]]
    version: Callable[[], str]
    is_slow: bool = False
    """It takes part in the first round only: no goal is about it, and it would take most of the time."""
    updates: bool = True
    """Whether it makes any use of an earlier version's layers."""


@contextlib.contextmanager
def _open_ours(place: Path) -> Iterator[Ready]:
    settings = place / "config.toml"
    settings.write_text(f'state = "{place}/state"\n')
    program = installed_commands() / "syscontainer"
    yield Ready(lambda image: [[program, "--config", settings, "pull", "--quiet", "--plain-http", image]])


@contextlib.contextmanager
def _open_podman(place: Path) -> Iterator[Ready]:
    settings, temporary = place / "storage.conf", place / "tmp"
    temporary.mkdir(exist_ok=True)
    settings.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/storage"\nrunroot = "{place}/run"\n')
    environment = {"CONTAINERS_STORAGE_CONF": str(settings), "TMPDIR": str(temporary)}
    yield Ready(lambda image: [["podman", "pull", "--quiet", "--tls-verify=false", image]], environment=environment)


_CONTAINERD = """\
version = 2
root = "{place}/root"
state = "{place}/state"
temp = "{place}/tmp"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{place}/socket"
"""


@contextlib.contextmanager
def _open_containerd(place: Path) -> Iterator[Ready]:
    """A daemon of its own, running before the clock does; ctr unpacks with its overlayfs snapshotter."""
    settings, socket = place / "config.toml", place / "socket"
    settings.write_text(_CONTAINERD.format(place=place))
    # It must not survive us, however we end.
    argv: Command = ["setpriv", "--pdeathsig", "KILL", "containerd", "--config", settings, "--log-level", "error"]
    with open(place / "log", "wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as daemon:
        try:
            _await_containerd(socket, daemon)
            yield Ready(
                lambda image: [["ctr", "--address", socket, "images", "pull", "--plain-http", image]],
                daemon=daemon.pid,
            )
        finally:
            daemon.terminate()


def _await_containerd(socket: Path, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _DAEMON_SECONDS
    while daemon.poll() is None and time.monotonic() < deadline:
        if socket.exists():
            call("ctr", "--address", socket, "version")
            return
        time.sleep(0.02)
    raise RuntimeError(f"containerd does not start: {(socket.parent / 'log').read_text()}")


@contextlib.contextmanager
def _open_umoci(place: Path) -> Iterator[Ready]:
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)

    def commands(image: str) -> list[Command]:
        tag = image.rpartition(":")[2]
        # umoci knows no zstd; skopeo recompresses what it does not like on the way.
        copy: Command = [
            "skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-compress-format", "gzip",
            f"docker://{image}", f"oci:{place}/layout:{tag}",
        ]  # fmt: skip
        return [copy, ["umoci", "unpack", "--image", f"{place}/layout:{tag}", place / f"bundle-{tag}"]]

    yield Ready(commands, environment={"TMPDIR": str(temporary)})


def _debian_version(package: str) -> str:
    return call("dpkg-query", "-W", "-f", "${Version}", package)


def _own_version() -> str:
    return call(installed_commands() / "syscontainer", "--version").split()[-1]


OURS = Contender("syscontainer", _open_ours, _own_version)
PODMAN = Contender("podman", _open_podman, lambda: _debian_version("podman"))
CONTAINERD = Contender("containerd", _open_containerd, lambda: _debian_version("containerd"), is_slow=True)
UMOCI = Contender("skopeo + umoci", _open_umoci, lambda: _debian_version("umoci"), is_slow=True, updates=False)
CONTENDERS = (OURS, PODMAN, CONTAINERD, UMOCI)
