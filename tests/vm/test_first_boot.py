"""A node that was never booted before, and its later boots: from seeds and declarations alone, without a network.

One machine boots for the first time, with D-Bus masked, and is frozen when everything runs; each test goes on from
there with a machine of its own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.chain import DECLARED, NAMES, make_node
from tests.vm.golden import build_golden
from tests.vm.machine import Machine
from tests.vm.node import PATIENCE, STATES, UNITS, assert_all_run, restart

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="module")
def past() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        tree = make_node(Path(directory) / "tree")
        for name in ("dbus.service", "dbus.socket"):
            (tree / "etc/systemd/system" / name).symlink_to("/dev/null")
        golden = build_golden(tree)
    blank = Path(directory).with_suffix(".disk")
    with blank.open("wb") as file:
        file.truncate(2 << 30)
    try:
        with Machine(golden, disks={"var": blank}, label="first") as machine:
            machine.boot()
            machine.wait_until_up(PATIENCE)
            machine.freeze()
            yield machine
    finally:
        blank.unlink()


@pytest.fixture
def node(past: Machine) -> Iterator[Machine]:
    """The node after its first boot."""
    with past.fork("node") as machine:
        machine.thaw()
        yield machine


def entered(machine: Machine, name: str, what: str) -> int:
    return int(machine.run(f"systemctl show -P {what}TimestampMonotonic {name}.service").stdout)


def test_the_first_boot(node: Machine) -> None:
    assert node.run("systemctl is-system-running").stdout == "running\n"
    assert_all_run(node)
    # Nothing else was there.
    assert node.run("systemctl is-active dbus.service dbus.socket", check=False).stdout == "inactive\ninactive\n"
    assert node.run("ls /sys/class/net").stdout == "lo\n"
    # In order: each was started when the one before was up, and all after what made them.
    times = [(entered(node, name, "InactiveExit"), entered(node, name, "ActiveEnter")) for name in NAMES]
    assert entered(node, "syscontainers-apply", "InactiveExit") < times[0][0] < times[0][1] < times[1][0]
    assert times[1][1] < times[2][0]
    chain = node.run("systemd-analyze critical-chain kubelet.service").stdout
    places = [chain.index(f"{name}.service") for name in reversed(NAMES)]
    assert places == sorted(places), chain
    # The payloads do what they are for.
    assert node.run("runc exec etcd etcdctl get --print-value-only /registry/apiserver").stdout == "version 1\n"
    assert node.run("cat /var/lib/kubelet/pods/report").stdout == "process 1 is systemd\n"
    assert node.run("findmnt -no FSTYPE /var/lib/kubelet/pods").stdout == "tmpfs\n"
    assert node.run("systemctl show -P TasksMax apiserver.service").stdout == "500\n"
    # Everything is decided, and said.
    assert [entry["MESSAGE"] for entry in node.journal("-u syscontainers-settle.service _COMM=syscontainer")] == [
        f"{name}: generation 0 has come up" for name in NAMES
    ]
    rows = json.loads(node.run("syscontainer list --json").stdout)
    assert [(row["name"], row["state"], row["problem"]) for row in rows] == [
        (name, "running", None) for name in sorted(NAMES)
    ]
    assert node.run("syscontainer apply").stdout == "everything is as declared; nothing to do\n"


def test_a_later_boot_runs_no_python_whatever_the_clock_and_the_machine_id(node: Machine) -> None:
    node.run("runc exec etcd etcdctl put /kept yes; rm /etc/systemd/system/dbus.*")
    node.run("echo fedcba9876543210fedcba9876543210 >/etc/machine-id")
    assert restart(node, clock="2031-02-03T04:05:06") == "running"
    assert node.run("date +%Y; cat /etc/machine-id").stdout == "2031\nfedcba9876543210fedcba9876543210\n"
    assert_all_run(node)
    assert not node.was_read("/usr/bin/python3")
    assert not {"python3", "syscontainer"} & set(node.programs_run())
    assert node.run("runc exec etcd etcdctl get --print-value-only /kept").stdout == "yes\n"
    # One process has mounted all roots.
    assert node.run("systemctl show -P ExecMount '*-rootfs.mount'").stdout.strip() == ""
    # Payloads were stopped in the reverse order, on request and not by force.
    before = "journalctl --directory=/var/log/journal/0123456789abcdef0123456789abcdef --output=cat"
    stops = node.run(f"{before} --grep='^Stopped .*({'|'.join(NAMES)})'").stdout
    assert [name for line in stops.splitlines() for name in NAMES if f"({name})" in line or f"{name} from" in line] == [
        *("kubelet", "apiserver", "etcd"),
    ]
    assert "stopping, version 1" in node.run(f"{before} SYSLOG_IDENTIFIER=apiserver").stdout
    assert node.run(f"{before} _PID=1 --grep='timed out|SIGKILL' || true").stdout == ""
    # Down to a shell and up again.
    node.run("systemctl isolate rescue.target")
    node.wait_for(f"[[ $({STATES}) = 'inactive inactive inactive' ]]")
    node.run("systemctl isolate multi-user.target")
    assert_all_run(node)
    assert not node.was_read("/usr/bin/python3")


def test_a_full_disk_does_not_keep_containers_from_starting(node: Machine) -> None:
    # etcd itself gives up where it cannot write, so its data lie on a disk of their own, as its authors advise.
    node.run("echo '/dev/vdb /var/lib/etcd ext4 defaults 0 0' >>/etc/fstab")
    node.run(f"systemctl stop {UNITS}; mkfs.ext4 -q /dev/vdb; mount /dev/vdb /mnt; cp -a /var/lib/etcd/. /mnt")
    node.run("chown --reference=/var/lib/etcd /mnt; chmod 700 /mnt; umount /mnt; cat /dev/zero >/var/full", check=False)
    assert node.run("echo x >/var/y; cat /var/y", check=False).stdout == ""
    restart(node, clock="2020-01-01")
    assert_all_run(node)
    assert node.run("df --output=avail /var | tail -1").stdout.strip() == "0"
    assert not node.was_read("/usr/bin/python3")


LATE = """\
[Unit]
DefaultDependencies=no
Before=var.mount
[Service]
Type=oneshot
ExecStart=sleep 5
"""


def test_a_file_system_of_its_own_for_var_that_is_mounted_late(node: Machine) -> None:
    node.put("/etc/systemd/system/late.service", LATE.encode())
    node.run("echo '/dev/vdb /var ext4 defaults,x-systemd.requires=late.service 0 0' >>/etc/fstab")
    node.run(f"systemctl stop {UNITS}; mkfs.ext4 -q /dev/vdb; mount /dev/vdb /mnt; cp -ax /var/. /mnt; umount /mnt")
    # What is on the root file system must not be what is used.
    node.run("rm -rf /var/lib/syscontainers/containers; sync")
    assert restart(node) == "running"
    assert node.run("findmnt -no SOURCE /var").stdout == "/dev/vdb\n"
    assert_all_run(node)
    mounted = int(node.run("systemctl show -P ActiveEnterTimestampMonotonic var.mount").stdout)
    assert entered(node, "late", "InactiveExit") + 5_000_000 <= mounted < entered(node, "etcd", "InactiveExit")
    assert not node.was_read("/usr/bin/python3")


def test_a_generation_that_was_never_well_and_fails_at_boot_is_left_by_itself(node: Machine) -> None:
    # As the operating system's next version may declare it: one image that cannot work, and one that can.
    node.run(f"cd /{DECLARED}; sed -i s,apiserver:1,apiserver:broken, apiserver.toml; sed -i s,:1,:2, kubelet.toml")
    restart(node)
    assert_all_run(node)
    said = [entry["MESSAGE"] for entry in node.journal("--boot -u syscontainers-settle.service _COMM=syscontainer")]
    assert said[0].startswith("apiserver: generation 1 did not come up, generation 0 runs again: ")
    assert said[1:] == ["kubelet: generation 1 has come up"]
    rows = {row["name"]: row for row in json.loads(node.run("syscontainer list --json").stdout)}
    assert (rows["apiserver"]["generation"], rows["kubelet"]["generation"]) == (0, 1)
    assert "went back to generation 0 at boot" in rows["apiserver"]["problem"]
    assert "kubelet 2 is up" in node.run("journalctl --boot SYSLOG_IDENTIFIER=kubelet").stdout
    # And it stays so.
    assert restart(node) == "running"
    assert_all_run(node)
    assert not node.was_read("/usr/bin/python3")
