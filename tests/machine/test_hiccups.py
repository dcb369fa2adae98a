"""PID 1 re-executes itself, or hides its socket, in the middle of an operation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import Fault, Point, Step, trace
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.gate import GatedUpdate, gated_update
from tests.machine.host import ThrowawayHost
from tests.machine.transactions import WATCH

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "steady"
SOCKET = "/run/systemd/private"


@pytest.fixture
def update(host: ThrowawayHost, make_image: MakeImage, unchanged: None) -> Iterator[GatedUpdate]:
    with gated_update(host, make_image, NAME) as under_way:
        yield under_way


def test_an_update_survives_that_systemd_executes_itself_anew(update: GatedUpdate) -> None:
    pid = unit_property(update.host, f"{NAME}.service", "MainPID")
    for _ in range(3):
        update.host.run(["systemctl", "daemon-reexec"])
        assert update.is_under_way()
    update.open_gate()
    assert update.end()[0] == 0
    assert (show(update.host, NAME)["generation"], show(update.host, NAME)["state"]) == (1, "running")
    assert unit_property(update.host, f"{NAME}.service", "MainPID") == pid


def test_taking_back_works_after_systemd_has_executed_itself_anew(update: GatedUpdate) -> None:
    update.host.run(["systemctl", "daemon-reexec"])
    update.signal(15)
    assert update.end()[0] == 130
    assert (show(update.host, NAME)["generation"], show(update.host, NAME)["state"]) == (0, "running")


def test_without_its_private_socket_the_system_bus_serves(
    host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    old, new = make_image(), make_image()
    host.run(["mv", SOCKET, f"{SOCKET}.hidden"])
    try:
        syscontainer(host, "install", "--now", "--name", NAME, old)
        syscontainer(host, "update", "--image", new, NAME)
        syscontainer(host, "uninstall", NAME)
    finally:
        host.run(["mv", f"{SOCKET}.hidden", SOCKET])
    syscontainer(host, "image", "rm", old, new)
    syscontainer(host, "prune")


def test_who_cannot_reach_systemd_for_undoing_leaves_that_to_the_next(
    host: ThrowawayHost, make_image: MakeImage, unchanged: None
) -> None:
    """PID 1 is gone for good in the middle: the record stays, and says what to do."""
    old, new = make_image(), make_image()
    syscontainer(host, "install", "--now", "--name", NAME, old)
    reload = Step("sendmsg", f"{SOCKET} Reload", "", f"sendmsg {SOCKET} Reload", 1)
    run = trace(host.command(["syscontainer", "update", "--image", new, NAME]), WATCH, Point(reload, Fault.KILL_BEFORE))
    assert run.reached
    hide = "mv /run/systemd/private /run/systemd/private.hidden; mv /run/dbus/system_bus_socket /run/dbus/hidden"
    host.shell(hide)
    try:
        done = syscontainer(host, "recover", code=1)
        assert "systemd cannot be reached" in done.stderr
    finally:
        host.shell(
            "mv /run/systemd/private.hidden /run/systemd/private; mv /run/dbus/hidden /run/dbus/system_bus_socket"
        )
    assert syscontainer(host, "recover").stdout == f"{NAME}: an interrupted update was completed\n"
    assert (show(host, NAME)["generation"], show(host, NAME)["state"]) == (1, "running")
    syscontainer(host, "uninstall", NAME)
    syscontainer(host, "image", "rm", old, new)
    syscontainer(host, "prune")
