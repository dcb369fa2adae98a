"""An update leaves alone what others have made of the service: units that need it, and links that start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import Fault, Point, Step, trace
from tests.machine.command import syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT
from tests.machine.transactions import WATCH

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "needed"
UNITS = "/etc/systemd/system"
TARGET = f"{UNITS}/wanting.target.wants/{NAME}.service"
RECORD = f"/var/lib/syscontainers/transactions/{NAME}.json"
PUBLISHED = Step("rename", RECORD, "", f"rename {RECORD}", 2)
ALIAS = f"{UNITS}/other-name.service"
# One depends on the service itself, one on that one, and one is part of it.
DEPENDENTS = {
    "direct": f"[Unit]\nRequires={NAME}.service\nAfter={NAME}.service\n[Service]\nExecStart=sleep infinity\n",
    "indirect": "[Unit]\nBindsTo=direct.service\nAfter=direct.service\n[Service]\nExecStart=sleep infinity\n",
    "part": f"[Unit]\nPartOf={NAME}.service\nAfter={NAME}.service\n[Service]\nExecStart=sleep infinity\n",
}
STARTS_ONCE = f"""\
[Unit]
Requires={NAME}.service
After={NAME}.service
[Service]
ExecStartPre=mkdir /run/once
ExecStart=sleep infinity
"""


@pytest.fixture
def needed(host: ThrowawayHost, make_image: MakeImage) -> Iterator[str]:
    """The container, running, and three units that stop with it; its image."""
    reference = make_image()
    syscontainer(host, "install", "--now", "--runtime", "runc", "--name", NAME, reference)
    for name, text in DEPENDENTS.items():
        host.path(f"{UNITS}/{name}.service").write_text(text)
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "start", *DEPENDENTS])
    yield reference
    host.run(["systemctl", "stop", *DEPENDENTS])
    syscontainer(host, "uninstall", NAME)
    for name in DEPENDENTS:
        host.path(f"{UNITS}/{name}.service").unlink()
    host.run(["systemctl", "daemon-reload"])


def are_running(host: ThrowawayHost) -> bool:
    done = host.run(["systemctl", "is-active", NAME, *DEPENDENTS], check=False)
    return done.stdout.split() == ["active"] * (1 + len(DEPENDENTS))


def test_what_needs_it_runs_again_after_a_failed_update(
    host: ThrowawayHost, make_image: MakeImage, needed: str
) -> None:
    done = syscontainer(host, "update", "--image", make_image(FAILING), NAME, code=6)
    assert are_running(host)
    assert "does not run again" not in done.stderr


def test_what_needs_it_runs_again_after_a_change_of_the_runtime(host: ThrowawayHost, needed: str) -> None:
    syscontainer(host, "update", "--runtime", "crun", NAME)
    assert are_running(host)
    syscontainer(host, "rollback", NAME)
    assert are_running(host)


def test_what_needs_it_runs_again_after_recovery(host: ThrowawayHost, needed: str) -> None:
    words = ["syscontainer", "update", "--runtime", "crun", NAME]
    assert trace(host.command(words), WATCH, Point(PUBLISHED, Fault.KILL_BEFORE)).reached
    assert not are_running(host)
    syscontainer(host, "recover")
    assert are_running(host)


def test_what_was_stopped_before_stays_stopped(host: ThrowawayHost, make_image: MakeImage, needed: str) -> None:
    host.run(["systemctl", "stop", "direct"])
    syscontainer(host, "update", "--image", make_image(FAILING), NAME, code=6)
    states = host.run(["systemctl", "is-active", NAME, *DEPENDENTS], check=False).stdout.split()
    assert states == ["active", "inactive", "inactive", "active"]
    host.run(["systemctl", "start", "indirect"])


def test_what_does_not_run_again_is_named(host: ThrowawayHost, make_image: MakeImage, needed: str) -> None:
    once = host.path(f"{UNITS}/once.service")
    once.write_text(STARTS_ONCE)
    host.run(["systemctl", "start", "once"])
    done = syscontainer(host, "update", "--image", make_image(FAILING), NAME, code=6)
    assert f"{NAME}: what was stopped with it does not run again: once.service: start failed" in done.stderr
    assert are_running(host)
    once.unlink()
    host.shell("rmdir /run/once; systemctl daemon-reload; systemctl reset-failed once")


def unit(wanted_by: str) -> dict[str, str]:
    text = "[Service]\nType=forking\nPIDFile=$PIDFILE\nExecStart=$EXEC_START\nExecStopPost=-$EXEC_STOPPOST\n"
    return {"service.template": f"{text}[Install]\nWantedBy={wanted_by}\n"}


@pytest.fixture
def linked(host: ThrowawayHost, make_image: MakeImage) -> Iterator[dict[str, str]]:
    """The container with links of the administrator's; all that there are to it."""
    host.path(f"{UNITS}/wanting.target").write_text("[Unit]\nDescription=Ours\n")
    syscontainer(host, "install", "--now", "--name", NAME, make_image(exports=unit("multi-user.target")))
    host.run(["systemctl", "add-wants", "wanting.target", f"{NAME}.service"])
    host.run(["ln", "-s", f"{UNITS}/{NAME}.service", ALIAS])
    yield links(host)
    syscontainer(host, "uninstall", NAME)
    assert links(host) == {}
    host.path(f"{UNITS}/wanting.target").unlink()


def links(host: ThrowawayHost) -> dict[str, str]:
    found = host.run(["find", UNITS, "-type", "l", "-lname", f"*{NAME}.service", "-printf", "%p %l\n"]).stdout
    return dict(line.split() for line in found.splitlines())


def test_an_update_keeps_the_links_of_others(
    host: ThrowawayHost, make_image: MakeImage, linked: dict[str, str]
) -> None:
    assert {TARGET, ALIAS} < linked.keys()
    syscontainer(host, "update", "--set", "DESCRIPTION=other", NAME)
    assert links(host) == linked
    syscontainer(host, "update", "--image", make_image(FAILING, exports=unit("multi-user.target")), NAME, code=6)
    assert links(host) == linked


def test_a_unit_that_wants_another_target_moves_only_its_own_link(
    host: ThrowawayHost, make_image: MakeImage, linked: dict[str, str]
) -> None:
    syscontainer(host, "update", "--image", make_image(FAILING, exports=unit("graphical.target")), NAME, code=6)
    assert links(host) == linked
    syscontainer(host, "update", "--image", make_image(PATIENT, exports=unit("graphical.target")), NAME)
    own = f"{UNITS}/multi-user.target.wants/{NAME}.service"
    moved = {**linked, own.replace("multi-user", "graphical"): linked[own]}
    del moved[own]
    assert links(host) == moved
    syscontainer(host, "rollback", NAME)
    assert links(host) == linked


def test_disabled_but_wanted_by_another_target_stays_so(
    host: ThrowawayHost, make_image: MakeImage, linked: dict[str, str]
) -> None:
    host.run(["systemctl", "disable", NAME])
    host.run(["systemctl", "add-wants", "wanting.target", f"{NAME}.service"])
    before = links(host)
    syscontainer(host, "update", "--set", "DESCRIPTION=other", NAME)
    assert links(host) == before
