"""The harness itself: what every other test of this ring relies on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import host as harness
from tests.machine.conftest import MakeImage
from tests.machine.host import CHECKOUT, MachineError, ThrowawayHost
from tests.waiting import turns

pytestmark = pytest.mark.machine


def test_its_first_process_is_systemd(host: ThrowawayHost) -> None:
    assert host.run(["ps", "-o", "comm=", "1"]).stdout.strip() == "systemd"
    assert host.run(["hostname"]).stdout.strip() == host.name
    assert host.path("/etc/hostname").read_text() == host.name


def test_what_is_written_stays_inside(host: ThrowawayHost) -> None:
    name = f"/etc/{host.name}"
    host.shell(f"echo text >{name}; test -e {name}")
    assert not Path(name).exists()
    host.run(["rm", name])


def test_its_network_is_its_own(host: ThrowawayHost) -> None:
    assert [each["ifname"] for each in json.loads(host.run(["ip", "-j", "link"]).stdout)] == ["lo"]


def test_a_failure_is_told_with_what_was_written(host: ThrowawayHost) -> None:
    with pytest.raises(MachineError, match=r"exit status 3\n.*why"):
        host.shell("echo why >&2; exit 3")
    assert host.run(["sh", "-c", "exit 3"], check=False).returncode == 3


def test_its_systemd_enforces_limits(host: ThrowawayHost) -> None:
    hungry = ["python3", "-c", "bytearray(64 << 20)"]
    host.run(["systemd-run", "--quiet", "--wait", *hungry])
    limited = ["systemd-run", "--quiet", "--wait", "--property=MemoryMax=16M", "--property=MemorySwapMax=0", *hungry]
    assert host.run(limited, check=False).returncode != 0


def test_container_storage_takes_an_overlay(host: ThrowawayHost) -> None:
    host.shell(
        "cd /var/lib/syscontainers; mkdir -p t/{lower,upper,work,merged};"
        "mount -t overlay o -o lowerdir=t/lower,upperdir=t/upper,workdir=t/work t/merged;"
        "touch t/merged/file; test -e t/upper/file; umount t/merged; rm -r t"
    )


def test_the_registry_serves(host: ThrowawayHost, etcd: str, make_image: MakeImage) -> None:
    reference = make_image()
    for name in (f"{etcd}:1", f"{etcd}:2", f"{etcd}:plain", reference):
        host.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{name}"])


def test_two_versions_of_etcd_share_all_but_one_layer(host: ThrowawayHost, etcd: str) -> None:
    def layers(tag: str) -> list[str]:
        told = host.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{etcd}:{tag}"]).stdout
        return list(json.loads(told)["Layers"])

    assert layers("1")[:-1] == layers("2")[:-1]
    assert layers("1")[-1] != layers("2")[-1]


def traces(name: str) -> Iterator[str]:
    """What a machine has outside: directory, control groups, mounts, loop devices, processes."""
    yield from (str(path) for path in harness.machines() if path.name == name)
    yield from subprocess.run(
        ["find", "/sys/fs/cgroup", "-name", name], capture_output=True, text=True, check=True
    ).stdout.split()
    yield from map(str, Path("/run").rglob(f"*{name}*"))
    yield from (line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line)
    yield from (
        str(file.read_text()) for file in Path("/sys/block").glob("loop*/loop/backing_file") if name in file.read_text()
    )
    arguments = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout
    yield from (line for line in arguments.splitlines() if name in line)


def test_stopping_removes_every_trace() -> None:
    with ThrowawayHost() as machine:
        assert list(traces(machine.name))
    assert list(traces(machine.name)) == []


def test_a_killed_run_leaves_nothing_after_the_next_start() -> None:
    script = (
        "import time; from tests.machine.host import ThrowawayHost;"
        "host = ThrowawayHost(); host.start(); print(host.name, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as owner:
        assert owner.stdout
        name = owner.stdout.readline().strip()
        owner.send_signal(signal.SIGKILL)
    # The kernel takes the namespaces down at its own pace.
    for _ in turns():
        harness.sweep()
        if not (left := list(traces(name))):
            break
    assert left == []


def test_a_machine_that_is_up_outlives_its_maker() -> None:
    command = [sys.executable, "-m", "tests.machine.host"]

    def call(*arguments: str) -> str:
        return subprocess.run([*command, *arguments], capture_output=True, text=True, check=True, cwd=CHECKOUT).stdout

    name = call("up").strip()
    try:
        assert name in call("list").split()
        assert call("enter", name, "--", "hostname").strip() == name
    finally:
        call("down", name)
    assert list(traces(name)) == []


def test_two_machines_at_once() -> None:
    with ThrowawayHost() as one, ThrowawayHost() as two:
        for machine in (one, two):
            assert machine.run(["systemctl", "is-system-running"]).stdout.strip() == "running"
        assert one.leader != two.leader
        one.kill()
        assert two.run(["true"]).returncode == 0
