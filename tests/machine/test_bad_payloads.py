"""An update to something that does not work leaves exactly what was there before, and the service running."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from tests.machine.bench import snapshot
from tests.machine.command import show, syscontainer
from tests.machine.conftest import MakeImage
from tests.machine.host import ThrowawayHost
from tests.machine.registry import FAILING, PATIENT, STUBBORN
from tests.machine.state import difference
from tests.waiting import wait_for

pytestmark = [pytest.mark.machine, pytest.mark.root]

NAME = "victim"


def health(seconds: int) -> dict[str, str]:
    """A check that never succeeds."""
    check = {"command": ["stat", "/run/never"], "timeout": seconds, "interval": 0.5}
    return {"manifest.json": json.dumps({"health": check})}


NEEDS_MASKED = """\
[Unit]
Requires=masked.service
After=masked.service
[Service]
Type=forking
PIDFile=$PIDFILE
ExecStart=$EXEC_START
ExecStopPost=-$EXEC_STOPPOST
"""
NO_SUCH_PROGRAM = NEEDS_MASKED.replace("=masked.service", "=basic.target").replace(
    "ExecStart=$EXEC_START", "ExecStartPre=/no/such/program\nExecStart=$EXEC_START"
)


@dataclass(frozen=True)
class Bad:
    """A new version, and how the update to it has to fail."""

    reason: str
    script: str = PATIENT
    exports: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, object] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    code: int = 6


REFUSED = "[Service]\nType=oneshot\nRestart=always\nExecStart=$EXEC_START\n"
OFTEN = ("RESTART=always", "RESTART_SEC=0", "START_LIMIT_BURST=2", "START_LIMIT_INTERVAL=1h")

CASES = {
    # Not its exit status: systemd may find it dead before the runtime has named it, and then speaks of the protocol.
    "crashes at once": Bad("about to fail", FAILING),
    "cannot be executed": Bad("did not start", run={"Entrypoint": ["/none"]}),
    "dies after ten seconds": Bad("did not keep running", "trap 'exit 0' TERM; sleep 10; exit 4", health(60)),
    "never gets well": Bad("within 1 seconds", exports=health(1)),
    "hits its start limit": Bad("did not", FAILING, values=OFTEN),
    "needs a masked unit": Bad("masked", exports={"service.template": NEEDS_MASKED}, code=3),
    "has a unit that cannot start": Bad("did not start", exports={"service.template": NO_SUCH_PROGRAM}),
    "has a unit that systemd refuses": Bad("would not load", exports={"service.template": REFUSED}, code=2),
    "ignores SIGTERM and never gets well": Bad("within 1 seconds", STUBBORN, health(1), values=("STOP_TIMEOUT=1",)),
}


@pytest.fixture(scope="module")
def good(host: ThrowawayHost, make_image: MakeImage, skeleton: None) -> Iterator[str]:
    """The container, running."""
    reference = make_image()
    host.run(["systemctl", "mask", "masked.service"])
    syscontainer(host, "install", "--now", "--name", NAME, reference)
    yield reference
    syscontainer(host, "uninstall", NAME)
    host.run(["systemctl", "unmask", "masked.service"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_old_one_runs_again(host: ThrowawayHost, make_image: MakeImage, good: str, case: Bad) -> None:
    image = make_image(case.script, exports=case.exports, run=case.run)
    syscontainer(host, "pull", image)
    before = snapshot(host, NAME)
    values = [word for value in case.values for word in ("--set", value)]
    done = syscontainer(host, "update", "--image", image, *values, NAME, code=case.code)
    assert case.reason in done.stderr
    wait_for(lambda: difference(before, snapshot(host, NAME)) == [], "the machine is not as it was before")
    assert (show(host, NAME)["generation"], show(host, NAME)["state"]) == (0, "running")
    assert syscontainer(host, "recover").stdout == ""


def test_an_install_of_a_masked_name_is_refused(host: ThrowawayHost, make_image: MakeImage) -> None:
    host.run(["systemctl", "mask", "hidden.service"])
    before = snapshot(host, "hidden")
    done = syscontainer(host, "install", "--name", "hidden", make_image(), code=1)
    assert "hidden.service" in done.stderr
    assert difference(before, snapshot(host, "hidden")) == []
    host.run(["systemctl", "unmask", "hidden.service"])


def test_one_that_ignores_sigterm_is_replaced(host: ThrowawayHost, make_image: MakeImage) -> None:
    old, new = make_image(STUBBORN), make_image()
    syscontainer(host, "install", "--now", "--set", "STOP_TIMEOUT=1", "--name", "deaf", old)
    syscontainer(host, "update", "--image", new, "deaf")
    assert (show(host, "deaf")["generation"], show(host, "deaf")["state"]) == (1, "running")
    syscontainer(host, "uninstall", "deaf")
