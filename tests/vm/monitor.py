"""qemu's own remote control (QMP): just enough to freeze a machine into a file and to thaw it.

docs/interop/qmp-spec.txt and docs/devel/migration.rst of qemu.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class MonitorError(Exception):
    """qemu refused a command, or it failed."""


def _connect(connection: socket.socket, address: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return connection.connect(str(address))
        except (FileNotFoundError, ConnectionRefusedError):  # qemu opens one socket after the other
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Monitor:
    """A connection to one qemu."""

    def __init__(self, address: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(600)
        _connect(self._connection, address)
        self._lines = self._connection.makefile("rb")
        self._lines.readline()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._connection.close()

    def execute(self, command: str, **arguments: object) -> Any:
        """The answer to one command. Raises MonitorError."""
        self._connection.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self._lines.readline())
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:  # anything else is an event
                return answer["return"]

    def freeze(self, file: Path) -> None:
        """Stop the processors and write memory and devices into ``file``."""
        self.execute("stop")
        # At most so many bytes a second, of which qemu takes much too few by default.
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.execute("migrate", uri=f"exec:cat >{file}")
        self._wait_until_moved()

    def thaw(self, file: Path) -> None:
        """Take memory and devices from ``file`` and go on; for a qemu that was started with ``-incoming defer``."""
        self.execute("migrate-incoming", uri=f"exec:cat {file}")
        self._wait_until_moved()
        self.execute("cont")

    def _wait_until_moved(self) -> None:
        while True:
            status = self.execute("query-migrate").get("status", "")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise MonitorError(f"the migration has {status}")
            time.sleep(0.05)
