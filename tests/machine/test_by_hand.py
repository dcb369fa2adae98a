"""What an administrator did by hand, to a unit's file or with systemctl, is respected, kept and told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machine.bench import snapshot
from tests.machine.command import show, syscontainer, unit_property
from tests.machine.conftest import MakeImage
from tests.machine.gate import gated_update
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, STUBBORN
from tests.machine.state import difference
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "handled"
UNIT = f"/etc/systemd/system/{NAME}.service"
DROP_INS = f"{UNIT}.d"


@pytest.fixture
def handled(host: ThrowawayHost, make_image: MakeImage) -> Iterator[str]:
    """The container, running, with a generation to go back to; its image."""
    reference = make_image()
    syscontainer(host, "install", "--now", "--name", NAME, reference)
    syscontainer(host, "update", "--set", "DESCRIPTION=second", NAME)
    yield reference
    syscontainer(host, "uninstall", NAME)
    host.shell(f"rm -rf {UNIT}.edited* {DROP_INS}; systemctl daemon-reload")


@pytest.mark.parametrize("words", [("update", "--set", "DESCRIPTION=third"), ("rollback",)], ids=["update", "rollback"])
def test_a_masked_unit_stays_masked(host: ThrowawayHost, handled: str, words: tuple[str, ...]) -> None:
    host.shell(f"systemctl stop {NAME}; rm {UNIT}; systemctl mask {NAME}")
    wait_for(lambda: not host.path(f"/var/lib/syscontainers/containers/{NAME}.1/rootfs").is_mount(), "still mounted")
    before = snapshot(host, NAME)
    done = syscontainer(host, *words, NAME, code=1)
    assert f"{NAME}: {NAME}.service is masked" in done.stderr
    assert f"hint: systemctl unmask {NAME}.service" in done.stderr
    assert difference(before, snapshot(host, NAME)) == []


def test_update_puts_a_unit_back_that_is_gone(host: ThrowawayHost, handled: str) -> None:
    text = host.path(UNIT).read_text().replace(f"{NAME}.1", f"{NAME}.2")
    host.shell(f"rm {UNIT}; systemctl daemon-reload")
    syscontainer(host, "update", NAME)
    assert host.path(UNIT).read_text() == text
    assert "nothing to change" in syscontainer(host, "update", NAME).stdout


def test_an_edited_unit_is_kept_aside(host: ThrowawayHost, make_image: MakeImage, handled: str) -> None:
    host.shell(f"echo '# by hand' >>{UNIT}; systemctl daemon-reload")
    edited = host.path(UNIT).read_text()
    assert "nothing to change" in syscontainer(host, "update", NAME).stdout
    syscontainer(host, "update", "--image", make_image(FAILING), NAME, code=6)
    assert host.path(UNIT).read_text() == edited
    assert not host.path(f"{UNIT}.edited").exists()
    told = f"{NAME}: somebody had changed a file of ours; that is kept as {UNIT}.edited"
    assert told in syscontainer(host, "update", "--set", "DESCRIPTION=third", NAME).stderr
    assert host.path(f"{UNIT}.edited").read_text() == edited
    assert "# by hand" not in host.path(UNIT).read_text()
    host.shell(f"echo '# again' >>{UNIT}; systemctl daemon-reload")
    assert f"{UNIT}.edited1" in syscontainer(host, "rollback", NAME).stderr
    assert "kept as" not in syscontainer(host, "rollback", NAME).stderr


@pytest.mark.parametrize(("verb", "state"), [("stop", "inactive"), ("restart", "active")])
def test_what_is_on_its_way_down_is_waited_for(
    host: ThrowawayHost, make_image: MakeImage, verb: str, state: str
) -> None:
    slow = "trap 'sleep 2; exit 0' TERM; sleep 1000000 & wait"
    syscontainer(host, "install", "--now", "--name", NAME, make_image(slow))
    host.run(["systemctl", verb, "--no-block", NAME])
    wait_for(lambda: unit_property(host, f"{NAME}.service", "ActiveState") == "deactivating", "it does not stop")
    syscontainer(host, "update", "--set", "DESCRIPTION=second", NAME)
    assert unit_property(host, f"{NAME}.service", "ActiveState") == state
    assert show(host, NAME)["generation"] == 1
    syscontainer(host, "uninstall", NAME)


def test_a_reload_during_the_health_check_is_no_failure(host: ThrowawayHost, make_image: MakeImage) -> None:
    with gated_update(host, make_image, NAME) as update:
        host.path(f"{DROP_INS}/90-reload.conf").write_text("[Service]\nExecReload=/bin/sleep 2\n")
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "reload", NAME])
        update.open_gate()
        assert update.end()[0] == 0
        host.run(["rm", "-r", DROP_INS])


def test_a_stop_that_somebody_cancels_is_a_failure_and_not_ill_health(
    host: ThrowawayHost, make_image: MakeImage
) -> None:
    syscontainer(host, "install", "--now", "--set", "STOP_TIMEOUT=30", "--name", NAME, make_image(STUBBORN))
    stop = host.popen(["syscontainer", "stop", NAME])
    wait_for(lambda: unit_property(host, f"{NAME}.service", "ActiveState") == "deactivating", "it does not stop")
    host.run(["systemctl", "start", "--no-block", NAME])
    _, errors = stop.communicate(timeout=60)
    assert stop.returncode == 1
    assert f"{NAME}.service: stop failed: the job was cancelled by another one" in errors
    # Now it would be started, and be as deaf again.
    host.run(["systemctl", "stop", "--no-block", NAME])
    host.run(["systemctl", "kill", "--signal=KILL", NAME])
    syscontainer(host, "uninstall", NAME)


def test_an_unmet_condition_is_named(host: ThrowawayHost, handled: str) -> None:
    syscontainer(host, "stop", NAME)
    host.path(f"{DROP_INS}/90-condition.conf").write_text("[Unit]\nConditionPathExists=/nowhere\n")
    host.run(["systemctl", "daemon-reload"])
    done = syscontainer(host, "start", NAME, code=6)
    assert f"{NAME} was not started: a Condition…= of its unit does not hold" in done.stderr


def test_a_payload_that_ends_well_is_told_so(host: ThrowawayHost, make_image: MakeImage) -> None:
    syscontainer(host, "install", "--name", NAME, make_image("sleep 0.2; exit 0"))
    host.run(["systemctl", "daemon-reload"])  # from now on boot's target refers to it, and PID 1 remembers its end
    done = syscontainer(host, "start", NAME, code=6)
    assert f"{NAME} did not keep running: it ended by itself, with exit status 0" in done.stderr
    syscontainer(host, "uninstall", NAME)
