"""One broken container never breaks another: every verb serves the rest, shows the broken one, and removes it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.machine.command import show, syscontainer
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FILES, PATIENT, start_registry

pytestmark = [pytest.mark.machine, pytest.mark.root]

UNITS = "/etc/systemd/system"
CONTAINERS = "/var/lib/syscontainers/containers"
STOPPED = "systemctl stop $name; while findmnt $dir.0/rootfs >/dev/null; do sleep 0.1; done"
DAMAGE = {
    "info-garbage": "printf '\\0\\377{' >$dir.0/info",
    "info-other": 'echo \'{"image": 7, "values": []}\' >$dir.0/info',
    "info-directory": "rm $dir.0/info; mkdir $dir.0/info",
    "info-bare": 'echo \'{"image": "x", "values": {}}\' >$dir.0/info',
    "directory-missing": f"{STOPPED}; rm -r $dir.0",
    "link-astray": "ln -sfn /nowhere $dir",
    "link-gone": "rm $dir",
    "unit-garbage": "printf '\\0\\377[' >$units/$name.service; systemctl daemon-reload",
    "unit-unread": "systemctl disable --now $name; echo [ >$units/$name.service; systemctl daemon-reload",
    "unit-directory": "rm $units/$name.service; mkdir $units/$name.service; systemctl daemon-reload",
    "unit-setting": "printf '[Service]\\nType=oneshot\\n' >$units/$name.service; systemctl daemon-reload",
    "unit-gone": "rm $units/$name.service; systemctl daemon-reload",
    "drop-in": "printf '[Unit]\\nDescription=caf\\351\\n' >$units/$name.service.d/90.conf; systemctl daemon-reload",
    "mount-gone": f"{STOPPED}; rm $units/*$escaped*.mount $dir.0/rootfs.mount; systemctl daemon-reload",
    "half-deleted": f"{STOPPED}; rm $dir.0/info $dir.0/config.json $units/$name.service; rmdir $dir.0/rootfs",
    "record-garbage": "mkdir -p $state/transactions; echo '{' >$state/transactions/$name.json",
    "note-garbage": "cd $state; mkdir -p trials hostfiles; echo [ | tee trials/$name.json >hostfiles/$name.json",
}
# Of these the record still says what they are, so they are shown as what they are.
SOUND = {"mount-gone", "record-garbage", "note-garbage", "info-bare", "drop-in"}
# Here it is the unit that systemd cannot read; the record is whole, so there is nothing to update.
UNREADABLE = {"unit-garbage", "unit-unread", "unit-directory", "unit-setting"}


@pytest.fixture(scope="module")
def host() -> Iterator[ThrowawayHost]:
    """A machine of its own: what is broken here must not be met by other tests."""
    with ThrowawayHost(files=FILES) as machine:
        start_registry(machine)
        yield machine


@pytest.fixture(scope="module")
def broken(host: ThrowawayHost) -> str:
    """Installs and runs one container for each kind of damage and one whole, then does the damage; its image."""
    from tests.machine.registry import push_image, shell_image

    reference = push_image(host, shell_image(f"{PATIENT} # broken"), "broken", "1")
    for name in (*DAMAGE, "whole"):
        syscontainer(host, "install", "--now", "--name", name, reference)
    for name, script in DAMAGE.items():
        escaped = f"containers-{name}".replace("-", "?*").replace("containers?*", "containers-")
        places = f"name={name} dir={CONTAINERS}/{name} units={UNITS} state=/var/lib/syscontainers escaped='{escaped}'"
        host.shell(f"{places}; {script}")
    return reference


def test_list_and_show_tell_which_is_broken(host: ThrowawayHost, broken: str) -> None:
    rows = {row["name"]: row for row in json.loads(syscontainer(host, "list", "--json").stdout)}
    assert set(rows) == {*DAMAGE, "whole"}
    assert {name for name, row in rows.items() if row["state"] == "broken"} == set(DAMAGE) - SOUND
    assert all(rows[name]["problem"] for name in set(DAMAGE) - SOUND)
    assert "failed to load properly" in rows["unit-garbage"]["problem"]
    assert rows["unit-setting"]["problem"] == "Unit unit-setting.service has a bad unit file setting."
    assert rows["unit-gone"]["problem"].startswith(f"{UNITS}/unit-gone.service is gone; syscontainer update unit-gone")
    assert rows["whole"]["state"] == "running"
    assert "info-garbage" in syscontainer(host, "list").stdout
    for name in DAMAGE:
        problem = rows[name]["problem"]
        assert problem is None or problem in syscontainer(host, "show", name).stdout
        syscontainer(host, "show", "--generations", name)
    assert show(host, "whole")["state"] == "running"


def test_a_unit_that_is_another_ones_alias_is_listed(host: ThrowawayHost, broken: str) -> None:
    unit = f"{UNITS}/unit-unread.service"
    host.shell(f"mv {unit} {unit}.kept; ln -s whole.service {unit}; systemctl daemon-reload")
    rows = {row["name"]: row["state"] for row in json.loads(syscontainer(host, "list", "--json").stdout)}
    host.shell(f"mv {unit}.kept {unit}; systemctl daemon-reload")
    assert rows["unit-unread"] == "running"


def test_the_whole_one_is_served(host: ThrowawayHost, broken: str) -> None:
    syscontainer(host, "stop", "whole")
    syscontainer(host, "start", "whole")
    syscontainer(host, "update", "--set", "DESCRIPTION=still", "whole")
    syscontainer(host, "rollback", "whole")
    syscontainer(host, "exec", "whole", "ls")
    images = json.loads(syscontainer(host, "images", "--json").stdout)
    assert "whole" in images[0]["used_by"]


def test_prune_frees_what_nobody_needs_and_nothing_else(host: ThrowawayHost, broken: str) -> None:
    from tests.machine.registry import push_image, shell_image

    other = push_image(host, shell_image("exit 0 # of no use"), "useless", "1")
    syscontainer(host, "pull", other)
    before = host.run(["ls", "/var/lib/syscontainers/storage/overlay"]).stdout.split()
    syscontainer(host, "image", "rm", other, broken)
    done = syscontainer(host, "prune")
    assert "info-garbage.0" in done.stderr
    after = host.run(["ls", "/var/lib/syscontainers/storage/overlay"]).stdout.split()
    assert len(after) == len(before) - 1  # its top layer; the one below is everybody's
    for name in ("info-garbage", "info-other", "info-bare", "link-gone", "whole"):
        host.run(["systemctl", "restart", name])
        assert host.run(["systemctl", "is-active", name]).stdout == "active\n"


def test_an_unreadable_drop_in_hinders_neither_update_nor_disable(host: ThrowawayHost, broken: str) -> None:
    link = host.path(f"{UNITS}/multi-user.target.wants/drop-in.service")
    syscontainer(host, "update", "--set", "DESCRIPTION=other", "drop-in")
    assert link.is_symlink()
    syscontainer(host, "disable", "drop-in")
    assert not link.is_symlink()
    done = syscontainer(host, "enable", "drop-in", code=1)
    assert "drop-in.service" in done.stderr
    assert "hint: systemd-analyze verify drop-in.service" in done.stderr


def test_update_all_goes_through(host: ThrowawayHost, broken: str) -> None:
    done = host.run(["syscontainer", "update", "--all", "--json"], check=False)
    rows = {row["name"]: row["status"] for row in json.loads(done.stdout)}
    assert done.returncode != 0
    assert set(rows) == {*DAMAGE, "whole"} - {"link-gone"}
    assert rows["whole"] == "unchanged"
    repaired = {"unit-gone"}
    assert all(rows[name] == "failed" for name in rows.keys() & set(DAMAGE) - SOUND - UNREADABLE - repaired)
    assert all(rows[name] == "unchanged" for name in UNREADABLE)
    assert all(show(host, name)["state"] == "running" for name in repaired)
    assert show(host, "whole")["state"] == "running"


def test_uninstall_removes_each(host: ThrowawayHost, broken: str) -> None:
    for name in DAMAGE:
        syscontainer(host, "uninstall", name)
        if name == "drop-in":  # the administrator's own stays
            host.run(["rm", "-r", f"{UNITS}/{name}.service.d"])
        assert name not in host.shell(f"ls {UNITS} {CONTAINERS}; systemctl list-units --plain --all '{name}*'").stdout
    assert [row["name"] for row in json.loads(syscontainer(host, "list", "--json").stdout)] == ["whole"]
    assert show(host, "whole")["state"] == "running"
    mounts = host.run(["findmnt", "--list", "--noheadings", "--output=TARGET"]).stdout
    assert [line for line in mounts.splitlines() if CONTAINERS in line] == [f"{CONTAINERS}/whole.0/rootfs"]
