"""Where the demo plays: a machine with a systemd, an empty registry on its loopback, and ``syscontainer`` in its PATH.

The command comes from the wheel in an environment of its own, as it would for anybody who has no checkout.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.machine.host import ThrowawayHost
from tests.wheel import CHECKOUT, installed_commands

REGISTRY_UNIT = "demo-registry.service"
REGISTRY_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {directory}/data}}}}
http: {{addr: "{address}"}}
"""


class StageError(Exception):
    """Setting the stage failed; the text says why and what to do."""


class Machine(Protocol):
    """What the demo needs of the machine it runs on."""

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """The command that runs ``argv`` there."""
        ...


@dataclass(frozen=True)
class RealMachine:
    """The machine we are on, which must be run by systemd."""

    commands: Path

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """Run it here, with the environment's commands first in PATH."""
        return ["env", f"PATH={self.commands}:{os.environ.get('PATH', os.defpath)}", *map(str, argv)]


@dataclass(frozen=True)
class Stage:
    """A machine and the registry on it."""

    machine: Machine
    registry: str
    how_to_enter: str
    how_to_end: str


def run_quietly(machine: Machine, script: str) -> str:
    """Run a shell script that is not part of the show; what it wrote. Raises StageError when it fails."""
    argv = machine.command(["bash", "-euo", "pipefail", "-c", script])
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError(f"{script}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def start_registry(machine: Machine, address: str, directory: str) -> None:
    """Run Debian's docker-registry as a service, and wait until it answers."""
    config = REGISTRY_CONFIG.format(address=address, directory=directory)
    run_quietly(
        machine,
        f"mkdir -p {directory}; printf %s '{config}' >{directory}/config.yml;"
        f"systemd-run --quiet --collect --unit={REGISTRY_UNIT} docker-registry serve {directory}/config.yml;"
        f"timeout 20 curl --silent --retry 100 --retry-connrefused --retry-delay 0 http://{address}/v2/",
    )


@contextlib.contextmanager
def throwaway_stage(*, keep: bool) -> Iterator[Stage]:
    """A machine that is thrown away afterwards, unless it is to be kept."""
    machine = ThrowawayHost(commands=[installed_commands()])
    machine.start(outlive_us=keep)
    harness = f"{Path(sys.executable)} -m tests.machine.host"
    try:
        start_registry(machine, "127.0.0.1:5000", "/var/lib/demo-registry")
        yield Stage(machine, "127.0.0.1:5000", f"{harness} enter {machine.name}", f"{harness} down {machine.name}")
    except BaseException:
        machine.stop()
        raise
    if not keep:
        machine.stop()


def _check_host() -> None:
    """Refuse a machine on which the demo would meet something that is not its own."""
    if os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        raise StageError("HOST=1 needs root on a machine that systemd runs; without it a throw-away machine is used")
    for path in ("/etc/systemd/system/etcd.service", "/lib/systemd/system/etcd.service", "/var/lib/etcd"):
        if Path(path).exists():
            raise StageError(f"this machine has an etcd already ({path}); run the demo without HOST=1")
    for port in (2379, 2380):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise StageError(f"something listens on port {port} already; run the demo without HOST=1")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def host_stage(*, keep: bool) -> Iterator[Stage]:
    """The machine we are on, which is as it was afterwards, unless etcd is to be kept."""
    _check_host()
    machine = RealMachine(installed_commands())
    address, directory = f"127.0.0.1:{_free_port()}", CHECKOUT / ".cache/demo-registry"
    undo = [
        "if syscontainer show etcd; then syscontainer uninstall etcd; fi >/dev/null 2>&1",
        f"systemctl stop {REGISTRY_UNIT}",
        f"rm -rf /var/lib/etcd {directory}",
    ]
    if Path("/var/lib/syscontainers").exists():
        undo.insert(1, f"for tag in 1 2; do syscontainer image rm {address}/etcd:$tag || true; done")
    else:
        undo.append("rm -rf /var/lib/syscontainers")
    end = f"env PATH={machine.commands}:$PATH sh -c '{'; '.join(undo)}'"
    kept = False
    try:
        start_registry(machine, address, str(directory))
        yield Stage(machine, address, f"env PATH={machine.commands}:$PATH bash", end)
        kept = keep
    finally:
        if not kept:
            run_quietly(machine, "; ".join(undo))
