"""``doctor`` and ``stats``: what of the host stands in the way, and what containers use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.shipped import RECOVER, shipped_unit

pytestmark = [pytest.mark.machine, pytest.mark.root]


def findings(host: ThrowawayHost, *options: str, code: int = 0) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(syscontainer(host, *options, "doctor", "--json", code=code).stdout):
        found.setdefault(row["what"], []).append(row)
    return found


def test_a_sound_host_has_no_problem(host: ThrowawayHost) -> None:
    found = findings(host)
    assert set(found) == {
        *(
            "systemd",
            "runtime",
            "programs",
            "kernel",
            "storage",
            "overlayfs",
            "leftovers",
            "containers",
            "export",
            "boot",
        )
    }
    assert found["systemd"][0]["text"].startswith("systemd 2")
    assert "runc" in found["runtime"][0]["text"]
    assert "on ext4" in found["storage"][0]["text"]
    assert "WHAT" in syscontainer(host, "doctor").stdout


def test_boot_units_for_another_state_directory_are_told(host: ThrowawayHost) -> None:
    unit = f"/etc/systemd/system/{RECOVER}"
    host.path(unit).write_text(shipped_unit(RECOVER))
    host.path("/run/other.toml").write_text('state = "/srv/state"\nstorage = "/var/lib/syscontainers/storage"\n')
    other = ("--config", "/run/other.toml")
    host.shell(f"systemctl daemon-reload; systemctl --quiet enable {RECOVER}")
    try:
        assert findings(host)["boot"][0]["text"] == "1 units for /var/lib/syscontainers"
        told = findings(host, *other, code=1)["boot"][0]
        assert told["text"] == f"{RECOVER} is for another state directory than /srv/state"
        # As boot.md says.
        host.shell(f"sed -i s,/var/lib/syscontainers,/srv/state,g {unit}; systemctl daemon-reload")
        assert [row["level"] for row in findings(host, *other)["boot"]] == ["ok"]
        # And each is wanted by some target.
        host.run(["systemctl", "--quiet", "disable", RECOVER])
        told = findings(host, *other)["boot"][0]
        assert (told["level"], told["text"]) == ("warning", f"{RECOVER} is not enabled")
        assert told["hint"] == f"systemctl enable {RECOVER}"
    finally:
        host.run(["systemctl", "--quiet", "disable", RECOVER])
        host.run(["rm", unit, "/run/other.toml"])
        host.run(["systemctl", "daemon-reload"])


def test_problems_are_found_and_told(host: ThrowawayHost, make_image: MakeImage) -> None:
    syscontainer(host, "install", "--name", "ill", make_image())
    info = host.path("/var/lib/syscontainers/containers/ill.0/info")
    kept = info.read_text()
    info.write_text("{")
    host.shell("mkdir -p /var/lib/syscontainers/runs/x-run-1 /var/lib/syscontainers/transactions")
    host.shell("mv /usr/bin/flock /usr/bin/flock.away; echo '{' >/var/lib/syscontainers/transactions/y.json")
    found = findings(host, code=1)
    assert "ill: broken" in found["containers"][0]["text"]
    assert "flock" in found["programs"][0]["text"]
    assert {row["text"].partition(":")[0] for row in found["leftovers"]} == {"y", "x-run-1"}
    host.shell("mv /usr/bin/flock.away /usr/bin/flock; rm /var/lib/syscontainers/transactions/y.json")
    info.write_text(kept)
    syscontainer(host, "uninstall", "ill")
    syscontainer(host, "prune")
    assert not host.path("/var/lib/syscontainers/runs/x-run-1").exists()


def test_stats_show_what_a_container_uses(host: ThrowawayHost, make_image: MakeImage) -> None:
    syscontainer(host, "install", "--now", "--name", "busy", make_image())
    row = json.loads(syscontainer(host, "stats", "--json", "busy").stdout)[0]
    assert row["name"] == "busy"
    assert row["memory_bytes"] > 0
    assert row["cpu_seconds"] > 0
    assert row["tasks"] >= 1
    assert "payload" in {process["name"] for process in row["processes"]}
    assert all(process["memory_bytes"] >= 0 and process["threads"] == 1 for process in row["processes"])
    assert "PROCESS" in syscontainer(host, "stats", "busy").stdout
    syscontainer(host, "stop", "busy")
    assert json.loads(syscontainer(host, "stats", "--json").stdout) == []
    assert "no such container" in syscontainer(host, "stats", "nobody", code=4).stderr
    syscontainer(host, "uninstall", "busy")
