"""The same node on Debian 13: systemd 257, Linux 6.12, runc 1.1.15, Python 3.13. With D-Bus, as an operator has it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.debian import TRIXIE
from tests.vm.chain import DECLARED, NAMES, make_node
from tests.vm.golden import build_golden
from tests.vm.machine import Machine
from tests.vm.node import PATIENCE, assert_all_run, restart

pytestmark = [pytest.mark.vm, pytest.mark.root]


@pytest.fixture(scope="module")
def past() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        golden = build_golden(make_node(Path(directory) / "tree"), release=TRIXIE)
    # With two processors the emulator now and then trips over this kernel's changes to its own code: a panic in one
    # of some forty boots (qemu 7.2, Linux 6.12).
    with Machine(golden, processors=1, label="newer") as machine:
        machine.boot()
        machine.wait_until_up(PATIENCE)
        machine.freeze()
        yield machine


@pytest.fixture
def node(past: Machine) -> Iterator[Machine]:
    """The node after its first boot."""
    with past.fork("node") as machine:
        machine.thaw()
        yield machine


def test_the_first_boot(node: Machine) -> None:
    assert node.run("systemctl --version").stdout.startswith("systemd 257 ")
    assert node.run("systemctl is-system-running").stdout == "running\n"
    assert_all_run(node)
    assert node.run("runc exec etcd etcdctl get --print-value-only /registry/apiserver").stdout == "version 1\n"
    assert node.run("syscontainer apply").stdout == "everything is as declared; nothing to do\n"
    # systemd knows every setting of our units, and their own groups hold no process, so limits reach the payload.
    assert node.run("journalctl --boot --priority=warning --output=cat _PID=1 --grep=syscontainers || :").stdout == ""
    for name in NAMES:
        shown = node.run(f"systemctl show -p ControlGroup -p MainPID -p DelegateSubgroup {name}").stdout.splitlines()
        unit = dict(line.split("=", 1) for line in shown)
        group = f"/sys/fs/cgroup{unit['ControlGroup']}"
        assert unit["DelegateSubgroup"] == "runtime"
        assert node.run(f"cat {group}/cgroup.procs {group}/runtime/cgroup.procs").stdout == ""
        assert unit["MainPID"] in node.run(f"cat {group}/payload/cgroup.procs").stdout.split()
    assert node.run("cat /sys/fs/cgroup/system.slice/*/apiserver.service/pids.max").stdout == "500\n"


def test_a_container_ends_and_begins_again(node: Machine) -> None:
    before = node.run("systemctl show -P MainPID apiserver").stdout
    node.run("systemctl restart apiserver.service; systemctl start kubelet.service")
    assert node.run("systemctl show -P MainPID apiserver").stdout != before
    assert_all_run(node)
    node.run("systemctl stop etcd.service")
    assert node.run("systemctl show -P Result etcd.service apiserver.service | xargs").stdout == "success success\n"
    # The runtime was told as well, and no group is left.
    assert node.run("runc list --quiet").stdout == ""
    assert node.run("find /sys/fs/cgroup -name etcd.service -o -name apiserver.service").stdout == ""
    # What a crash has left does not hinder the next start.
    node.run("mkdir -p /run/runc/etcd; systemctl start kubelet.service")
    assert_all_run(node)


def test_update_and_rollback(node: Machine) -> None:
    node.run(f"sed -i s,:1,:2, /{DECLARED}/kubelet.toml; syscontainer apply")
    assert "kubelet 2 is up" in node.run("journalctl --boot SYSLOG_IDENTIFIER=kubelet").stdout
    node.run("syscontainer rollback kubelet")
    assert_all_run(node)
    rows = {row["name"]: row for row in json.loads(node.run("syscontainer list --json").stdout)}
    assert (rows["kubelet"]["generation"], rows["kubelet"]["state"], rows["kubelet"]["problem"]) == (0, "running", None)
    node.run("syscontainer verify")


def test_a_later_boot_runs_no_python(node: Machine) -> None:
    node.run("runc exec etcd etcdctl put /kept yes")
    assert restart(node) == "running"
    assert_all_run(node)
    assert not node.was_read("/usr/bin/python3")
    assert node.run("runc exec etcd etcdctl get --print-value-only /kept").stdout == "yes\n"
