"""syscontainers-recover.service: nothing at all on a clean boot, and the end of what was cut off otherwise."""

from __future__ import annotations

import pytest

from tests.faults import Fault, Point, trace
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.host import ThrowawayHost
from tests.machine.registry import push_image, shell_image
from tests.machine.shipped import RECOVER
from tests.machine.transactions import NAME, PUBLISHED, WATCH
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

TRANSACTIONS = "/var/lib/syscontainers/transactions"


@pytest.fixture
def host(booted_host: ThrowawayHost) -> ThrowawayHost:
    return booted_host


def require_nothing_ran(host: ThrowawayHost) -> None:
    assert unit_property(host, RECOVER, "ConditionTimestampMonotonic") != "0"  # systemd has come to it,
    assert unit_property(host, RECOVER, "ConditionResult") == "no"
    assert unit_property(host, RECOVER, "ExecMainStartTimestampMonotonic") == "0"  # and started no process


def test_a_clean_boot_starts_no_process(host: ThrowawayHost) -> None:
    require_nothing_ran(host)


def test_neither_does_one_with_containers_and_nothing_cut_off(host: ThrowawayHost) -> None:
    reference = push_image(host, shell_image(), "clean")
    syscontainer(host, "install", "--now", "--name", "clean", reference)
    assert host.path(TRANSACTIONS).is_dir()
    host.run(["systemctl", "start", RECOVER])
    require_nothing_ran(host)
    syscontainer(host, "uninstall", "clean")


def test_a_record_that_was_being_written_goes(host: ThrowawayHost) -> None:
    host.path(TRANSACTIONS).mkdir(mode=0o700, exist_ok=True)
    host.path(f"{TRANSACTIONS}/.{NAME}.json.0123abcd.tmp").write_text('{"version": 1')
    host.run(["systemctl", "start", RECOVER])
    assert list(host.path(TRANSACTIONS).iterdir()) == []


@pytest.mark.parametrize(("fault", "generation"), [(Fault.KILL_BEFORE, 0), (Fault.KILL_AFTER, 1)])
def test_what_was_cut_off_is_ended(host: ThrowawayHost, fault: Fault, generation: int) -> None:
    old, new = (push_image(host, shell_image(), NAME, tag) for tag in ("old", "new"))
    syscontainer(host, "install", "--now", "--name", NAME, old)
    run = trace(host.command(["syscontainer", "update", "--image", new, NAME]), WATCH, Point(PUBLISHED, fault))
    assert run.reached
    host.run(["systemctl", "stop", f"{NAME}.service"])  # as after a boot
    host.run(["systemctl", "start", RECOVER])
    assert unit_property(host, RECOVER, "Result") == "success"
    assert list(host.path(TRANSACTIONS).iterdir()) == []
    # At boot it waits for no service, it has it started.
    wait_for(lambda: show(host, NAME)["state"] == "running", "it does not run")
    assert show(host, NAME)["generation"] == generation
    syscontainer(host, "uninstall", NAME)
