"""An update that stands still in the middle for as long as a test wants: its health check waits for a file."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.machine.command import syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.waiting import wait_for

_HEALTH = {"health": {"command": ["stat", "/run/open"], "timeout": 120, "interval": 0.2}}


@dataclass(frozen=True)
class GatedUpdate:
    """An update of ``name`` from generation 0 to 1, under way until ``open_gate`` or a signal."""

    host: ThrowawayHost
    name: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """Its process, as the machine numbers it."""
        text = self.host.path(f"/var/lib/syscontainers/locks/{self.name}.lock").read_text()
        return int(text.rpartition("pid ")[2].rstrip(")\n"))

    def is_under_way(self) -> bool:
        return self.process.poll() is None

    def open_gate(self) -> None:
        """The new generation is well from now on."""
        syscontainer(self.host, "exec", self.name, "touch", "/run/open")

    def signal(self, number: int) -> None:
        self.host.run(["kill", f"-{number}", str(self.pid)])

    def end(self) -> tuple[int, str]:
        """Its exit code and what it wrote to stderr."""
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors


@contextlib.contextmanager
def gated_update(host: ThrowawayHost, make_image: MakeImage, name: str) -> Iterator[GatedUpdate]:
    """Install ``name``, running; update it as far as the health check of the new generation. All gone at the end."""
    old, new = make_image(), make_image(exports={"manifest.json": json.dumps(_HEALTH)})
    syscontainer(host, "install", "--now", "--name", name, old)
    before = unit_property(host, f"{name}.service", "InvocationID")
    process = host.popen(["syscontainer", "update", "--image", new, name])
    try:
        wait_for(
            lambda: (
                unit_property(host, f"{name}.service", "InvocationID") != before
                and unit_property(host, f"{name}.service", "ActiveState") == "active"
            ),
            "the new generation does not start",
        )
        yield GatedUpdate(host, name, process)
    finally:
        process.kill()
        process.communicate()
        host.run(["syscontainer", "uninstall", name], check=False)
        syscontainer(host, "image", "rm", old, new)
        syscontainer(host, "prune")
