"""The installed command, run inside a throw-away machine as a user would."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.machine.host import ThrowawayHost


def syscontainer(host: ThrowawayHost, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run ``syscontainer WORDS…`` and demand the exit code ``code``."""
    done = host.run(["syscontainer", *words], check=False)
    assert done.returncode == code, f"exit code {done.returncode}, not {code}\n{done.stdout}{done.stderr}"
    return done


def show(host: ThrowawayHost, name: str) -> Any:
    """What ``show --json`` says."""
    return json.loads(syscontainer(host, "show", "--json", name).stdout)


def unit_property(host: ThrowawayHost, unit: str, name: str) -> str:
    """One property of a unit, from systemd itself."""
    return host.run(["systemctl", "show", "--value", f"--property={name}", unit]).stdout.strip()
