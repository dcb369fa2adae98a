"""syscontainers-roots.service: one process mounts the roots of all enabled containers, and each unit what it missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine.command import syscontainer, unit_property
from tests.machine.host import ThrowawayHost
from tests.machine.registry import push_image, shell_image
from tests.machine.shipped import ROOTS
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

CONTAINERS = "/var/lib/syscontainers/containers"


@pytest.fixture
def host(booted_host: ThrowawayHost) -> ThrowawayHost:
    return booted_host


@pytest.fixture
def installed(host: ThrowawayHost) -> Iterator[tuple[str, ...]]:
    """Containers that have never run; the last of them is not enabled."""
    names = ("one", "two-2", "three")
    reference = push_image(host, shell_image(), "app")
    for name in names:
        syscontainer(host, "install", "--name", name, reference)
    syscontainer(host, "disable", names[-1])
    yield names
    for name in names:
        syscontainer(host, "uninstall", name)


def boot(host: ThrowawayHost, *names: str) -> None:
    """Start them as a boot does: in one transaction with the service that goes before."""
    services = " ".join(f"{name}.service" for name in names)
    host.path("/run/systemd/system/all.target").write_text(f"[Unit]\nWants={ROOTS} {services}\nAfter={services}\n")
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", "all.target"])


def mounts(host: ThrowawayHost) -> list[str]:
    return sorted(
        Path(line).parent.name
        for line in host.run(["findmnt", "-rno", "TARGET", "-t", "overlay"], check=False).stdout.splitlines()
        if line.startswith(CONTAINERS)
    )


def was_mounted_by_its_unit(host: ThrowawayHost, name: str) -> bool:
    unit = host.run(["systemd-escape", "--path", "--suffix=mount", f"{CONTAINERS}/{name}.0/rootfs"]).stdout.strip()
    return unit_property(host, unit, "ExecMount") != ""


def test_one_process_mounts_what_is_enabled(host: ThrowawayHost, installed: tuple[str, ...]) -> None:
    one, two, three = installed
    boot(host, one, two)
    assert [unit_property(host, f"{name}.service", "ActiveState") for name in (one, two)] == ["active", "active"]
    assert mounts(host) == [f"{one}.0", f"{two}.0"]
    assert not was_mounted_by_its_unit(host, one)
    assert not was_mounted_by_its_unit(host, two)
    # Unmounted with their services, as ever.
    host.run(["systemctl", "stop", f"{one}.service", f"{two}.service"])
    wait_for(lambda: mounts(host) == [], "nothing to be mounted")
    host.run(["systemctl", "start", f"{three}.service"])
    assert was_mounted_by_its_unit(host, three)


def test_what_nobody_needs_in_this_boot_does_not_stay_mounted(host: ThrowawayHost, installed: tuple[str, ...]) -> None:
    boot(host, installed[0])
    wait_for(lambda: mounts(host) == [f"{installed[0]}.0"], "the other root to be unmounted")


@pytest.mark.parametrize("text", ["", "no fstab at all\n", "overlay /nowhere overlay ro,lowerdir=/a:/b 0 0\n"])
def test_a_root_that_it_misses_is_mounted_by_its_unit(
    host: ThrowawayHost, installed: tuple[str, ...], text: str
) -> None:
    one, two, _ = installed
    host.path(f"{CONTAINERS}/{one}.0/rootfs.fstab").write_text(text)
    boot(host, one, two)
    assert [unit_property(host, f"{name}.service", "ActiveState") for name in (one, two)] == ["active", "active"]
    assert was_mounted_by_its_unit(host, one)
    assert not was_mounted_by_its_unit(host, two)
    assert mounts(host) == [f"{one}.0", f"{two}.0"]
    assert unit_property(host, ROOTS, "Result") == "success"
